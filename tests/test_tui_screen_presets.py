"""Presets: listed, given to the chat, made of the chat, deleted after a question."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input, OptionList, Static

from localllm.presets import Preset, load_preset, preset_names, save_preset
from localllm.settings import Paths, Settings
from localllm_tui.screens.pick import Pick
from localllm_tui.screens.presets import PresetsScreen
from localllm_tui.screens.text_dialog import TextDialog
from tests.fakes import FakeEngine
from tests.tui import opened
from tests.tui_stage import Stage, screen_text, wait_until


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path / "config.toml", tmp_path)


def kept(paths: Paths) -> None:
    save_preset(Preset("brief", {"temperature": 0.0, "system": "Be brief."}, "Short answers"), paths)
    save_preset(Preset("letters", {"rules": "plain-language-letter"}), paths)
    (paths.presets / "torn.toml").write_text("temperature = hot")


async def test_the_presets_are_listed_with_what_they_change_and_broken_files_with_what_is_wrong(paths: Paths) -> None:
    kept(paths)
    screen = PresetsScreen(paths, Preset, "letters")
    app = Stage(screen)
    async with app.run_test(size=(110, 30)) as pilot:
        await wait_until(pilot, lambda: "letters" in screen_text(app), "the list")
        shown = screen_text(app)
        assert "Short answers" in shown and "temperature 0.0" in shown and "● letters" in shown
        assert "torn.toml" in shown
        assert screen.query_one(OptionList).highlighted == 1
        await pilot.press("up", "enter")
        await wait_until(pilot, lambda: bool(app.results), "the result")
    assert [preset.name for preset in app.results] == ["brief"]


async def test_without_presets_enter_does_nothing_and_the_note_says_how_to_get_one(paths: Paths) -> None:
    app = Stage(PresetsScreen(paths, Preset))
    async with app.run_test(size=(110, 30)) as pilot:
        await wait_until(pilot, lambda: "There are none yet" in screen_text(app), "the note")
        await pilot.press("enter", "d")
        await pilot.pause()
        assert app.results == [] and isinstance(app.screen, PresetsScreen)
        await pilot.press("escape")
        await wait_until(pilot, lambda: bool(app.results), "the end")
    assert app.results == [None]


async def test_deleting_asks_first_and_keeping_is_the_answer_of_a_hasty_enter(paths: Paths) -> None:
    kept(paths)
    app = Stage(PresetsScreen(paths, Preset))
    async with app.run_test(size=(110, 30)) as pilot:
        await pilot.press("d")
        await wait_until(pilot, lambda: isinstance(app.screen, Pick), "the question")
        await pilot.press("enter")
        await wait_until(pilot, lambda: isinstance(app.screen, PresetsScreen), "the list")
        assert "brief" in preset_names(paths)
        await pilot.press("d")
        await wait_until(pilot, lambda: isinstance(app.screen, Pick), "the question")
        await pilot.press("down", "enter")
        await wait_until(pilot, lambda: preset_names(paths) == ["letters", "torn"], "the end of it")
        await wait_until(pilot, lambda: "Deleted: brief." in screen_text(app), "the note")


async def test_saving_over_an_older_preset_asks_first(paths: Paths) -> None:
    kept(paths)
    app = Stage(PresetsScreen(paths, lambda name: Preset(name, {"top_k": 7}), "brief"))
    async with app.run_test(size=(110, 30)) as pilot:
        for answer, wanted in (("enter", 0.0), ("down,enter", None)):
            await pilot.press("s")
            await wait_until(pilot, lambda: isinstance(app.screen, TextDialog), "the name")
            await pilot.press("enter")
            await wait_until(pilot, lambda: isinstance(app.screen, Pick), "the question")
            await pilot.press(*answer.split(","))
            await wait_until(pilot, lambda: isinstance(app.screen, PresetsScreen), "the list")
            assert load_preset("brief", paths).values.get("temperature") == wanted


async def test_a_name_that_can_not_be_one_is_refused_with_the_reason(paths: Paths) -> None:
    screen = PresetsScreen(paths, Preset)
    app = Stage(screen)
    async with app.run_test(size=(110, 30)) as pilot:
        await pilot.press("s")
        await wait_until(pilot, lambda: isinstance(app.screen, TextDialog), "the name")
        app.screen.query_one(Input).value = "../evil"
        await pilot.press("enter")
        await wait_until(pilot, lambda: "Not saved" in str(screen.query_one("#presets-note", Static).content), "the no")
    assert preset_names(paths) == []


async def test_a_preset_is_given_to_the_chat_by_its_key_and_what_it_does_not_name_stays(tmp_path: Path) -> None:
    engine = FakeEngine(["Yes."])
    async with opened(tmp_path, engine) as here:
        save_preset(Preset("brief", {"temperature": 0.0, "system": "Be brief."}), here.screen.paths)
        here.screen._set_options(rules="support-answer")
        await here.pilot.press("f7")
        await here.until(lambda: isinstance(here.app.screen, PresetsScreen), "the screen")
        await here.pilot.press("enter")
        await here.until(lambda: here.history.chat(1).options.preset == "brief", "the preset")
        chat = here.history.chat(1)
        assert chat.system == "Be brief." and chat.options.settings == {"temperature": 0.0}
        assert chat.options.rules == "support-answer"
        here.screen._set_options(rules="")
        await here.ask("Are you?")
        assert engine.requests[-1].sampling.temperature == 0.0
        assert engine.requests[-1].messages[0].content.startswith("Be brief.")


async def test_a_preset_with_a_model_that_is_not_here_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        save_preset(Preset("big", {"model": "Huge-70B", "system": "Be big."}), here.screen.paths)
        here.screen.prompt.put("/preset big")
        await here.pilot.press("enter")
        await here.until(lambda: any("Huge-70B" in n.message for n in here.app._notifications), "the reason")
        chat = here.screen.conversation.chat
        assert chat is None or (chat.options.preset == "" and chat.system == "")
        assert here.screen.settings.model == ""


async def test_the_chat_is_saved_as_a_preset_with_all_it_uses(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=Settings(top_k=7)) as here:
        here.screen._set_system("Answer in Latin.")
        here.screen._set_options(rules="support-answer", settings={"temperature": 0.1})
        await here.pilot.press("f7")
        await here.until(lambda: isinstance(here.app.screen, PresetsScreen), "the screen")
        await here.pilot.press("s")
        await here.until(lambda: isinstance(here.app.screen, TextDialog), "the name")
        here.app.screen.query_one(Input).value = "latin"
        await here.pilot.press("enter")
        await here.until(lambda: preset_names(here.screen.paths) == ["latin"], "the file")
        wanted = {"system": "Answer in Latin.", "rules": "support-answer", "temperature": 0.1, "top_k": 7}
        assert load_preset("latin", here.screen.paths).values == wanted
