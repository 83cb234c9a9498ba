"""The last row of a dialog: its keys, each of them clickable."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.style import Style


def hint_row(keys: Sequence[tuple[str, str, str]]) -> Content:
    """The row.

    Args:
        keys: (key as people write it, what it does, action of the screen; empty for a key that can't be clicked).
    """
    parts: list[Content] = []
    for key, meaning, action in keys:
        part = Content.styled(key, "bold $accent") + Content.styled(f" {meaning}", "$text-muted")
        if action:
            part = part.stylize(Style.from_meta({"@click": f"screen.{action}"}))
        parts.append(part)
    return Content("   ").join(parts)
