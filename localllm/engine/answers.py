"""KnownAnswers: which tokens the texts of recent answers were made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

_KEPT = 256


class KnownAnswers:
    """Remembers recent answers by their text.

    A chat's next prompt contains the answers so far as text. Cut into tokens anew, a text can give other tokens than
    the model had chosen, and everything behind the first difference would have to be evaluated again.

    Args:
        piece: The bytes of a token.
        tokenize: Token ids of plain text.
    """

    def __init__(self, piece: Callable[[int], bytes], tokenize: Callable[[str], list[int]]) -> None:
        self._piece = piece
        self._tokenize = tokenize
        self._ids: OrderedDict[str, tuple[int, ...]] = OrderedDict()

    def add(self, text: str, ids: Sequence[int]) -> None:
        """An answer was generated; where a stop string cut its text, the tokens are cut with it."""
        if not text.strip():
            return
        known = tuple(self._cut(text, ids))
        for form in {text, text.strip()}:  # chats are often stored without the white space around an answer
            self._ids[form] = known
            self._ids.move_to_end(form)
        while len(self._ids) > _KEPT:
            self._ids.popitem(last=False)

    def find(self, text: str) -> tuple[int, ...] | None:
        """The tokens of an answer, or None when it is not known."""
        return self._ids.get(text)

    def ids_of_prefix(self, prefix: str) -> list[int]:
        """Tokens for the beginning of an answer: as generated where an answer began like this, else cut anew."""
        for text in reversed(self._ids):
            if text.startswith(prefix):
                return self._cut(prefix, self._ids[text])
        return self._tokenize(prefix)

    def _cut(self, text: str, ids: Sequence[int]) -> list[int]:
        """The first of these tokens, as long as they are all of `text`; what is left of it is cut anew."""
        data = text.encode("utf-8", "replace")
        kept: list[int] = []
        at = 0
        for token in ids:
            piece = self._piece(token)
            if at + len(piece) > len(data) or data[at : at + len(piece)] != piece:
                break
            kept.append(token)
            at += len(piece)
        while kept and at < len(data) and (data[at] & 0xC0) == 0x80:  # never in the middle of a character
            at -= len(self._piece(kept.pop()))
        rest = data[at:].decode("utf-8", "replace")
        return kept + (self._tokenize(rest) if rest else [])
