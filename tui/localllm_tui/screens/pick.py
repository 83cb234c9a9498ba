"""A dialog that lets one entry be picked from a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option


class Pick(ModalScreen[int | None]):
    """The index of what was picked, None when left with Esc.

    Args:
        title: What is asked for.
        entries: The entries.
        selected: Index of the one that is marked at first.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Cancel", show=False)]

    def __init__(self, title: str, entries: Sequence[Content], selected: int = 0) -> None:
        super().__init__()
        self._title = title
        self._entries = entries
        self._selected = selected

    def compose(self) -> ComposeResult:
        """Title, list, hint."""
        with Vertical(classes="dialog"):
            yield Static(self._title, classes="title", markup=False)
            yield OptionList(*[Option(entry) for entry in self._entries], compact=True, markup=False)
            yield Static("Enter chooses, Esc cancels", classes="hint", markup=False)

    def on_mount(self) -> None:
        """Ready to choose."""
        options = self.query_one(OptionList)
        options.highlighted = min(self._selected, max(0, len(self._entries) - 1))
        options.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Done."""
        if self.is_current:
            self.dismiss(event.option_index)

    def action_leave(self) -> None:
        """Nothing is picked."""
        if self.is_current:
            self.dismiss(None)
