"""A secret text that comes out in an answer: as it is, in simple codes, or with a word changed here and there.

A translation, a summary or a poem of it is not found: that takes a model that reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from localllm.rules.checks.words import fold
from localllm.rules.guards.disguises import LOOK_ALIKES, decoded, shifted

_LEAST_LETTERS = 18
"""A run with fewer letters may stand in any text by chance once the words are joined."""
_WINDOW = 24
"""Words of the secret that are looked at together for one that was changed a little."""
_KEPT = 0.4
"""Share of the word triples of such a window that the answer must have."""
_PERSONS = {
    "i": "you", "me": "you", "my": "your", "mine": "yours", "myself": "yourself", "am": "are", "i'm": "you're",
    "we": "you", "our": "your", "us": "you",
}  # fmt: skip
"""An answer says "I am" where the secret says "you are"."""


@dataclass(frozen=True, slots=True)
class Echo:
    """Where a secret came out, and how it was put."""

    start: int
    end: int
    form: str
    """``as it is``, ``letters apart``, ``backwards``, ``shifted letters``, ``encoded``, or ``in other words``."""


def find_echo(text: str, secret: str, least: int) -> Echo | None:
    """The first form in which `least` or more consecutive words of `secret` stand in `text`."""
    if span := longest_echo(text, secret, least):
        return Echo(*span, "as it is")
    words = _words_of(secret)
    if len(words) < least:
        return None
    whole = 0, len(text)
    runs = _Runs([words[i : i + least] for i in range(len(words) - least + 1)])
    for reading, start, end in decoded(text):
        if longest_echo(reading, secret, least) or runs.form_in(_letters(reading)):
            return Echo(start, end, "encoded")
    if form := runs.form_in(_letters(text)):
        return Echo(*whole, form)
    if span := _reworded(text, words, least):
        return Echo(*span, "in other words")
    return None


def find_word(text: str, secret: str) -> Echo | None:
    """A secret word, as it is or in the same codes."""
    at = text.find(secret)
    if at >= 0:
        return Echo(at, at + len(secret), "as it is")
    runs = _Runs([[secret]], least_letters=8)
    for reading, start, end in decoded(text):
        if secret in reading or runs.form_in(_letters(reading)):
            return Echo(start, end, "encoded")
    form = runs.form_in(_letters(text))
    return Echo(0, len(text), form) if form else None


def longest_echo(text: str, secret: str, least: int) -> tuple[int, int] | None:
    """The span in `text` of `least` or more consecutive words of `secret`."""
    theirs = _words_of(secret)
    ours = [(fold(m[0]), m.span()) for m in re.finditer(r"\w+", text)]
    if len(theirs) < least or len(ours) < least:
        return None
    runs = {tuple(theirs[i : i + least]) for i in range(len(theirs) - least + 1)}
    for i in range(len(ours) - least + 1):
        if tuple(word for word, _ in ours[i : i + least]) in runs:
            return ours[i][1][0], ours[i + least - 1][1][1]
    return None


def _words_of(text: str) -> list[str]:
    return re.findall(r"\w+", fold(text))


def _letters(text: str) -> str:
    """Letters alone, digits read as the letters they resemble."""
    return "".join(c for c in fold(text).translate(LOOK_ALIKES) if c.isalnum())


class _Runs:
    """Runs of words whose letters are looked for without what stands between them."""

    def __init__(self, runs: list[list[str]], least_letters: int = _LEAST_LETTERS) -> None:
        self._there = self._index((_letters("".join(run)) for run in runs), least_letters)
        self._back = self._index((_letters("".join(reversed(run))) for run in runs), least_letters)

    @staticmethod
    def _index(runs: Iterator[str], least: int) -> dict[str, list[str]]:
        index: dict[str, list[str]] = {}
        for run in runs:
            if len(run) >= least:
                index.setdefault(run[:least], []).append(run)
        return index

    def form_in(self, letters: str) -> str:
        """How one of the runs stands among these letters; empty where none does."""
        if self._stands(self._there, letters):
            return "letters apart"
        if self._stands(self._there, letters[::-1]) or self._stands(self._back, letters):
            return "backwards"
        if any(self._stands(self._there, shifted(letters, by)) for by in range(1, 26)):
            return "shifted letters"
        return ""

    @staticmethod
    def _stands(index: dict[str, list[str]], letters: str) -> bool:
        if not index:
            return False
        n = len(next(iter(index)))
        return any(
            letters.startswith(run, i) for i in range(len(letters) - n + 1) for run in index.get(letters[i : i + n], ())
        )


def _reworded(text: str, secret: list[str], least: int) -> tuple[int, int] | None:
    """The span of a passage that has a good part of the word triples of a window of the secret."""
    ours = [(fold(m[0]), m.span()) for m in re.finditer(r"\w+", text)]
    words = [_PERSONS.get(word, word) for word, _ in ours]
    theirs = [_PERSONS.get(word, word) for word in secret]
    places: dict[tuple[str, ...], int] = {}
    for i in range(len(words) - 2):
        places.setdefault(tuple(words[i : i + 3]), i)
    at = [places.get(tuple(theirs[i : i + 3]), -1) for i in range(len(theirs) - 2)]
    width = min(_WINDOW, len(theirs)) - 2
    needed = max(least - 2, int(_KEPT * width))
    for i in range(len(at) - width + 1):
        found = [place for place in dict.fromkeys(at[i : i + width]) if place >= 0]
        if len(found) >= needed and max(found) - min(found) < 2 * _WINDOW:
            return ours[min(found)][1][0], ours[max(found) + 2][1][1]
    return None
