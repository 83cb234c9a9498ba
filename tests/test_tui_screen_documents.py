"""The documents screen on a real library: add a folder, see every file's state, cancel, resume, remove, use."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input, OptionList

from localllm.rag.index import Library
from localllm.settings import Paths
from localllm_tui.screens.documents import DocumentsScreen
from tests.tui_stage import Stage, screen_text, wait_until


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "home", tmp_path / "home" / "config.toml", tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "manuals"
    folder.mkdir()
    (folder / "pump.md").write_text("# Pump\n\nReplace the seal every 400 hours of operation.\n")
    (folder / "notes.txt").write_text("The spare key hangs behind the door.\n")
    return folder


async def add(pilot: object, app: Stage, screen: DocumentsScreen, path: Path) -> None:
    from textual.pilot import Pilot

    assert isinstance(pilot, Pilot)
    await pilot.press("a")
    await wait_until(pilot, lambda: app.screen is not screen, "the dialog")
    app.screen.query_one(Input).value = str(path)
    await pilot.press("enter")


async def test_an_added_folder_is_read_and_can_be_used(paths: Paths, folder: Path) -> None:
    screen = DocumentsScreen(paths)
    app = Stage(screen)
    async with app.run_test(size=(110, 36)) as pilot:
        assert "Nothing here yet" in screen_text(app)
        await add(pilot, app, screen, folder)
        await wait_until(pilot, lambda: "Done" in screen_text(app) and not screen.syncing, "the end of the sync", 30)
        shown = screen_text(app)
        assert "✓ pump.md" in shown and "✓ notes.txt" in shown
        assert "2 files" in shown and "0 with problems" in shown
        await pilot.press("f")
        await wait_until(pilot, lambda: "No problems." in screen_text(app), "the list of problems")
        await pilot.press("u")
        await wait_until(pilot, lambda: bool(app.results), "the result")
    assert app.results == ["default"]
    with Library(paths.library("default")) as library:
        assert len([d for d in library.documents() if d.status == "ok"]) == 2


async def test_a_damaged_file_is_listed_with_its_reason_and_the_others_are_read(paths: Paths, folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 not really a PDF")
    screen = DocumentsScreen(paths)
    app = Stage(screen)
    async with app.run_test(size=(110, 36)) as pilot:
        await add(pilot, app, screen, folder)
        await wait_until(pilot, lambda: not screen.syncing and "read yet" not in screen_text(app), "the end", 15)
        shown = screen_text(app)
        assert "✗ broken.pdf" in shown and "✓ pump.md" in shown and "1 with problems" in shown


async def test_a_path_that_does_not_exist_is_said_and_nothing_is_made(paths: Paths, tmp_path: Path) -> None:
    screen = DocumentsScreen(paths)
    app = Stage(screen)
    async with app.run_test(size=(110, 36)) as pilot:
        await add(pilot, app, screen, tmp_path / "nowhere")
        await wait_until(pilot, lambda: "There is no" in screen_text(app), "the remark")
    assert not paths.library("default").exists()


async def test_removing_asks_first_and_leaves_the_files_on_disk(paths: Paths, folder: Path) -> None:
    with Library(paths.library("default"), create=True) as library:
        library.add_root(folder, "folder")
    screen = DocumentsScreen(paths)
    app = Stage(screen)
    async with app.run_test(size=(110, 36)) as pilot:
        await pilot.press("s")
        await wait_until(pilot, lambda: "Done" in screen_text(app) and not screen.syncing, "the end of the sync", 30)
        listing = screen.query_one(OptionList)
        listing.highlighted = 0
        await pilot.press("d")
        await wait_until(pilot, lambda: app.screen is not screen, "the question")
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.screen is screen, "the list")
        assert "pump.md" in screen_text(app), "the first answer keeps it"
        listing.highlighted = 0
        await pilot.press("d")
        await wait_until(pilot, lambda: app.screen is not screen, "the question")
        await pilot.press("down", "enter")
        await wait_until(pilot, lambda: "were dropped" in screen_text(app), "the removal")
    assert (folder / "pump.md").exists()
    with Library(paths.library("default")) as library:
        assert library.documents() == [] and library.roots() == []


async def test_a_stopped_sync_goes_on_where_it_was(paths: Paths, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(1000):
        (folder / f"{n}.md").write_text(f"# Note {n}\n\n" + f"Text of note {n}. " * 400)
    with Library(paths.library("default"), create=True) as library:
        library.add_root(folder, "folder")
    screen = DocumentsScreen(paths)
    app = Stage(screen)
    async with app.run_test(size=(110, 36)) as pilot:
        await pilot.press("s")
        await wait_until(pilot, lambda: "Reading" in screen_text(app), "some progress", 30)
        await pilot.press("escape")
        await wait_until(pilot, lambda: "Stopped" in screen_text(app), "the stop", 30)
        assert app.screen is screen, "the first Esc stops, it does not close"
        await pilot.press("s")
        await wait_until(pilot, lambda: "Done" in screen_text(app) and not screen.syncing, "the end", 120)
    with Library(paths.library("default")) as library:
        assert len([d for d in library.documents() if d.status == "ok"]) == 1000


async def test_control_sequences_in_file_names_never_reach_the_terminal(paths: Paths, tmp_path: Path) -> None:
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "a\x1b[2Jb.txt").write_text("Text.")
    with Library(paths.library("default"), create=True) as library:
        library.add_root(folder, "folder")
    screen = DocumentsScreen(paths)
    app = Stage(screen)
    async with app.run_test(size=(110, 36)) as pilot:
        await pilot.press("s")
        await wait_until(pilot, lambda: "Done" in screen_text(app) and not screen.syncing, "the end", 30)
        assert "\x1b" not in screen_text(app) and "ab.txt" in screen_text(app)
