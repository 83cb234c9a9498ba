"""The document behind a source opens in the desktop's own program: never waited for, never run, never a lost path."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from localllm.errors import InputError
from localllm.events import Role
from localllm.history import MessageState
from localllm_tui.actions import ACTIONS, Keys
from localllm_tui.opener import desktop_command, open_document
from localllm_tui.screens.citation import CitationScreen
from tests.test_tui_screen_citation import OTHER, PASSAGE, answer
from tests.tui import Opened, opened
from tests.tui_stage import Stage, screen_text, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for the desktop is a shell script")


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desktop whose way to open things notes what it was given, and says that it failed when told so."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("xdg-open", "open"):
        script = folder / name
        script.write_text(f'#!/bin/sh\necho "$1" >> "{tmp_path}/opened.txt"\n[ ! -e "{tmp_path}/broken" ]\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.delenv("WSL_DISTRO_NAME", raising=False)
    return tmp_path


def given(desktop: Path) -> list[str]:
    path = desktop / "opened.txt"
    return path.read_text().splitlines() if path.exists() else []


def hear(here: Opened) -> list[str]:
    """What the app says from now on."""
    said: list[str] = []
    here.screen.say = lambda text, severity="": said.append(text)  # type: ignore[method-assign]
    return said


def stands(here: Opened, text: str) -> bool:
    return text in here.text()


async def ask_documents(here: Opened, *sources: Path) -> None:
    """A chat with an answer from these documents, and the focus on it."""
    chat = here.history.create_chat().id
    question = here.history.add_message(chat, Role.USER, "When?")
    said = here.history.add_message(chat, Role.ASSISTANT, "Every 400 hours [1].", parent=question.id)
    passages = tuple(replace(p, source=str(s)) for p, s in zip((PASSAGE, OTHER), sources, strict=False))
    here.history.update_message(said.id, state=MessageState.COMPLETE, passages=passages)
    here.screen.open_chat(chat)
    await here.until(lambda: len(here.screen.transcript.views) == 2, "the chat")
    await here.pilot.press("shift+tab")


async def test_o_on_an_answer_opens_the_source_and_o_there_the_document(tmp_path: Path, desktop: Path) -> None:
    one, other = tmp_path / "pump manual.md", tmp_path / "holidays.txt"
    one.write_text("Pump.")
    other.write_text("Holidays.")
    async with opened(tmp_path / "home") as here:
        await ask_documents(here, one, other)
        said = hear(here)
        await here.pilot.press("o")
        await here.until(lambda: isinstance(here.app.screen, CitationScreen), "the source")
        await here.pilot.press("o")
        await here.until(lambda: given(desktop) == [str(one)], "the document")
        await here.pilot.press("n", "o")
        await here.until(lambda: given(desktop) == [str(one), str(other)], "the next one")
        assert said == ["Opening pump manual.md.", "Opening holidays.txt."]


async def test_from_the_palette_the_source_looked_at_last_counts(tmp_path: Path, desktop: Path) -> None:
    one, other = tmp_path / "pump.md", tmp_path / "holidays.txt"
    one.write_text("Pump.")
    other.write_text("Holidays.")
    async with opened(tmp_path / "home") as here:
        await ask_documents(here, one, other)
        here.screen.run_by_id("open_document")
        await here.until(lambda: given(desktop) == [str(one)], "the first document")
        for action, shown in (("source_next", "1 of 2"), ("source_next", "2 of 2"), ("source_previous", "1 of 2"),
                              ("source_previous", "2 of 2")):  # fmt: skip
            here.screen.run_by_id(action)
            await here.until(partial(stands, here, shown), shown)
            await here.pilot.press("escape")
            await here.until(lambda: here.app.screen is here.screen, "the chat")
        here.screen.run_by_id("open_document")
        await here.until(lambda: given(desktop) == [str(one), str(other)], "the one looked at last")


async def test_a_document_that_is_gone_is_said_and_nothing_is_opened(tmp_path: Path, desktop: Path) -> None:
    async with opened(tmp_path / "home") as here:
        await ask_documents(here, tmp_path / "gone.md")
        said = hear(here)
        here.screen.run_by_id("open_document")
        await here.until(lambda: any("gone.md is no longer there." in text for text in said), "the remark")
        assert given(desktop) == []


async def test_where_the_desktop_has_no_program_that_is_said_with_the_path(tmp_path: Path, desktop: Path) -> None:
    (desktop / "broken").touch()
    path = tmp_path / "pump.md"
    path.write_text("Pump.")
    async with opened(tmp_path / "home") as here:
        await ask_documents(here, path)
        said = hear(here)
        here.screen.run_by_id("open_document")
        await here.until(lambda: said[1:], "the remark")
        assert said[1].endswith(f"found no program for it. The document is {path}.")


async def test_without_documents_there_is_nothing_to_open_and_that_is_said(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        for action in ("open_document", "source_next", "source_previous", "open_citation"):
            said = hear(here)
            here.screen.run_by_id(action)
            await here.until(partial(said.count, "This answer was given without documents."), action)


def differs(screen: CitationScreen, calls: list[str], number: int, n_calls: int) -> bool:
    return (screen.number, len(calls)) != (number, n_calls)


async def test_every_key_of_the_registry_for_an_open_source_works_there() -> None:
    calls: list[str] = []
    screen = CitationScreen(answer(), 1, None, calls.append)
    app = Stage(screen)
    async with app.run_test(size=(100, 30)) as pilot:
        for action in (a for a in ACTIONS if a.where == "source"):
            for key in action.key_list("default"):
                left = partial(differs, screen, calls, screen.number, len(calls))
                await pilot.press(key)
                await wait_until(pilot, left, key)
    assert calls == [PASSAGE.source]


async def test_the_row_of_keys_names_the_keys_that_the_user_gave() -> None:
    app = Stage(CitationScreen(answer(), 1, keys=Keys(own={"open_document": "f12"})))
    async with app.run_test(size=(100, 30)) as pilot:
        await wait_until(pilot, lambda: "F12 open the document" in screen_text(app), "the key")


def test_a_program_that_goes_on_is_not_waited_for(tmp_path: Path, desktop: Path) -> None:
    for name in ("xdg-open", "open"):
        (desktop / "bin" / name).write_text(f'#!/bin/sh\nread line < "{tmp_path}/pipe"\n')
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "pump.md"
    path.write_text("Pump.")
    assert open_document(str(path), pytest.fail) == "Opening pump.md."
    (tmp_path / "pipe").write_text("end\n")


@pytest.mark.parametrize("name", ["tool.sh", "macro.docm", "start.desktop", "setup.exe", "page.hta", "program", "a.py"])
def test_what_might_be_run_instead_of_shown_is_not_opened(name: str, tmp_path: Path, desktop: Path) -> None:
    path = tmp_path / name
    path.write_text("x")
    shown = tmp_path / "shown.pdf"
    shown.symlink_to(path)
    for way in (path, shown):
        with pytest.raises(InputError, match="may run"):
            open_document(str(way), pytest.fail)
    assert given(desktop) == []


@pytest.mark.parametrize("source", ["", "pump.md", "/nowhere/pump.md", "a\0b", "x" * 5000, "/"])
def test_what_is_no_file_is_never_opened(source: str, desktop: Path) -> None:
    with pytest.raises(InputError, match="no longer there"):
        open_document(source, pytest.fail)
    assert given(desktop) == []


def test_over_ssh_without_a_display_the_path_is_said(
    tmp_path: Path, desktop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pump.md"
    path.write_text("Pump.")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")
    with pytest.raises(InputError, match=f"no desktop here.*{path}"):
        open_document(str(path), pytest.fail)
    assert desktop_command({"SSH_CONNECTION": "x", "DISPLAY": ":10"}) is not None, "a display that is passed through"
