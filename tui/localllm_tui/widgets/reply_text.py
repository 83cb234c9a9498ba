"""An answer's text as it arrives: the reasoning of a thinking model apart from the answer itself."""

from __future__ import annotations

from localllm.assistant.thought import CLOSE, OPEN
from localllm.events import Span
from localllm_tui.markdown.blocks import UNSUPPORTED_END, UNSUPPORTED_START
from localllm_tui.markdown.clean import clean
from localllm_tui.markdown.stream import Document

_NO_MARKS = str.maketrans(dict.fromkeys(UNSUPPORTED_START + UNSUPPORTED_END, "\ufffd"))
"""A model's own private marks mean nothing; as long as before, so that spans stay where they are."""


class ReplyText:
    """Takes pieces of a text and sorts them into reasoning and answer, however they are cut.

    Args:
        text: What stands already, with our marks where it has any; see `with_marks`.
    """

    def __init__(self, text: str = "") -> None:
        self.answer = Document()
        self.reasoning = ""
        self.thinking = False
        """The reasoning goes on."""
        self._undecided: str | None = ""
        self._held = ""
        if text:
            self._take(text)

    def feed(self, text: str) -> None:
        """More of the text, as the model writes it."""
        self._take(text.translate(_NO_MARKS))

    def _take(self, text: str) -> None:
        if self._undecided is not None:
            self._undecided += text
            start = self._undecided.lstrip()
            if OPEN.startswith(start[: len(OPEN)]) and len(start) < len(OPEN):
                return
            text, self._undecided = self._undecided, None
            if start.startswith(OPEN):
                self.thinking, text = True, start[len(OPEN) :]
        if not self.thinking:
            self.answer.feed(text)
            return
        self._held += text
        end = self._held.find(CLOSE)
        if end < 0:
            keep = _overlap(self._held, CLOSE)
            cut = len(self._held) - keep
            self.reasoning, self._held = self.reasoning + self._held[:cut], self._held[cut:]
            return
        self.reasoning += self._held[:end]
        rest, self._held, self.thinking = self._held[end + len(CLOSE) :], "", False
        self.answer.feed(rest)

    def finish(self) -> None:
        """Nothing follows."""
        if self._undecided:
            self.answer.feed(self._undecided)
            self._undecided = None
        self.reasoning, self._held = self.reasoning + self._held, ""
        self.thinking = False
        self.answer.finish()

    @property
    def shown_reasoning(self) -> str:
        """The reasoning, safe for a terminal."""
        return clean(self.reasoning).strip()


def _overlap(text: str, mark: str) -> int:
    """Characters at the end of `text` that may be the beginning of `mark`."""
    for size in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[-size:]):
            return size
    return 0


def with_marks(text: str, unsupported: tuple[Span, ...]) -> str:
    """The text with private marks around the sentences that no passage supports; see `markdown.blocks`."""
    text = text.translate(_NO_MARKS)
    for span in sorted(unsupported, key=lambda s: s.start, reverse=True):
        if 0 <= span.start < span.end <= len(text):
            inside = text[span.start : span.end].rstrip()
            end = span.start + len(inside)
            text = f"{text[: span.start]}{UNSUPPORTED_START}{inside}{UNSUPPORTED_END}{text[end:]}"
    return text
