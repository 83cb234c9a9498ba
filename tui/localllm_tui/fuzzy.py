"""Finding by a few letters, in a time that grows with the texts and not with the ways to match them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from textual.content import Content
from textual.style import Style

SPREAD = 4
"""The letters of a word may be spread over so many times their number of characters; further apart they stand there by
chance."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a query stands in a text."""

    score: float
    """Up to 1 for each letter at its best, and 1 more where the query is the whole text."""
    offsets: tuple[int, ...]
    """Of the letters that were found, in order."""

    def marked(self, text: str, style: Style) -> Content:
        """The text with these letters in a style; brackets in it are no markup."""
        content = Content(text)
        for offset in self.offsets:
            content = content.stylize(style, offset, offset + 1)
        return content


def find(query: str, text: str) -> Found | None:
    """Look for every word of a query in a text, whatever their order; None where one is missing.

    A word counts most where a word of the text begins with it, less inside of one, least where only its letters follow
    each other there, as in ``whpump`` for ``Which pump``.
    """
    low, words = _lower(text), _lower(query).split()
    score, offsets = 0.0, set[int]()
    for word in words:
        worth, places = _word(word, low)
        if not places:
            return None
        score += worth / len(words)
        offsets.update(places)
    if not words:
        return None
    return Found(score + (" ".join(words) == low.strip()), tuple(sorted(offsets)))


def _word(word: str, text: str) -> tuple[float, range | list[int]]:
    if (begun := re.search(rf"\b{re.escape(word)}", text)) is not None:
        return 1.0, range(*begun.span())
    if (at := text.find(word)) >= 0:
        return 0.8, range(at, at + len(word))
    places = _letters(word, text)
    if not places or places[-1] - places[0] >= SPREAD * len(word):
        return 0.0, []
    return 0.7 * len(word) / (places[-1] - places[0] + 1), places


def _letters(word: str, text: str) -> list[int]:
    """The closest places of the letters that follow each other; empty where they don't."""
    best: list[int] = []
    start = text.find(word[0])
    while start >= 0:
        places = [start]
        for letter in word[1:]:
            if (at := text.find(letter, places[-1] + 1)) < 0:
                return best  # from further on it won't be found either
            places.append(at)
        if not best or places[-1] - places[0] < best[-1] - best[0]:
            best = places
        start = text.find(word[0], start + 1)
    return best


def _lower(text: str) -> str:
    """In small letters, each where it was."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
