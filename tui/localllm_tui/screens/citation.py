"""A citation opened: its passage inside the document, with the words that support the answer marked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from localllm.events import Citation, Passage, SupportState, place_of
from localllm.history import StoredMessage
from localllm_tui.actions import BY_ID, Keys, bindings, key_names
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean, clean_line
from localllm_tui.screens.hint_row import HintRow

STATES = {
    SupportState.VERIFIED: ("✓ verified", "$success"),
    SupportState.NEAR: ("~ near", "$warning"),
    SupportState.NOT_FOUND: ("✗ not found", "$error"),
}
CONTEXT = 1200
"""Characters of the document shown on either side of the passage."""

ReadSource = Callable[[Passage], str | None]
"""The whole extracted text of a passage's document, or None where the library no longer has it."""

OpenDocument = Callable[[str], object]
"""Hands the document at a path to the desktop."""


class CitationScreen(ModalScreen[int]):
    """Shows one source of an answer and goes on to the others; the result is the number of the one shown last.

    Args:
        message: The answer, with its passages and citations.
        number: Number of the source that is shown first.
        read_source: Gives the document around the passage; without it the passage stands alone.
        open_document: Opens the document itself.
        keys: Those that hold now.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q", "leave", "Close"),
        *bindings("source"),
    ]
    CSS = """
    CitationScreen .dialog { height: 85%; width: 85%; max-width: 110; }
    CitationScreen #citation-title { margin: 0; }
    CitationScreen #citation-path { height: auto; color: $text-muted; }
    CitationScreen #citation-facts { height: auto; margin: 0 0 1 0; }
    CitationScreen VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
    CitationScreen #citation-text { height: auto; }
    """

    def __init__(
        self,
        message: StoredMessage,
        number: int,
        read_source: ReadSource | None = None,
        open_document: OpenDocument | None = None,
        keys: str | Keys = "default",
    ) -> None:
        super().__init__()
        self._message = message
        self._read_source, self._open_document = read_source, open_document
        self._keys = keys
        self._numbers = source_numbers(message) or [number]
        self.number = number if number in self._numbers else self._numbers[0]

    def compose(self) -> ComposeResult:
        """Title, facts, text, keys."""
        with Vertical(classes="dialog"):
            yield Static("", id="citation-title", classes="dialog-title", markup=False)
            yield Static("", id="citation-path", markup=False)
            yield Static("", id="citation-facts", markup=False)
            with VerticalScroll():
                yield Static("", id="citation-text", markup=False)
            hints = {"source_next": "next source", "source_previous": "previous", "open_document": "open the document"}
            keys = [(key_names(BY_ID[id], self._keys, most=1), meaning, id) for id, meaning in hints.items()]
            yield HintRow([*keys, ("Esc", "close", "leave")])

    def on_mount(self) -> None:
        """Show the first one."""
        self.query_one(VerticalScroll).focus()
        self.show()

    def show(self) -> None:
        """Show the source of `number`, scrolled to its first marked words."""
        passage = next((p for p in self._message.passages if p.n == self.number), None)
        citations = [c for c in self._message.citations if c.n == self.number]
        at = self._numbers.index(self.number) + 1
        source = source_path(self._message, self.number)
        name, path = clean_line(os.path.basename(source)), clean_line(at_home(source))  # noqa: PTH119 - a text again
        title = f"[{self.number}] {name or 'unknown source'}   {at} of {len(self._numbers)}"
        self.query_one("#citation-title", Static).update(Content(title))
        self.query_one("#citation-path", Static).update(Content(path))
        self.query_one("#citation-path").display = path != name
        self.query_one("#citation-facts", Static).update(facts(passage, citations))
        document = self._read_source(passage) if passage and self._read_source else None
        text, first = passage_text(passage, citations, document)
        self.query_one("#citation-text", Static).update(text)
        self.call_after_refresh(self._bring_into_sight, text, first)

    def _bring_into_sight(self, text: Content, offset: int) -> None:
        from localllm_tui.markdown.wrap import wrap

        width = max(1, self.query_one("#citation-text").size.width)
        above = text.plain[:offset].split("\n")[:-1]
        row = sum(len(wrap(line, width)) for line in above)
        self.query_one(VerticalScroll).scroll_to(y=max(0, row - 3), animate=False)

    def action_source_next(self) -> None:
        """The next source."""
        self._step(1)

    def action_source_previous(self) -> None:
        """The previous source."""
        self._step(-1)

    def _step(self, step: int) -> None:
        self.number = self._numbers[(self._numbers.index(self.number) + step) % len(self._numbers)]
        self.show()

    def action_open_document(self) -> None:
        """The document itself, with the desktop's own program."""
        if self._open_document is not None:
            self._open_document(source_path(self._message, self.number))

    def action_leave(self) -> None:
        """Close."""
        self.dismiss(self.number)


