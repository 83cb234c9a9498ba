"""Every dialog at every size: its title and the way out of it are in sight, and nothing sticks out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.screen import Screen

from localllm.presets import Preset
from localllm.rag.index import Library
from localllm.settings import Paths, Settings
from localllm_tui.actions import Keys
from localllm_tui.screens.citation import CitationScreen
from localllm_tui.screens.documents import DocumentsScreen
from localllm_tui.screens.inspector import InspectorScreen
from localllm_tui.screens.keys import KeysScreen
from localllm_tui.screens.models import ModelsScreen
from localllm_tui.screens.presets import PresetsScreen
from localllm_tui.screens.rules import RulesScreen, VerdictScreen
from localllm_tui.screens.settings import SettingsScreen
from tests.test_tui_screen_citation import CITED, DOCUMENT, answer
from tests.test_tui_screen_rules import ANSWER, VERDICT
from tests.tui_stage import Stage, screen_text, wait_until

DIALOGS: dict[str, tuple[str, Callable[[Paths], Screen[Any]]]] = {
    "models": ("Models on this", lambda paths: ModelsScreen(paths, Settings())),
    "settings": ("Settings", lambda paths: SettingsScreen(Settings(), paths)),
    "citation": ("docs/pump.md", lambda paths: CitationScreen(answer(CITED), 1, lambda passage: DOCUMENT)),
    "rules": ("What answers in", lambda paths: RulesScreen(paths)),
    "verdict": ("Not every rule", lambda paths: VerdictScreen(VERDICT, ANSWER, can_repair=True)),
    "inspector": ("The prompt as", lambda paths: InspectorScreen(lambda: "line\n" * 200)),
    "presets": ("Presets", lambda paths: PresetsScreen(paths, Preset)),
    "keys": ("Keys (default)", lambda paths: KeysScreen(Keys(), lambda own: "")),
    "documents": ("Documents: default", lambda paths: DocumentsScreen(paths)),
}


@pytest.mark.parametrize("size", [(40, 24), (80, 24), (120, 40), (200, 50)], ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("name", list(DIALOGS))
async def test_title_and_way_out_are_in_sight(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path / "config.toml", tmp_path)
    if name == "documents":
        with Library(paths.library("default"), create=True) as library:
            library.add_root(tmp_path / "a" / "long" / "way" / "down" / "to" / "the" / "manuals", "folder")
    title, make = DIALOGS[name]
    app = Stage(make(paths))
    async with app.run_test(size=size) as pilot:
        await wait_until(pilot, lambda: "Esc" in screen_text(app), "the way out", 10)
        shown = screen_text(app)
        assert title in shown
        assert all(len(row) <= size[0] for row in shown.splitlines())


async def test_where_there_is_little_room_a_dialog_takes_all_of_it() -> None:
    app = Stage(CitationScreen(answer(CITED), 1, lambda passage: DOCUMENT))
    async with app.run_test(size=(40, 20)) as pilot:
        await wait_until(pilot, lambda: "Replace the seal" in screen_text(app), "the passage")
        rows = screen_text(app).splitlines()
        assert "pump.md" in rows[0] and not any("┌" in row or "│" in row for row in rows)
        assert sum(row.startswith(("Filler", "Replace", "part", "End.")) for row in rows) >= 12, "rows of text"
