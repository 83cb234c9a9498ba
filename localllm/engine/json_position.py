"""JsonPosition: what is open at the end of a JSON text that grows token by token."""

from __future__ import annotations

from dataclasses import dataclass

_ENDS_SENTENCE = b".!?"


@dataclass(slots=True)
class Open:
    """A string, array or object that was begun and not ended yet."""

    kind: str
    """``"``, ``[`` or ``{``."""
    since: int
    """Tokens of the text before it began."""
    share: int = 0
    """Tokens that it may take; 0 until that was worked out."""


class JsonPosition:
    """Follows a JSON text; it need not be complete, but what there is of it must be JSON."""

    def __init__(self) -> None:
        self.open: list[Open] = []
        """From the outermost to the innermost."""
        self.n_tokens = 0
        self.sentence_ended = False
        """The open string ends with a sentence, as it is."""
        self._escaped = False

    def feed(self, piece: bytes) -> None:
        """The next token of the text."""
        if self.in_string and not self._escaped and b'"' not in piece and b"\\" not in piece:
            self.sentence_ended = piece[-1:] in (b".", b"!", b"?") if piece else self.sentence_ended
        else:
            for byte in piece:
                self._feed(byte)
        self.n_tokens += 1

    @property
    def in_string(self) -> bool:
        """A string is open."""
        return bool(self.open) and self.open[-1].kind == '"'

    def _feed(self, byte: int) -> None:
        char = chr(byte)
        if self.in_string:
            self.sentence_ended = byte in _ENDS_SENTENCE and not self._escaped
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == '"':
                self.open.pop()
        elif char in '"[{':
            self.open.append(Open(char, self.n_tokens))
            self.sentence_ended = False
        elif char in "]}" and self.open:
            self.open.pop()

    def used(self, thing: Open) -> int:
        """Tokens that an open thing has taken so far."""
        return self.n_tokens - thing.since

    def ends_string(self, piece: bytes) -> bool:
        """Whether a token ends the string that is open."""
        if b'"' not in piece:
            return False
        escaped = self._escaped
        for byte in piece:
            if not escaped and byte == 0x22:
                return True
            escaped = byte == 0x5C and not escaped
        return False

    def comma(self, piece: bytes) -> tuple[int, int]:
        """The first comma of a token that separates values: its index, and how many of the open things it is inside.

        The index is -1 where there is none; the depth is 0 where the token itself opened what the comma is in.
        """
        if b"," not in piece:
            return -1, 0
        depth, opened = len(self.open), 0
        in_string, escaped = self.in_string, self._escaped
        for i, byte in enumerate(piece):
            if in_string:
                in_string = escaped or byte != 0x22
                escaped = byte == 0x5C and not escaped
                if not in_string:
                    depth, opened = (depth, opened - 1) if opened else (depth - 1, 0)
            elif byte in b'"[{':
                in_string, opened = byte == 0x22, opened + 1
            elif byte in b"]}":
                depth, opened = (depth, opened - 1) if opened else (depth - 1, 0)
            elif byte == 0x2C:
                return i, 0 if opened else depth
        return -1, 0


def values_behind(data: bytes, in_string: bool, levels: int) -> int:
    """Values that a rest of a JSON text holds, behind the end of what is open: each follows a comma.

    Args:
        data: The rest, up to the end of the text.
        in_string: It begins inside a string.
        levels: Arrays and objects whose end has to be passed before anything counts.
    """
    escaped, found = False, 0
    for byte in data:
        if in_string:
            in_string = escaped or byte != 0x22
            escaped = byte == 0x5C and not escaped
        elif byte == 0x22:
            in_string = True
        elif byte == 0x2C:
            found += levels == 0
        elif levels:
            levels += (byte in b"[{") - (byte in b"]}")
    return found
