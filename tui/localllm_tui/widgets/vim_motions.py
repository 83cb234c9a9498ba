"""vim's motions: from a place in a text to another."""

from __future__ import annotations

import re
from collections.abc import Callable

from textual.widgets.text_area import DocumentBase, Location

Motion = Callable[[DocumentBase, Location], Location]

INCLUSIVE = {"e", "$"}
"""Motions that include the character they end on."""
BY_LINES = {"j", "k", "G", "gg"}
"""Motions that an operator applies to whole lines."""
_WORD = re.compile(r"\w+|[^\w\s]+")


def moved(document: DocumentBase, place: Location, motion: str, times: int) -> Location:
    """Where a motion of `MOTIONS` leads when it is made so many times."""
    for _ in range(1 if motion in ("G", "gg") else times):
        place = MOTIONS[motion](document, place)
    return place


def left(document: DocumentBase, place: Location) -> Location:
    """One character, within the line."""
    return place[0], max(0, place[1] - 1)


def right(document: DocumentBase, place: Location) -> Location:
    """One character, to behind the last one of the line at most."""
    return place[0], min(len(document.get_line(place[0])), place[1] + 1)


def first_letter(document: DocumentBase, place: Location) -> Location:
    """The first character of the line that is no space."""
    line = document.get_line(place[0])
    return place[0], len(line) - len(line.lstrip())


def occurrence(document: DocumentBase, place: Location, text: str, forward: bool) -> Location | None:
    """The next place where a text stands, round the end of the document; None where it stands nowhere.

    Letters match in both cases unless the text has a capital.
    """
    found = re.compile(re.escape(text), re.IGNORECASE if text == text.lower() else 0)
    places = [(row, m.start()) for row in range(document.line_count) for m in found.finditer(document.get_line(row))]
    if not places:
        return None
    if forward:
        return next((there for there in places if there > place), places[0])
    return next((there for there in reversed(places) if there < place), places[-1])


def _up(document: DocumentBase, place: Location) -> Location:
    return max(0, place[0] - 1), place[1]


def _down(document: DocumentBase, place: Location) -> Location:
    return min(document.line_count - 1, place[0] + 1), place[1]


def _line_start(document: DocumentBase, place: Location) -> Location:
    return place[0], 0


def _line_end(document: DocumentBase, place: Location) -> Location:
    return place[0], max(0, len(document.get_line(place[0])) - 1)


def _first_line(document: DocumentBase, place: Location) -> Location:
    return 0, 0


def _last_line(document: DocumentBase, place: Location) -> Location:
    return document.line_count - 1, 0


def _next_word(document: DocumentBase, place: Location) -> Location:
    row, column = place
    for start, _ in _words(document, row):
        if start > column:
            return row, start
    if row == document.line_count - 1:
        return row, len(document.get_line(row))
    return first_letter(document, (row + 1, 0))


def _word_before(document: DocumentBase, place: Location) -> Location:
    row, column = place
    before = [start for start, _ in _words(document, row) if start < column]
    if before:
        return row, before[-1]
    words = _words(document, row - 1) if row else []
    return (row - 1, words[-1][0]) if words else (max(0, row - 1), 0)


def _word_end(document: DocumentBase, place: Location) -> Location:
    row, column = place
    for _, end in _words(document, row):
        if end - 1 > column:
            return row, end - 1
    for lower in range(row + 1, document.line_count):
        if words := _words(document, lower):
            return lower, words[0][1] - 1
    return _line_end(document, place)


def _words(document: DocumentBase, row: int) -> list[tuple[int, int]]:
    return [match.span() for match in _WORD.finditer(document.get_line(row))]


MOTIONS: dict[str, Motion] = {
    "h": left,
    "l": right,
    "k": _up,
    "j": _down,
    "0": _line_start,
    "^": first_letter,
    "$": _line_end,
    "w": _next_word,
    "b": _word_before,
    "e": _word_end,
    "G": _last_line,
    "gg": _first_line,
}
