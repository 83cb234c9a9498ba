"""Repeats: which words would go on with a loop (n-gram blocking, on words instead of tokens).

A small model that may not end its answer yet fills it with what it said before. Where a constraint says so, nothing
comes for the second time that is six words long, nor for the third time what is four, as long as the answer may not
end. Sequences this short are names and common phrases; longer ones are sentences.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

_MOST = {4: 2, 6: 1}
"""Times that a run of so many words may come."""

_WINDOW = 300
"""Words in which runs are counted: in a long text an ordinary phrase comes again."""

_SPACE = re.compile(rb"\s+")


class Repeats:
    """The runs of words in the last 300 words of one answer.

    Words are told apart by white space, and compared without case and without the signs around them; signs alone are no
    word. A script without spaces has hardly any words, so that hardly anything of it is a repeat.

    Args:
        wanted: Texts that may come as often as they like.
    """

    def __init__(self, wanted: Sequence[str] = ()) -> None:
        self._words: list[str] = []
        self._behind: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        """How often each word stands behind each three, and behind each five."""
        self._begun = b""
        """The word that is being written."""
        texts = [[w for w in map(_plain, text.encode().split()) if w] for text in wanted]
        self._wanted = {tuple(t[i : i + n]) for t in texts for n in _MOST for i in range(len(t) - n + 1)}

    def write(self, text: bytes) -> None:
        """More of the answer."""
        *whole, self._begun = _SPACE.split(self._begun + text)
        for word in filter(None, map(_plain, whole)):
            self._words.append(word)
            for n in _MOST:
                if len(self._words) >= n:
                    self._behind[tuple(self._words[-n:-1])][word] += 1
            if len(self._words) > _WINDOW:
                self._forget()

    def _forget(self) -> None:
        for n in _MOST:
            *lead, word = self._words[:n]
            followers = self._behind[tuple(lead)]
            followers[word] -= 1
            if not +followers:
                del self._behind[tuple(lead)]
        del self._words[0]

    def goes_on(self, piece: bytes) -> bool:
        """This text would begin a word that completes a run which came as often as it may.

        So it would where it is glued to the word before ("NewYork"). Otherwise nothing does inside a word: it may
        become another one.
        """
        *whole, begun = _SPACE.split(self._begun + piece)
        if not whole and _plain(self._begun):
            whole, begun = [self._begun], piece
        head = _plain(begun)
        if not head:
            return False
        words = [*self._words[-max(_MOST) :], *filter(None, map(_plain, whole))]
        return any(self._is_full(tuple(words[1 - n :]), head, most) for n, most in _MOST.items())

    def _is_full(self, lead: tuple[str, ...], head: str, most: int) -> bool:
        followers = self._behind.get(lead)
        return followers is not None and any(
            n >= most and word.startswith(head) and (*lead, word) not in self._wanted for word, n in followers.items()
        )


def _plain(word: bytes) -> str:
    """The word without case, and without signs around it."""
    text = word.decode("utf-8", "replace").casefold()
    at = [i for i, c in enumerate(text) if c.isalnum()]
    return text[at[0] : at[-1] + 1] if at else ""
