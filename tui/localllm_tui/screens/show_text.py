"""A text to read, in full."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from localllm_tui.markdown.clean import clean


class ShowText(ModalScreen[None]):
    """Shows a text as it is.

    Args:
        title: Stands above it.
        text: The text; control sequences are taken out of a plain one.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f2", "close", "Close", show=False)]

    def __init__(self, title: str, text: str | Content) -> None:
        super().__init__()
        self._title = title
        self._text = clean(text) if isinstance(text, str) else text

    def compose(self) -> ComposeResult:
        """Title and text."""
        with VerticalScroll(classes="dialog tall"):
            yield Static(self._title, classes="title", markup=False)
            yield Static(self._text, markup=False)
            yield Static("Esc closes.", classes="hint", markup=False)

    def on_mount(self) -> None:
        """Ready to scroll."""
        self.query_one(VerticalScroll).focus()

    def action_close(self) -> None:
        """Back."""
        if self.is_current:
            self.dismiss(None)
