"""What a chat was given comes back when it is opened again: model, draft, sampling, rules, documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import OptionList

from localllm.assistant import Assistant
from localllm.errors import ModelNotFound
from localllm.events import Loading
from localllm.settings import Paths, Settings
from localllm_tui.screens.settings import SettingsScreen
from tests.fakes import FakeEngine
from tests.test_assistant_seams import FakeGrounding, FakeLibrary, FakeRulebook
from tests.tui import Opened, opened


class Shelf:
    """Models that exist by name alone."""

    def __init__(self, *names: str) -> None:
        self.names = {"", *names}
        self.opened: list[str] = []

    def engine_spec(self, settings: Settings, paths: Paths, **_: Any) -> tuple[str, str]:
        if settings.model not in self.names:
            raise ModelNotFound(f"There is no model {settings.model!r}.")
        return settings.model, settings.draft

    def open_engine(
        self, settings: Settings, paths: Paths, *, on_progress: Callable[[Loading], None], **_: Any
    ) -> FakeEngine:
        self.opened.append(settings.model)
        engine = FakeEngine([f"I am {settings.model}."])
        engine._info = replace(engine.info, model=settings.model)
        return engine


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf("Big-7B", "Small-1B")
    monkeypatch.setattr("localllm.open.engine_spec", shelf.engine_spec)
    monkeypatch.setattr("localllm.open.open_engine", shelf.open_engine)
    return shelf


async def switch(here: Opened, name: str) -> None:
    here.screen.prompt.put(f"/model {name}")
    await here.pilot.press("enter")
    await here.until(lambda: (info := here.screen.status.status.info) and info.model == name, name)


async def test_a_chat_comes_back_with_its_model_when_the_user_writes_in_it(tmp_path: Path, shelf: Shelf) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        await switch(here, "Big-7B")
        await here.ask("Two")
        await here.pilot.press("ctrl+n")
        await here.ask("A second chat")
        assert here.history.path(2)[-1].content == "I am Big-7B.", "a new chat is answered by what is loaded"
        await switch(here, "Small-1B")
        assert shelf.opened == ["Big-7B", "Small-1B"]
        here.screen.open_chat(1)
        await here.until(lambda: "This chat uses Big-7B; it is loaded when you write." in notes(here), "the note")
        assert shelf.opened == ["Big-7B", "Small-1B"], "looking at a chat loads nothing"
        await here.pilot.press("H")
        await here.until(lambda: shelf.opened == ["Big-7B", "Small-1B", "Big-7B"], "the load")
        await here.ask("Hello?")
        assert here.history.path(1)[-1].content == "I am Big-7B."
    async with opened(tmp_path) as here:
        here.screen.open_chat(1)
        await here.until(lambda: here.screen.conversation.chat and here.screen.conversation.chat.id == 1)
        await here.ask("Who?")
        assert here.history.path(1)[-1].content == "I am Big-7B.", "after a restart, too"


async def test_at_the_start_the_model_of_the_shown_chat_is_loaded_and_no_other(tmp_path: Path, shelf: Shelf) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        await switch(here, "Big-7B")
    shelf.opened.clear()
    paths = Paths(tmp_path, tmp_path / "config.toml", tmp_path)
    default = Assistant(opener=lambda report: shelf.open_engine(Settings(), paths, on_progress=report))
    async with opened(tmp_path, assistant=default) as here:
        assert shelf.opened == ["Big-7B"]
        assert here.screen.status.status.info is not None and here.screen.status.status.info.model == "Big-7B"
        assert not notes(here), "what was done needs no announcement"


async def test_at_the_start_a_model_that_is_gone_is_named_and_the_default_one_is_loaded(
    tmp_path: Path, shelf: Shelf
) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        await switch(here, "Big-7B")
    shelf.names.remove("Big-7B")
    async with opened(tmp_path) as here:
        await here.until(lambda: "There is no model 'Big-7B'." in notes(here), "the notice")
        assert here.screen.status.status.info is not None and here.screen.status.status.info.model == "Fake-1B.Q4_0"


async def test_a_model_that_is_gone_is_named_and_the_loaded_one_answers(tmp_path: Path, shelf: Shelf) -> None:
    async with opened(tmp_path, FakeEngine(["Loaded."])) as here:
        here.screen._set_options(settings={"model": "Gone-70B"})
        await here.ask("Anyone?")
        assert here.history.path(1)[-1].content == "Loaded." and "There is no model 'Gone-70B'" in notes(here)


async def test_draft_and_sampling_of_one_chat_are_changed_kept_and_reset(tmp_path: Path, shelf: Shelf) -> None:
    engine = FakeEngine(["Yes."])
    async with opened(tmp_path, engine) as here:
        await here.ask("Before")
        await here.pilot.press("alt+p")
        await here.until(lambda: isinstance(here.app.screen, SettingsScreen), "the screen")
        screen = here.app.screen
        assert isinstance(screen, SettingsScreen) and "Settings of this chat" in here.text()
        assert not {"theme", "docs", "system", "allow_code"} & {o.id for o in screen.query_one(OptionList).options}
        assert screen.change("temperature", 0.0) and screen.change("draft", "none")
        assert not screen.change("top_p", 7.0)
        await here.pilot.press("escape")
        await here.until(lambda: shelf.opened == [""], "the model without its draft")
        assert here.history.chat(1).options.settings == {"temperature": 0.0, "draft": "none"}
        assert not (tmp_path / "config.toml").exists(), "the settings of the others stay"
        await here.pilot.press("ctrl+n")
        here.screen.open_chat(1)
        await here.until(lambda: here.screen.conversation.chat is not None, "the chat")
        await here.pilot.press("alt+p")
        await here.until(lambda: isinstance(here.app.screen, SettingsScreen), "the screen")
        screen = here.app.screen
        assert isinstance(screen, SettingsScreen) and screen.settings.temperature == 0.0
        assert screen.change("temperature", Settings().temperature)
        await here.pilot.press("escape")
        assert here.history.chat(1).options.settings == {"draft": "none"}


async def test_rules_documents_and_sampling_hold_in_the_reopened_chat_and_in_no_other(tmp_path: Path) -> None:
    engine = FakeEngine(["Yes [1]."])
    library, rules = FakeLibrary(FakeGrounding()), FakeRulebook()
    async with opened(tmp_path, engine) as here:
        assistant = here.screen.conversation.assistant
        assistant._find_library, assistant._find_rules = lambda name: library, lambda name: rules
        here.screen._set_options(docs="manuals", rules="short", settings={"temperature": 0.1})
        await here.pilot.press("ctrl+n")
        await here.ask("Nothing special?")
        assert not library.asked and engine.requests[-1].sampling.temperature == Settings().temperature
        assert "docs:" not in here.text() and "rules:" not in here.text()
        here.screen.open_chat(1)
        await here.until(lambda: "docs: manuals" in here.text() and "rules: short" in here.text(), "its options")
        await here.ask("And here?")
        assert library.asked and engine.requests[-1].sampling.temperature == 0.1
        assert here.history.path(1)[-1].verdict is not None


def notes(here: Opened) -> str:
    return "\n".join(n.message for n in here.app._notifications)
