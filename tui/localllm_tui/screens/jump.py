"""Jumping: a letter appears on everything in sight that can have the focus, and pressing it goes there."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.geometry import Offset
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

LETTERS = "asdfghjklqwertyuiopzxcvbnm"


class Jump(ModalScreen[Widget | None]):
    """The widget whose letter was pressed, None after any other key.

    Args:
        targets: What can be gone to, and where on the screen its letter stands.
    """

    CSS = """
    Jump { background: transparent; align: left top !important; }
    Jump Static { position: absolute; width: 3; height: 1; background: $accent; color: $background; text-style: bold; }
    """

    def __init__(self, targets: Sequence[tuple[Widget, Offset]]) -> None:
        super().__init__()
        self._targets = targets[: len(LETTERS)]

    def compose(self) -> ComposeResult:
        """The letters."""
        for letter, (_, place) in zip(LETTERS, self._targets, strict=False):
            mark = Static(Content(f" {letter} "))
            mark.styles.offset = place
            yield mark

    def on_key(self, event: events.Key) -> None:
        """Whatever is pressed ends it."""
        event.stop()
        at = LETTERS.find(event.key) if len(event.key) == 1 else -1
        if self.is_current:
            self.dismiss(self._targets[at][0] if 0 <= at < len(self._targets) else None)

    def on_click(self, event: events.Click) -> None:
        """A click on a letter is as good as the key."""
        marks, (x, y) = list(self.query(Static)), event.screen_offset
        at = next((n for n, mark in enumerate(marks) if mark.region.contains(int(x), int(y))), -1)
        if self.is_current:
            self.dismiss(self._targets[at][0] if at >= 0 else None)
