"""The prompt: several lines, history, and completion of commands and files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import TextArea
from textual.widgets.text_area import Edit, EditResult, Location

from localllm_tui.actions import bindings
from localllm_tui.markdown.clean import clean
from localllm_tui.widgets.emacs import EmacsKeys
from localllm_tui.widgets.pasted import Pasted
from localllm_tui.widgets.vim import NormalMode

PLACEHOLDER = "Ask anything.  @ attach a file   / commands"
SHORT_PLACEHOLDER = "Ask anything.  @ file  / commands"
WRITING = "›"
"""Stands before the prompt while keys write."""


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

    class ModeChanged(Message):
        """Keys mean something else now."""

        def __init__(self, mark: str) -> None:
            super().__init__()
            self.mark = mark
            """Says so before the prompt."""

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
        self.pasted = Pasted()
        self.busy = False
        """An answer is being written: Esc is there to stop it."""
        self.normal = False
        """Keys are vim's commands, nothing is written."""
        self._mark = WRITING
        self._vim: NormalMode | None = None
        self._emacs: EmacsKeys | None = None

    def on_resize(self) -> None:
        """Where there is little room, fewer words."""
        fits = self.size.width > len(PLACEHOLDER)
        self.placeholder = PLACEHOLDER if fits else SHORT_PLACEHOLDER

    @property
    def full_text(self) -> str:
        """The text with what was pasted in place of its marks: what is sent and kept."""
        return self.pasted.unfold(self.text)

    def put(self, text: str) -> None:
        """Replace the text, cursor at its end."""
        self.text = self.pasted.fold_known(text)
        self.move_cursor(self.document.end)

    def take(self) -> str:
        """The full text, which leaves the prompt and joins its history."""
        text = self.full_text
        if text.strip() and (not self.past or self.past[-1] != text):
            self.past.append(text)
        self._at = None
        self.put("")
        self._set_normal(False)
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

    # ---- what was pasted --------------------------------------------------------------------------------------------

    def on_paste(self, event: events.Paste) -> None:
        """A long text becomes a mark before it is put in."""
        event.text = self.pasted.fold(event.text)

    def edit(self, edit: Edit) -> EditResult:
        """A mark is changed as a whole or not at all."""
        top, bottom = self._mark_edge(edit.top, 0), self._mark_edge(edit.bottom, 1)
        if edit.top == edit.bottom:
            top = bottom
        if (top, bottom) != (edit.top, edit.bottom):
            edit = replace(edit, from_location=top, to_location=bottom)
        return super().edit(edit)

    def _mark_edge(self, place: Location, side: int) -> Location:
        """The start (0) or end (1) of the mark that this place is within; elsewhere the place itself."""
        row, column = place
        if row >= self.document.line_count:  # behind the last line, as when it is cut
            return place
        within = [span for span in self.pasted.places(self.document.get_line(row)) if span[0] < column < span[1]]
        return (row, within[0][side]) if within else place

    def get_line(self, line_index: int) -> Text:
        """A line as it is drawn."""
        line = super().get_line(line_index)
        for start, end in self.pasted.places(line.plain):
            line.stylize("bold underline", start, end)
        return line

    # ---- keys -------------------------------------------------------------------------------------------------------

    def set_busy(self, busy: bool) -> None:
        """An answer begins or ends; nothing else moves while it grows."""
        self.busy = busy
        self.cursor_blink = not busy and self.app.animation_level != "none"

    def use_key_set(self, name: str) -> None:
        """Edit as in vim or emacs from now on, or plainly."""
        self._vim = NormalMode(self, partial(self._set_normal, False)) if name == "vim" else None
        self._emacs = EmacsKeys(self) if name == "emacs" else None
        self._set_normal(False)

    def _set_normal(self, normal: bool) -> None:
        self.normal = normal
        self._show_mode()

    def _show_mode(self) -> None:
        mark = self._vim.mark if self._vim is not None and self.normal else WRITING
        if mark != self._mark:
            self._mark = mark
            self.post_message(self.ModeChanged(mark))

    async def _on_key(self, event: events.Key) -> None:
        if self.completing and event.key in ("up", "down", "tab", "enter", "escape"):
            event.prevent_default()  # the screen moves in the list of completions
            return
        if event.key == "tab" and not self.text:
            return
        if await self._is_taken(event):
            event.prevent_default()
            event.stop()
            return
        await super()._on_key(event)

    async def _is_taken(self, event: events.Key) -> bool:
        """Whether the key had a meaning of its own, which has happened then."""
        if self._vim is not None and self.normal and event.key != "escape" and self._is_command(self._vim, event):
            return True
        key = event.key
        if self._emacs is not None:
            key = {"ctrl+p": "up", "ctrl+n": "down"}.get(key, key)
        if key == "enter":
            await self.screen.run_action("send")
            return True
        if key == "up" and self.wrapped_row == 0 and self._earlier():
            return True
        if key == "down" and self.is_last_row and self._later():
            return True
        if self._vim is not None:
            return key == "escape" and await self._leaves(self._vim)
        return self._emacs is not None and self._emacs.press(event.key)

    def _is_command(self, vim: NormalMode, event: events.Key) -> bool:
        """Whether the key was one of normal mode, which has happened then."""
        character = event.character
        taken = vim.press(character if character is not None and character.isprintable() else event.key)
        self._show_mode()
        return taken

    async def _leaves(self, vim: NormalMode) -> bool:
        """Esc: out of writing, then out of what was begun, then it stops an answer; False when none of these is."""
        if self.text and not self.normal:
            vim.begin()
            self._set_normal(True)
            return True
        if vim.cancel():
            self._show_mode()
            return True
        if self.busy:
            await self.screen.run_action("stop")
        return self.busy

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
            self._unsent = self.full_text
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
