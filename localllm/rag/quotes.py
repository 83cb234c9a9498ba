"""Quotes checked against the text they claim to come from.

Both sides are folded (case, compatibility forms, quotation marks, dashes, invisible characters, white space, hyphens at
line ends) with a map back to the original offsets, so that a quote that is found points at its exact place.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher

from localllm.events import SupportState

_NEAR = 0.9
"""Share of a quote's words that must be there, in order, for a near match."""
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−"), "-")
_QUOTES = dict.fromkeys(map(ord, "‘’‚‛`´′"), "'") | dict.fromkeys(map(ord, "“”„‟«»″"), '"')
_FOLD = _DASHES | _QUOTES
_INVISIBLE = frozenset("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u202a\u202b\u202c\u202d\u202e")
_TOKEN = re.compile(r"\d+(?:[.,:]\d+)*|\w+(?:'\w+)?")
_NEGATIONS = frozenset("no not never none neither nor cannot without hardly".split())
_QUOTED = re.compile(r'"([^"\n]{12,}?)"|“([^”\n]{12,}?)”|„([^“”\n]{12,}?)[“”]|«([^»\n]{12,}?)»')


@dataclass(frozen=True, slots=True)
class QuoteMatch:
    """Where a quote stands in a text."""

    state: SupportState
    start: int = 0
    end: int = 0
    """Span in the text that was searched, half open; empty when not found."""
    ratio: float = 0.0
    """Share of the quote's words found in order, 0 to 1."""
    diff: str = ""
    """For a near match: the quote with what differs, as ``[-quoted-]{+text+}``."""


def find_quote(quote: str, text: str) -> QuoteMatch:
    """Find a quote in a text.

    A near match needs nine tenths of the words in order, and every number and negation.
    """
    needle, _ = folded(quote)
    needle = needle.strip(" .,;:…")
    haystack, offsets = folded(text)
    if not needle:
        return QuoteMatch(SupportState.NOT_FOUND)
    at = haystack.find(needle)
    if at >= 0:
        return QuoteMatch(SupportState.VERIFIED, offsets[at], offsets[at + len(needle) - 1] + 1, 1.0)
    return _near(needle, haystack, offsets)


def quotes_in(answer: str) -> list[tuple[int, int]]:
    """Spans of the quotations in an answer, without their marks; of twelve characters at least."""
    return [m.span(m.lastindex or 0) for m in _QUOTED.finditer(answer)]


def folded(text: str) -> tuple[str, list[int]]:
    """`text` folded for comparing, and for each of its characters the offset it came from."""
    out: list[str] = []
    offsets: list[int] = []
    i = 0
    while i < len(text):
        c = text[i]
        if c in _INVISIBLE:
            i += 1
            continue
        if c in "-‐" and (m := _LINE_BREAK.match(text, i)) and out and out[-1].isalpha():
            i = m.end()
            continue
        j = i + 1
        while j < len(text) and unicodedata.combining(text[j]):
            j += 1
        piece = unicodedata.normalize("NFKC", text[i:j]).translate(_FOLD).casefold()
        for letter in piece:
            if letter.isspace():
                if out and out[-1] == " ":
                    continue
                letter = " "
            out.append(letter)
            offsets.append(i)
        i = j
    return "".join(out), offsets


_LINE_BREAK = re.compile(r"[-‐]\s*\n\s*(?=[^\W\d_])")


def _near(needle: str, haystack: str, offsets: list[int]) -> QuoteMatch:
    wanted = _TOKEN.findall(needle)
    spans = [m.span() for m in _TOKEN.finditer(haystack)]
    there = [haystack[a:b] for a, b in spans]
    if len(wanted) < 4 or not there:
        return QuoteMatch(SupportState.NOT_FOUND)
    best: tuple[float, int, int] = (0.0, 0, 0)
    for begin in _starts(wanted, there):
        window = there[begin : begin + len(wanted) + max(2, len(wanted) // 5)]
        blocks = SequenceMatcher(None, wanted, window, autojunk=False).get_matching_blocks()
        matched = sum(b.size for b in blocks)
        if matched / len(wanted) > best[0]:
            first = next(b.b for b in blocks if b.size)
            last = max(b.b + b.size for b in blocks)
            best = (matched / len(wanted), begin + first, begin + last)
    ratio, a, b = best
    window = there[a:b]
    # Words missing on either side count, so that a quote can't leave out what turns its sense.
    if ratio < _NEAR or len(wanted) / max(len(window), 1) < _NEAR or _firm(wanted) != _firm(window):
        return QuoteMatch(SupportState.NOT_FOUND, ratio=ratio)
    start, end = offsets[spans[a][0]], offsets[spans[b - 1][1] - 1] + 1
    return QuoteMatch(SupportState.NEAR, start, end, ratio, word_diff(wanted, window))


def _starts(wanted: list[str], there: list[str]) -> list[int]:
    """The few windows that share most words with the quote."""
    need, size = Counter(wanted), len(wanted)
    scores = []
    have: Counter[str] = Counter()
    shared = 0
    for i, word in enumerate(there):
        have[word] += 1
        shared += have[word] <= need[word]
        if i >= size:
            gone = there[i - size]
            shared -= have[gone] <= need[gone]
            have[gone] -= 1
        scores.append((shared, -max(0, i - size + 1)))
    return sorted({max(0, -start) for _, start in sorted(scores, reverse=True)[:4]})


def _firm(words: list[str]) -> Counter[str]:
    """Numbers and negations, which must agree to the letter."""
    return Counter(w for w in words if w[0].isdigit() or w in _NEGATIONS or w.endswith("n't"))


def word_diff(quoted: list[str], text: list[str]) -> str:
    """Words of both sides, what differs marked as ``[-quoted-]{+text+}``."""
    parts = []
    for tag, a, b, c, d in SequenceMatcher(None, quoted, text, autojunk=False).get_opcodes():
        if tag == "equal":
            parts.append(" ".join(quoted[a:b]))
            continue
        if b > a:
            parts.append("[-" + " ".join(quoted[a:b]) + "-]")
        if d > c:
            parts.append("{+" + " ".join(text[c:d]) + "+}")
    return " ".join(parts)
