"""A bare app that shows one screen, and waits for things to come true."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen

import localllm_tui
from localllm_tui.sizes import BREAKPOINTS
from localllm_tui.themes import OWN, with_markdown_colours

_TCSS = Path(localllm_tui.__file__).with_name("app.tcss")


class Stage(App[None]):
    """Shows a screen with the app's own styles and keeps what it was dismissed with."""

    CSS_PATH = _TCSS
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = BREAKPOINTS

    def __init__(self, shown: Screen[Any]) -> None:
        super().__init__()
        self.shown = shown
        self.results: list[Any] = []
        self.animation_level = "none"
        self.register_theme(OWN[0])
        self.theme = OWN[0].name

    def get_css_variables(self) -> dict[str, str]:
        return with_markdown_colours(super().get_css_variables())

    def on_mount(self) -> None:
        self.push_screen(self.shown, self.results.append)


def screen_text(app: App[Any]) -> str:
    """What stands on the terminal, row by row."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    rows = ["".join(segment.text for segment in strip) for strip in lines]
    assert all(len(row) <= 4 * width for row in rows)
    return "\n".join(row.rstrip() for row in rows[:height])


async def wait_until(pilot: Pilot[Any], true: Callable[[], bool], what: str = "it", seconds: float = 30.0) -> None:
    """Pause until the condition holds; a test that waits in vain fails with what it waited for and the screen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await pilot.pause()
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}\n{screen_text(pilot.app)}")
