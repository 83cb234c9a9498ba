"""Folders and files dropped on the documents screen: every way in which terminals paste them adds them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.events import Paste
from textual.pilot import Pilot

from localllm.rag.index import Library
from localllm.settings import Paths
from localllm_tui.dropped import paths_in
from localllm_tui.screens.documents import DocumentsScreen
from tests.tui_stage import Stage, screen_text, wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths and quotation marks of POSIX")
HERE = Path("/somewhere")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "my manuals"
    folder.mkdir()
    (folder / "pump.md").write_text("# Pump\n\nReplace the seal every 400 hours of operation.\n")
    return folder


@pytest.fixture
def note(tmp_path: Path) -> Path:
    note = tmp_path / "it's a 50% note.txt"
    note.write_text("The spare key hangs behind the door.\n")
    return note


@pytest.mark.parametrize(
    "way",
    [
        "{plain}",
        "{plain} ",
        "'{plain}' ",
        '"{plain}"',
        "{escaped} ",
        "{address}",
        "file://localhost{escaped_address}\r\n",
        "{escaped} '{plain}'",
        "{plain}\n{address}\n",
    ],
)
def test_a_path_is_read_however_a_terminal_pastes_it(way: str, folder: Path) -> None:
    plain = str(folder)
    text = way.format(
        plain=plain,
        escaped=plain.replace(" ", "\\ "),
        address=folder.as_uri(),
        escaped_address=folder.as_uri().removeprefix("file://"),
    )
    assert paths_in(text, HERE) == [folder]


def test_several_paths_are_read_apart(folder: Path, note: Path) -> None:
    for text in (
        f"{shlex.quote(str(folder))} {shlex.quote(str(note))} ",
        f"{folder.as_uri()} {note.as_uri()}",
        f"{folder}\n{note}",
    ):
        assert paths_in(text, HERE) == [folder, note]


def test_a_quotation_mark_or_a_percent_sign_in_a_name_is_no_other_name(note: Path) -> None:
    for text in (str(note), note.as_uri(), shlex.quote(str(note))):
        assert paths_in(text, HERE) == [note]


def test_relative_paths_begin_at_the_folder_and_words_of_a_text_are_no_paths(tmp_path: Path, folder: Path) -> None:
    assert paths_in("my manuals", tmp_path) == paths_in("'my manuals'", tmp_path) == [folder]
    (tmp_path / "and").mkdir()
    assert paths_in("this and that", tmp_path) == [tmp_path / "this and that"]
    assert paths_in(f"see {folder.as_uri()}", tmp_path) != [folder]


@given(st.text(max_size=40))
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    assert all(path.is_absolute() for path in paths_in(text, HERE))


async def drop(pilot: Pilot[None], app: Stage, screen: DocumentsScreen, text: str) -> None:
    """Drop it on the window, and wait for the end of the sync."""
    app.post_message(Paste(text))
    await wait_until(pilot, lambda: "Done" in screen_text(app) and not screen.syncing, "the end of the sync")


async def test_what_is_dropped_joins_the_library_that_is_shown(tmp_path: Path, folder: Path, note: Path) -> None:
    paths = Paths(tmp_path / "home", tmp_path / "home" / "config.toml", tmp_path)
    screen = DocumentsScreen(paths, "work")
    app = Stage(screen)
    async with app.run_test(size=(110, 36)) as pilot:
        await drop(pilot, app, screen, f"{shlex.quote(str(folder))} {shlex.quote(str(note))} ")
        shown = screen_text(app)
        assert "✓ pump.md" in shown and "2 files" in shown
    with Library(paths.library("work")) as library:
        assert {(root.path, root.kind) for root in library.roots()} == {(folder, "folder"), (note, "file")}
    assert not paths.library("default").exists()


async def test_what_is_not_there_or_followed_already_is_said_and_the_rest_is_added(
    tmp_path: Path, folder: Path, note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(tmp_path / "home", tmp_path / "home" / "config.toml", tmp_path)
    screen = DocumentsScreen(paths)
    app = Stage(screen)
    async with app.run_test(size=(110, 36)) as pilot:
        said: list[str] = []
        monkeypatch.setattr(screen, "notify", lambda text, **_: said.append(text))
        app.post_message(Paste(str(tmp_path / "nowhere")))
        await wait_until(pilot, lambda: "There is no" in screen_text(app), "the remark")
        app.post_message(Paste("words " * 1000))
        await wait_until(pilot, lambda: "words words" in screen_text(app), "the remark on a text")
        assert "Esc close" in screen_text(app), "a long text pushes nothing out of sight"
        assert not paths.library("default").exists()
        await drop(pilot, app, screen, str(folder))
        app.post_message(Paste(f"{shlex.quote(str(folder / 'pump.md'))} {shlex.quote(str(note))}"))
        await wait_until(pilot, lambda: "which is followed already" in "".join(said), "the remark")
        await wait_until(pilot, lambda: "2 files" in screen_text(app) and not screen.syncing, "the other file")


async def test_while_a_sync_runs_nothing_is_added_and_that_is_said(tmp_path: Path, folder: Path) -> None:
    paths = Paths(tmp_path / "home", tmp_path / "home" / "config.toml", tmp_path)
    screen = DocumentsScreen(paths)
    app = Stage(screen)
    async with app.run_test(size=(110, 36)) as pilot:
        screen.syncing = True
        app.post_message(Paste(str(folder)))
        await wait_until(pilot, lambda: "stop it with Esc first" in screen_text(app), "the remark")
        assert not paths.library("default").exists()
