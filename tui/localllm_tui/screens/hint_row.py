"""The last rows of the larger dialogs: their keys, each of them clickable."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.geometry import Size
from textual.style import Style
from textual.widgets import Static

from localllm_tui.markdown.blocks import MUTED


class HintRow(Static):
    """The keys of a dialog, in as many rows as they need.

    Args:
        keys: (key as people write it, what it does, action of the screen; empty for a key that can't be clicked).
    """

    def __init__(self, keys: Sequence[tuple[str, str, str]]) -> None:
        super().__init__(markup=False)
        self.auto_links = False
        self._parts = [_part(*key) for key in keys]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Rows at this width."""
        return len(hint_rows(self._parts, width))

    def render(self) -> Content:
        """The keys."""
        return Content("\n").join(hint_rows(self._parts, self.content_size.width))


def _part(key: str, meaning: str, action: str) -> Content:
    part = Content.styled(key, "bold $accent") + Content.styled(f" {meaning}", MUTED)
    return part.stylize(Style.from_meta({"@click": f"screen.{action}"})) if action else part


def hint_rows(parts: Sequence[Content], width: int) -> list[Content]:
    """Rows of at most `width` cells; a key and what it does are never parted. A part that is wider has its own row."""
    rows: list[list[Content]] = [[]]
    room = width
    for part in parts:
        gap = 3 if rows[-1] else 0
        if rows[-1] and part.cell_length + gap > room:
            rows.append([])
            room, gap = width, 0
        rows[-1].append(part)
        room -= part.cell_length + gap
    return [Content("   ").join(row) for row in rows]
