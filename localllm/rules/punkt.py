"""Sentences as splitters of the Punkt kind find them (Kiss and Strunk 2006), for checks that must decide as a reference.

A stop ends a sentence unless its word is an abbreviation, an initial, or an ellipsis, and what follows decides the
doubtful cases. Line ends, headings and list marks count for nothing. The method is the published one; the trained tables
are not here: a short list of abbreviations and the words of the text itself stand for them.
"""  # noqa: E501

from __future__ import annotations

import itertools
import re
import string
from dataclasses import dataclass

_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof messrs st sr jr vs inc corp co cos ltd bros cie gen col maj lt sen rep reps ph.d m.b.a u.s.a"
    " jan feb aug sep sept oct nov dec tues wed fri p.m a.m ave ft mg yr chg adm sw"
    " ala ariz calif colo conn fla ga ill kan ky mich minn nev okla ore pa tenn va vt wash wis w.va"
    " u.s u.k u.n d.c n.y n.j n.c n.h n.m s.c r.i l.a s.a b.v n.v a.c a.d j.b j.c j.j j.k j.p j.r".split()
)
_LETTERS = frozenset("cdefghklmnprstvw")
"""Single letters that count as abbreviations; the others are initials."""
_STARTERS = frozenset(
    "according although among both but despite even he however i if in indeed instead it many meanwhile moreover most"
    " nevertheless nonetheless nor since so some the there these they this though thus under when while yet".split()
)
_LOWER = frozenset(
    "a an and any as at by do for from get go has have his her how is its let my new no not now of on one or our she"
    " that their then those to use was we what where which who why will with you your".split()
) | (_STARTERS - {"i"})
"""Words that stand in lower case unless they begin a sentence."""

_RUN = r"--+|\.{2,}|(?:\.\s){2,}\."
_MARK = r"[)\";}\]*:@'({\[?!]"
_STOP = re.compile(rf"[.?!](?=(?P<after>{_MARK}|\s+(?P<next>\S+)))")
_TOKEN = re.compile(
    rf"{_RUN}|(?=[^(\"`{{\[:;&#*@)}}\]\-,])\S+?(?=\s|$|{_MARK}|{_RUN}|,(?=$|\s|{_MARK}|{_RUN}))|\S", re.UNICODE
)
_CLOSING = re.compile(r"[\"')\]}]+?(?:\s+|(?=--)|$)", re.MULTILINE)
_NUMBER = re.compile(r"-?[.,]?\d[\d,.\-]*\.?")
_LINE_START = re.compile(r"(?:^|\n)[\s\-*\"]*(?:\d+\.\s)?\Z")
_INITIAL = re.compile(r"[^\W\d]\.")


@dataclass(slots=True)
class _Token:
    text: str
    ends: bool = False
    short: bool = False
    """An abbreviation or an ellipsis: a stop that says nothing about the sentence."""

    @property
    def word(self) -> str:
        """The word without its stop; numbers are all one."""
        return "0" if _NUMBER.fullmatch(self.text) else self.text.lower().removesuffix(".")


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences; closing quotes and brackets belong to the sentence before them."""
    cuts: list[tuple[int, int]] = []
    start = 0
    lower = frozenset(re.findall(r"\b[^\W\d_]+\b", text)) | _LOWER
    for stop, word_start in _last_stops(text):
        # The letter of an outline ("A. Costs") stands at the start of its line; an initial hardly ever does.
        outline = _LINE_START.search(text, max(0, word_start - 40), word_start) is not None
        if _ends(text[word_start : stop.end("after")], None if outline else lower):
            cuts.append((start, stop.end()))
            start = stop.start("next") if stop["next"] else stop.end()
    cuts.append((start, len(text.rstrip())))
    return _closed(text, cuts)


def _last_stops(text: str) -> list[tuple[re.Match[str], int]]:
    """The last possible stop of each word, with the place where the word starts."""
    found: list[tuple[re.Match[str], int]] = []
    word = end = 0  # of the word before the stop that was looked at last
    for stop in _STOP.finditer(text):
        start = stop.start()
        while start > end and text[start - 1] not in string.whitespace:
            start -= 1
        start = start if start > end + 1 else word
        if found and start < end:
            found.pop()
        found.append((stop, start))
        word, end = start, stop.start()
    return found


def _ends(context: str, lower: frozenset[str] | None) -> bool:
    """Whether a sentence ends inside a word and what follows it, with more behind.

    Args:
        context: The word, its stop, and the next word or mark.
        lower: Words of the text in lower case; None where any word may be one.
    """
    tokens = [_first_look(piece) for piece in _TOKEN.findall(context)]
    for token, following in itertools.pairwise(tokens):
        _second_look(token, following, lower)
    return any(token.ends for token in tokens[:-1])


def _first_look(piece: str) -> _Token:
    if piece in (".", "?", "!"):
        return _Token(piece, ends=True)
    if piece.endswith(".."):
        return _Token(piece, short=True)
    if not piece.endswith("."):
        return _Token(piece)
    word = piece[:-1].lower()
    known = any(w in _ABBREVIATIONS or w in _LETTERS for w in (word, word.rsplit("-", 1)[-1]))
    return _Token(piece, ends=not known, short=known)


def _second_look(token: _Token, following: _Token, lower: frozenset[str] | None) -> None:
    """What follows an abbreviation, an initial or a number decides."""
    if not token.text.endswith("."):
        return
    initial = bool(_INITIAL.fullmatch(token.text))
    upper = following.text[:1].isupper()
    begins = _begins(following)
    if token.short and not initial and (begins or (upper and following.word in _STARTERS)):
        token.ends = True
    elif initial or token.word == "0":
        name = initial and upper and lower is not None and following.word not in lower
        if begins is False or (begins is None and name):
            token.ends = False


def _begins(token: _Token) -> bool | None:
    """Whether a word begins a sentence by its case; None where that can't be told."""
    if token.text in (";", ":", ",", ".", "!", "?") or token.text[:1].islower():
        return False
    return True if token.text[:1].isupper() and token.word in _LOWER else None


def _closed(text: str, cuts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same cuts, with closing marks moved to the sentence that they close."""
    found: list[tuple[int, int]] = []
    moved = 0
    for i, (start, end) in enumerate(cuts):
        start += moved
        moved = 0
        if i + 1 < len(cuts) and (closing := _CLOSING.match(text, *cuts[i + 1])):
            found.append((start, cuts[i + 1][0] + len(closing[0].rstrip())))
            moved = closing.end() - cuts[i + 1][0]
        elif start < end:
            found.append((start, end))
    return found
