"""The look that the larger dialogs share: calm lists, and a last row with the keys, each of them clickable."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.style import Style
from textual.widgets import Static

from localllm_tui.markdown.blocks import MUTED

DIALOG_CSS = """
.dialog HintRow { height: auto; margin: 1 0 0 0; }
.dialog OptionList { scrollbar-size-vertical: 1; background: $surface; }
.dialog OptionList:focus { background: $surface; background-tint: $surface 0%; }
.dialog OptionList > .option-list--option-highlighted { background: $panel; color: $foreground; text-style: none; }
.dialog OptionList:focus > .option-list--option-highlighted {
    background: $panel; color: $foreground; text-style: none;
}
"""
"""For `CSS` of a screen with a ``.dialog`` in it."""


class HintRow(Static):
    """The keys of a dialog.

    Args:
        keys: (key as people write it, what it does, action of the screen; empty for a key that can't be clicked).
    """

    def __init__(self, keys: Sequence[tuple[str, str, str]]) -> None:
        super().__init__(hint_row(keys), markup=False)
        self.auto_links = False


def hint_row(keys: Sequence[tuple[str, str, str]]) -> Content:
    """The keys as one line; a key and what it does are never parted by a line break."""
    parts: list[Content] = []
    for key, meaning, action in keys:
        meaning = meaning.replace(" ", "\u00a0")
        part = Content.styled(key, "bold $accent") + Content.styled(f"\u00a0{meaning}", MUTED)
        if action:
            part = part.stylize(Style.from_meta({"@click": f"screen.{action}"}))
        parts.append(part)
    return Content("   ").join(parts)
