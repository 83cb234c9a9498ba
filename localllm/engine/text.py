"""AnswerText: bytes of tokens in, text that may be shown out."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class AnswerText:
    """Joins the bytes of tokens to whole characters, and holds back what may become a stop string.

    Args:
        stop: The text ends before the first of these; empty strings are ignored.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(s for s in stop if s)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._held = ""
        self.stopped = False
        """A stop string was met; nothing is shown any more."""

    def push(self, data: bytes) -> str:
        """Add the bytes of a token; returns the text that may be shown now, often empty."""
        text = self._decode(data)
        if not self._stop:
            return text
        if self.stopped or not text:
            return ""
        text = self._held + text
        at = min((i for s in self._stop if (i := text.find(s)) >= 0), default=-1)
        if at >= 0:
            self.stopped = True
            self._held = ""
            return text[:at]
        keep = max(_overlap(text, s) for s in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """The answer is over: text that was held back for nothing. Bytes of an unfinished character are dropped."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins, shorter than `stop`."""
    for n in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
