"""Several messages are selected and copied at once, with the names of who speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from localllm.settings import Settings
from localllm_tui import clipboard
from tests.fakes import FakeEngine
from tests.tui import Opened, opened


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []

    def copy(app: object, text: str, home: Path) -> str:
        texts.append(text)
        return "Copied."

    monkeypatch.setattr(clipboard, "copy", copy)
    return texts


@asynccontextmanager
async def two_answers(folder: Path, settings: Settings | None = None) -> AsyncIterator[Opened]:
    async with opened(folder, FakeEngine(["First.", "Second."]), settings=settings) as here:
        await here.ask("One?")
        await here.ask("Two?")
        await here.pilot.press("shift+tab")
        yield here


def selected(here: Opened) -> list[str]:
    return [
        view.text.strip() for view in here.screen.query(".-selected").results(type(here.screen.transcript.views[0]))
    ]


async def test_the_selection_grows_with_the_focus_and_y_copies_it(tmp_path: Path, copied: list[str]) -> None:
    async with two_answers(tmp_path) as here:
        await here.pilot.press("V", "up", "up")
        assert selected(here) == ["First.", "Two?", "Second."]
        await here.pilot.press("down")
        assert selected(here) == ["Two?", "Second."]
        await here.pilot.press("y")
        name = here.screen.transcript.views[-1].name_shown
        assert copied == [f"You:\nTwo?\n\n{name}:\nSecond."] and name in here.text()
        assert selected(here) == []


async def test_escape_ends_the_selection_first(tmp_path: Path, copied: list[str]) -> None:
    async with two_answers(tmp_path, Settings(keys="vim")) as here:
        await here.pilot.press("V", "k", "escape")
        assert selected(here) == [] and here.screen.transcript.focused_view is not None
        await here.pilot.press("y")
        assert copied == ["Two?"], "the message in focus alone"
        await here.pilot.press("V", "V", "k", "escape")
        assert here.screen.focused is here.screen.prompt, "nothing was selected any more"


async def test_a_chat_that_is_left_takes_its_selection_along(tmp_path: Path) -> None:
    async with two_answers(tmp_path) as here:
        await here.pilot.press("V", "up")
        here.screen.run_by_id("new_chat")
        await here.until(lambda: not here.screen.transcript.views, "the new chat")
        await here.ask("Three?")
        await here.pilot.press("shift+tab")
        assert selected(here) == []


async def test_without_a_message_in_focus_it_says_where_to_go(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        here.screen.run_by_id("select_messages")
        said = here.app._notifications
        await here.until(lambda: any("Go to a message first" in note.message for note in said), "the advice")
