"""The prompt: several lines, history, and completion of commands and files."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import Edit, EditResult

from localllm_tui.actions import bindings
from localllm_tui.markdown.clean import clean

PLACEHOLDER = "Ask anything.  @ attach a file   / commands"
SHORT_PLACEHOLDER = "Ask anything.  @ file  / commands"


class CleanTextArea(TextArea):
    """Holds nothing that would command the terminal, whoever wrote it: what is seen is what is sent."""

    def load_text(self, text: str) -> None:
        """Replace everything."""
        super().load_text(clean(text))

    def edit(self, edit: Edit) -> EditResult:
        """Typed, pasted, or put in."""
        return super().edit(replace(edit, text=clean(edit.text)))


class Prompt(CleanTextArea):
    """Where the user writes."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("prompt")]

    class Completing(Message):
        """The text before the cursor may be the beginning of a command or of a file name."""

        def __init__(self, prefix: str) -> None:
            super().__init__()
            self.prefix = prefix

    def __init__(self) -> None:
        super().__init__(
            id="prompt",
            soft_wrap=True,
            show_line_numbers=False,
            highlight_cursor_line=False,
            compact=True,
            placeholder=PLACEHOLDER,
        )
        self.past: list[str] = []
        """Earlier prompts, oldest first."""
        self._at: int | None = None
        self._unsent = ""
        self.completing = False
        """The list of completions is open: it takes some keys."""

    def on_resize(self) -> None:
        """Where there is little room, fewer words."""
        fits = self.size.width > len(PLACEHOLDER)
        self.placeholder = PLACEHOLDER if fits else SHORT_PLACEHOLDER

    def put(self, text: str) -> None:
        """Replace the text, cursor at its end."""
        self.text = text
        self.move_cursor(self.document.end)

    def take(self) -> str:
        """The text, which leaves the prompt and joins its history."""
        text = self.text
        if text.strip() and (not self.past or self.past[-1] != text):
            self.past.append(text)
        self._at = None
        self.put("")
        return text

    @property
    def before_cursor(self) -> str:
        """The text of the cursor's line up to the cursor."""
        row, column = self.cursor_location
        return str(self.document.get_line(row))[:column]

    def word_before_cursor(self) -> str:
        """What may be completed: ``/command`` at the start, or ``@path`` anywhere."""
        line = self.before_cursor
        if self.cursor_location[0] == 0 and line.startswith("/") and " " not in line:
            return line
        at = line.rfind("@")
        if at >= 0 and (at == 0 or line[at - 1].isspace()) and not any(c.isspace() for c in line[at:]):
            return line[at:]
        return ""

    def complete(self, full: str) -> None:
        """Replace the word before the cursor."""
        word = self.word_before_cursor()
        row, column = self.cursor_location
        self.replace(full, (row, column - len(word)), (row, column), maintain_selection_offset=False)
        self.move_cursor((row, column - len(word) + len(full)))

    async def _on_key(self, event: events.Key) -> None:
        if self.completing and event.key in ("up", "down", "tab", "enter", "escape"):
            event.prevent_default()  # the screen moves in the list of completions
            return
        if event.key == "enter":
            event.prevent_default()
            event.stop()
            await self.screen.run_action("send")
            return
        if event.key == "tab" and not self.text:
            return
        row = self.cursor_location[0]
        if event.key == "up" and row == 0 and self.wrapped_row == 0 and self._earlier():
            event.prevent_default()
            event.stop()
            return
        if event.key == "down" and self.is_last_row and self._later():
            event.prevent_default()
            event.stop()
            return
        await super()._on_key(event)

    @property
    def wrapped_row(self) -> int:
        """Row of the cursor on the screen, from 0."""
        return int(self.wrapped_document.location_to_offset(self.cursor_location).y)

    @property
    def is_last_row(self) -> bool:
        """The cursor is on the last row."""
        return self.wrapped_row >= self.wrapped_document.height - 1

    def _earlier(self) -> bool:
        at = len(self.past) if self._at is None else self._at
        if at == 0:
            return False
        if self._at is None:
            self._unsent = self.text
        self._at = at - 1
        self.put(self.past[self._at])
        return True

    def _later(self) -> bool:
        if self._at is None:
            return False
        self._at += 1
        if self._at >= len(self.past):
            self._at = None
            self.put(self._unsent)
        else:
            self.put(self.past[self._at])
        return True

    def on_text_area_changed(self) -> None:
        """Offer completions."""
        self.post_message(self.Completing(self.word_before_cursor()))
