"""Takes out of a text what must never reach a terminal: control sequences, bidi overrides, invisible tags."""

from __future__ import annotations

import re

# C0 without tab and newline, DEL and C1, bidi embeddings, overrides and isolates, line and paragraph separators, byte
# order mark, interlinear marks, tag characters, lone surrogates.
_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
_STRING_LIMIT = 256
"""A control string (OSC, DCS) without an end is given up after so many characters, so that it can't hide an answer."""


class Cleaner:
    """Cleans a text that arrives in pieces. The result does not depend on where the pieces were cut."""

    def __init__(self) -> None:
        self._state = "text"
        self._length = 0

    def feed(self, text: str) -> str:
        """The clean part of the next piece."""
        if self._state == "text" and not _SUSPECT.search(text):
            return text
        out: list[str] = []
        for c in text:
            self._take(c, out)
        return "".join(out)

    def _take(self, c: str, out: list[str]) -> None:
        state = self._state
        if state == "cr":
            self._state = state = "text"
            if c == "\n":  # the newline of a CR LF pair was written with its CR
                return
        if state == "escape":
            if c == "[":
                self._state, self._length = "csi", 0
                return
            if c in "]PX^_":
                self._state, self._length = "string", 0
                return
            if " " <= c <= "/":  # intermediate bytes; the final byte follows
                return
            self._state = "text"
            if "0" <= c <= "~":
                return
        elif state == "csi":
            self._length += 1
            if " " <= c <= "?" and self._length < _STRING_LIMIT:
                return
            self._state = "text"
            if "@" <= c <= "~":
                return
        elif state in ("string", "string-escape"):
            self._length += 1
            if state == "string-escape" and c == "\\":
                self._state = "text"
                return
            if c == "\x07":
                self._state = "text"
                return
            if c != "\n" and self._length < _STRING_LIMIT:
                self._state = "string-escape" if c == "\x1b" else "string"
                return
            self._state = "text"
        self._plain(c, out)

    def _plain(self, c: str, out: list[str]) -> None:
        if c == "\x1b":
            self._state = "escape"
        elif c == "\r":
            self._state = "cr"
            out.append("\n")
        elif c in "\u2028\u2029":
            out.append("\n")
        elif "\ud800" <= c <= "\udfff":
            out.append("\ufffd")
        elif not _SUSPECT.match(c):
            out.append(c)


def clean(text: str) -> str:
    """A whole text, cleaned."""
    return Cleaner().feed(text)


def clean_line(text: str) -> str:
    """A text that must stay on one line, such as a title or a file name."""
    return " ".join(clean(text).split())
