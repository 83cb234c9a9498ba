"""The prompt inspector: what the model was sent, exactly, and what of the chat did not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from localllm.errors import LocalLLMError
from localllm_tui.markdown.clean import clean
from localllm_tui.screens.hint_row import HintRow


class InspectorScreen(ModalScreen[None]):
    """Shows the newest prompt.

    Args:
        read_prompt: Gives it, from any thread; empty while nothing was sent. `Assistant.sent_prompt` is one.
        n_ctx: Tokens that the window holds; 0 where unknown.
        count_tokens: Counts the model's own tokens; None leaves the count out.
        copy: Takes the prompt when it is to be copied; None leaves that out.
    """

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q", "leave", "Close"), ("y", "copy", "Copy")]
    CSS = """
    InspectorScreen .dialog { height: 85%; width: 85%; max-width: 110; }
    InspectorScreen VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
    InspectorScreen #prompt-text { height: auto; }
    InspectorScreen #prompt-facts { height: 1; color: $text-muted; }
    """

    @dataclass
    class Read(Message):
        """The prompt is here."""

        text: str
        n_tokens: int | None
        failure: str = ""

    def __init__(
        self,
        read_prompt: Callable[[], str],
        *,
        n_ctx: int = 0,
        count_tokens: Callable[[str], int] | None = None,
        copy: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self._read_prompt, self._n_ctx, self._count_tokens, self._copy = read_prompt, n_ctx, count_tokens, copy
        self.text = ""

    def compose(self) -> ComposeResult:
        """Title, facts, text, keys."""
        with Vertical(classes="dialog"):
            yield Static("The prompt as the model saw it", classes="dialog-title", markup=False)
            yield Static("Asking the model's process.", id="prompt-facts", markup=False)
            with VerticalScroll():
                yield Static("", id="prompt-text", markup=False)
            keys = [("y", "copy", "copy")] if self._copy else []
            yield HintRow([*keys, ("Esc", "close", "leave")])

    def on_mount(self) -> None:
        """The worker is asked in a thread: it may be busy with an answer."""
        self.query_one(VerticalScroll).focus()
        self.read()

    @work(thread=True, exclusive=True, group="inspector", exit_on_error=False)
    def read(self) -> None:
        """Ask for the prompt and its length."""
        try:
            text = self._read_prompt()
            n = self._count_tokens(text) if text and self._count_tokens else None
        except LocalLLMError as error:
            self.post_message(self.Read("", None, str(error)))
            return
        self.post_message(self.Read(text, n))

    @on(Read)
    def _show(self, event: Read) -> None:
        self.text = event.text
        shown = event.failure or (
            facts(event.text, event.n_tokens, self._n_ctx)
            if event.text
            else "Nothing was sent since the app was opened."
        )
        self.query_one("#prompt-facts", Static).update(Content(shown))
        self.query_one("#prompt-text", Static).update(Content(clean(event.text)))

    def action_copy(self) -> None:
        """Copy the prompt."""
        if self._copy is not None and self.text:
            self._copy(self.text)

    def action_leave(self) -> None:
        """Close."""
        self.dismiss(None)


def facts(text: str, n_tokens: int | None, n_ctx: int) -> str:
    """Length in characters and, where known, in tokens of the window."""
    parts = [f"{len(text):,} characters"]
    if n_tokens is not None:
        parts.append(f"about {n_tokens:,} tokens" + (f" of {n_ctx:,}" if n_ctx else ""))
    return ", ".join(parts)
