"""What must be seen without colours, in every theme: the focus, and that lines are quiet."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.settings import Settings
from tests.tui import opened

THEMES = ("localllm-dark", "localllm-light", "localllm-contrast", "ansi-dark", "ansi-light")


@pytest.mark.parametrize("theme", THEMES)
async def test_the_message_in_focus_and_no_other_has_a_bar(theme: str, tmp_path: Path) -> None:
    async with opened(tmp_path, settings=Settings(theme=theme), size=(100, 30)) as here:
        await here.ask("One")
        assert "▌" not in here.text()
        await here.pilot.press("shift+tab")
        await here.until(lambda: "▌" in here.text(), "the bar")
        marked = [row for row in here.text().split("\n") if "▌" in row]
        view = here.screen.transcript.views[-1]
        assert len(marked) == view.size.height and not any("You" in row for row in marked)


@pytest.mark.parametrize("theme", ["ansi-dark", "ansi-light"])
async def test_in_the_terminals_own_colours_lines_are_no_second_accent(theme: str, tmp_path: Path) -> None:
    async with opened(tmp_path, settings=Settings(theme=theme)) as here:
        variables = here.app.get_css_variables()
        assert variables["border"] == variables["md-muted"] == "ansi_bright_black"
