"""A small dialog that asks for one text, such as a chat's title."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static, TextArea

from localllm_tui.markdown.clean import clean_line
from localllm_tui.widgets.prompt import CleanTextArea


class TextDialog(ModalScreen[str | None]):
    """Asks for a text; the result is None when it was left with Esc.

    Args:
        title: What is asked for.
        text: What stands in the field.
        lines: Several lines are allowed; then Ctrl+S accepts.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss_none", "Cancel", show=False),
        Binding("ctrl+s", "accept", "Accept", show=False, priority=True),
    ]

    def __init__(self, title: str, text: str = "", *, lines: bool = False) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._lines = lines

    def compose(self) -> ComposeResult:
        """Title, field, hint."""
        with Vertical(classes="dialog"):
            yield Static(self._title, classes="title", markup=False)
            if self._lines:
                yield CleanTextArea(self._text, compact=True, id="dialog-text", soft_wrap=True)
                yield Static("Ctrl+S accepts, Esc cancels", classes="hint", markup=False)
            else:
                yield Input(clean_line(self._text), compact=True, id="dialog-text")
                yield Static("Enter accepts, Esc cancels", classes="hint", markup=False)

    def on_mount(self) -> None:
        """Ready to type."""
        self.query_one("#dialog-text").focus()

    def on_input_submitted(self) -> None:
        """Enter."""
        self.action_accept()

    def action_accept(self) -> None:
        """Done; a second key press meanwhile does nothing."""
        if not self.is_current:
            return
        field = self.query_one("#dialog-text")
        assert isinstance(field, (Input, TextArea))
        self.dismiss(field.value if isinstance(field, Input) else field.text)

    def action_dismiss_none(self) -> None:
        """Leave it as it was."""
        if self.is_current:
            self.dismiss(None)
