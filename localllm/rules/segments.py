"""Words, sentences, paragraphs and lines of a text, with their character spans.

A sentence ends at ``.``, ``!``, ``?`` or ``…`` (closing quotes and brackets included) before white space, unless the
stop belongs to an abbreviation, an initial, a decimal or a list number. A heading, a list item and a paragraph are
units of their own. (`punkt` splits as a reference does, by stops alone.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

WORD = re.compile(r"\w+(?:['’\-]\w+)*(?:[.,]\d+)*", re.UNICODE)
"""A word as people count: ``don't``, ``state-of-the-art`` and ``3.5`` are one each."""

BULLET = re.compile(r"^[ \t]*(?:[*+•‣–-])[ \t]+(?=\S)", re.MULTILINE)
NUMBERED = re.compile(r"^[ \t]*\d{1,3}[.)][ \t]+(?=\S)", re.MULTILINE)
HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)

_STOP = re.compile(r"(?:[.!?…]+|[。！？]+)[\"'”’»)\]*_]*(?=\s|$|(?<=[。！？]))")
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof sr jr st vs etc e.g i.e fig no vol inc ltd co corp dept est approx jan feb mar apr jun jul aug"
    " sep sept oct nov dec gen col sgt capt lt gov rep sen rev hon mt ft bzw z.b usw d.h ca p.s p.p.s al cf pp ed".split()  # noqa: E501
)
_INITIALS = re.compile(r"^(?:[a-z]\.)+[a-z]?$", re.IGNORECASE)


def words(text: str) -> list[tuple[int, int]]:
    """Spans of the words."""
    return [m.span() for m in WORD.finditer(text)]


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences, without white space around them."""
    spans: list[tuple[int, int]] = []
    for start, end in _units(text):
        at = start
        for stop in _STOP.finditer(text, start, end):
            if stop.end() < end and not _ends_sentence(text, at, stop):
                continue
            _add(spans, text, at, stop.end())
            at = stop.end()
        _add(spans, text, at, end)
    return spans


def _add(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    if piece.strip():
        lead = len(piece) - len(piece.lstrip())
        stripped = piece.strip()
        if any(c.isalnum() for c in stripped):
            spans.append((start + lead, start + lead + len(stripped)))
        elif spans:  # stray punctuation belongs to the sentence before
            spans[-1] = (spans[-1][0], start + lead + len(stripped))


def _ends_sentence(text: str, start: int, stop: re.Match[str]) -> bool:
    mark = text[stop.start()]
    following = text[stop.end() :].lstrip()[:1]
    if mark in "!?":
        return not following.islower()
    if mark != "." or text[stop.start() : stop.start() + 2] == "..":
        return not following.islower()
    before = re.split(r"[\s(\[\"'“‘*_]", text[start : stop.start()])[-1]
    if before.lower() in _ABBREVIATIONS:
        return before.lower() in ("etc", "co", "inc", "ltd") and following.isupper()
    if len(before) == 1 and before.isalpha() and before != "I":
        return False  # an initial
    if before.isdigit() and not text[start : stop.start() - len(before)].strip():
        return False  # a list number
    if _INITIALS.match(before) and "." in before:
        return following.isupper() and len(before) > 3
    return not following.islower()


def _units(text: str) -> Iterator[tuple[int, int]]:
    """Stretches that no sentence crosses: paragraphs, headings, list items, table rows."""
    start = 0
    at = 0
    for line in text.splitlines(keepends=True):
        stripped = line.strip()
        own = not stripped or bool(
            BULLET.match(line) or NUMBERED.match(line) or HEADING.match(line.rstrip("\n")) or stripped[0] == "|"
        )
        if own and at > start:
            yield start, at
            start = at
        at += len(line)
        if not stripped or HEADING.match(line.rstrip("\n")):
            yield start, at
            start = at
    if at > start:
        yield start, at


def paragraphs(text: str) -> list[tuple[int, int]]:
    """Spans of the blocks between blank lines."""
    return [m.span() for m in re.finditer(r"\S(?:.|\n(?!\s*\n))*", text)]


def lines(text: str) -> list[tuple[int, int]]:
    """Spans of the lines that are not blank."""
    return [m.span() for m in re.finditer(r"[^\n]*\S[^\n]*", text)]


def bullets(text: str) -> list[tuple[int, int]]:
    """Spans of the lines that are bullet points."""
    return [(m.start(), _line_end(text, m.start())) for m in BULLET.finditer(text)]


def numbered(text: str) -> list[tuple[int, int]]:
    """Spans of the lines that are items of a numbered list."""
    return [(m.start(), _line_end(text, m.start())) for m in NUMBERED.finditer(text)]


def headings(text: str) -> list[tuple[int, str, int, int]]:
    """Level, title and span of each Markdown heading, code fences left out."""
    fences = [m.span() for m in re.finditer(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)]
    return [
        (len(m[1]), m[2], *m.span()) for m in HEADING.finditer(text) if not any(a <= m.start() < b for a, b in fences)
    ]


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