def source_numbers(message: StoredMessage) -> list[int]:
    """The numbers of an answer's sources: what was put before the model, and what its marks point to."""
    return sorted({p.n for p in message.passages} | {c.n for c in message.citations})


def first_source(message: StoredMessage) -> int:
    """The number of the source that an answer cites first, else of its first passage."""
    sources: tuple[Citation | Passage, ...] = (*message.citations, *message.passages)
    return sources[0].n if sources else 1


def source_path(message: StoredMessage, number: int) -> str:
    """The document of a source, as it was when the answer was given; empty where it was not kept."""
    sources: tuple[Citation | Passage, ...] = (*message.passages, *message.citations)
    return next((s.source for s in sources if s.n == number), "")


def at_home(path: str) -> str:
    """The path with ``~`` for the user's own folder."""
    home = os.path.expanduser("~")  # noqa: PTH111 - nothing to do with files: a text is shortened
    return "~" + path[len(home) :] if path.startswith(home + os.sep) else path


def facts(passage: Passage | None, citations: Sequence[Citation]) -> Content:
    """Place, heading, score, and what became of each citation; states are words, not colours alone."""
    parts: list[Content] = []
    if passage is not None:
        words = [clean_line(passage.heading)] if passage.heading else []
        parts.append(Content.styled(", ".join([*words, place_of(passage), f"score {passage.score:.2f}"]), MUTED))
    counts = Counter(citation.state for citation in citations)
    for state, (word, style) in STATES.items():
        if counts[state]:
            parts.append(Content.styled(word if counts[state] == 1 else f"{word} {counts[state]} times", style))
    if not citations:
        parts.append(Content.styled("not used in the answer", MUTED))
    return Content("   ").join(parts)


def passage_text(passage: Passage | None, citations: Sequence[Citation], document: str | None) -> tuple[Content, int]:
    """The text to show, and the offset of what to scroll to.

    The cited words are bold and underlined. With the document at hand its text around the passage is shown, muted.
    Where the document has changed since, the passage stands alone, as it was put before the model.
    """
    if passage is None:
        quotes = [clean(citation.quote) for citation in citations if citation.quote]
        return Content("\n\n".join(quotes) or "The passage was not kept with this answer."), 0
    before = after = ""
    if document is not None and document[passage.start : passage.end] == passage.text:
        before = document[max(0, passage.start - CONTEXT) : passage.start]
        after = document[passage.end : passage.end + CONTEXT]
    marks: list[tuple[int, int]] = []
    for citation in citations:
        start, end = citation.start - passage.start, citation.end - passage.start
        if not (0 <= start < end <= len(passage.text)) or passage.text[start:end] != citation.quote:
            start = passage.text.find(citation.quote) if citation.quote else -1
            end = start + len(citation.quote)
        if start >= 0 and end > start:
            marks.append((start, end))
    body = _marked(passage.text, marks)
    head = Content.styled(clean(before), MUTED)
    text = head + body + Content.styled(clean(after), MUTED)
    first = min((start for start, _ in marks), default=0)
    return text, len(head) + len(clean(passage.text[:first]))


def _marked(text: str, marks: Sequence[tuple[int, int]]) -> Content:
    """The text, cleaned piece by piece so that spans stay where they belong."""
    edges = sorted({0, len(text), *(edge for mark in marks for edge in mark)})
    parts = []
    for start, end in pairwise(edges):
        cited = any(a <= start and end <= b for a, b in marks)
        parts.append(Content.styled(clean(text[start:end]), "bold underline" if cited else ""))
    return Content("").join(parts)
