"""Settings that change while the app runs hold at once, whoever changed them."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events

from localllm.settings import Settings
from localllm_tui.screens.text_dialog import TextDialog
from tests.fakes import FakeEngine
from tests.test_tui_chat_options import Shelf, shelf
from tests.tui import Opened, opened

__all__ = ["shelf"]


async def come_back(here: Opened) -> None:
    """The terminal's window gets the focus again."""
    here.app.post_message(events.AppBlur())
    here.app.post_message(events.AppFocus())
    await here.pilot.pause()


def notes(here: Opened) -> str:
    return "\n".join(n.message for n in here.app._notifications)


async def test_what_was_changed_in_the_file_holds_when_the_user_comes_back(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with opened(tmp_path, engine) as here:
        (tmp_path / "config.toml").write_text('theme = "localllm-light"\ntemperature = 0.3\noffline = true\n')
        await come_back(here)
        await here.until(lambda: here.app.theme == "localllm-light", "the theme")
        assert "offline" in here.text() and "Settings read again:" in notes(here)
        await here.ask("Hello")
        assert engine.requests[-1].sampling.temperature == 0.3


async def test_a_file_that_can_not_be_used_is_named_and_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        (tmp_path / "config.toml").write_text("temperature = 'hot'\n")
        await come_back(here)
        await here.until(lambda: "temperature" in notes(here), "the notice")
        assert here.screen.settings == Settings()


async def test_what_the_app_wrote_itself_is_no_news(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.pilot.press("ctrl+t")
        await here.until(lambda: here.app.theme == "localllm-light", "the theme")
        await come_back(here)
        assert "read again" not in notes(here)


async def test_another_model_in_the_file_is_loaded(tmp_path: Path, shelf: Shelf) -> None:
    async with opened(tmp_path) as here:
        (tmp_path / "config.toml").write_text('model = "Small-1B"\n')
        await come_back(here)
        await here.until(lambda: (info := here.screen.status.status.info) and info.model == "Small-1B", "the model")
        assert shelf.opened == ["Small-1B"]


@pytest.mark.parametrize("reduced", [True, False])
async def test_with_reduced_motion_no_cursor_blinks(tmp_path: Path, reduced: bool) -> None:
    async with opened(tmp_path, settings=Settings(reduced_motion=reduced)) as here:
        assert here.screen.prompt.cursor_blink is not reduced
        here.app.push_screen(TextDialog("Title"))
        await here.until(lambda: here.app.focused is not here.screen.prompt and here.app.focused, "the dialog")
        await here.pilot.pause()
        assert here.app.focused.cursor_blink is not reduced  # type: ignore[union-attr]
        assert (here.app.animation_level == "none") is reduced


async def test_a_bell_rings_only_in_another_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(["A word. " * 40], seconds_per_token=0.001, hold=20)
    async with opened(tmp_path, engine) as here:
        rung: list[int] = []
        monkeypatch.setattr(here.app, "bell", lambda: rung.append(1))
        here.screen.prompt.put("Go")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn and here.screen.turn.n_tokens > 10, "some text")
        here.app.post_message(events.AppBlur())
        await here.pilot.pause()
        engine.release.set()
        await here.until(lambda: here.screen.turn is None, "the end")
        assert rung == [1]
        here.app.post_message(events.AppFocus())
        await here.pilot.pause()
        await here.ask("And again")
        assert rung == [1]
