"""Text as the keyword index sees it: words cut where SQLite's tokenizer can't cut them.

FTS5's ``unicode61`` takes a run of letters as one word. That fails for scripts written without spaces, and for
identifiers in code. Both sides, the indexed text and the query, pass through here, so that they are cut alike:

- Han and kana runs and Hangul runs become overlapping pairs of characters, Thai, Lao, Khmer and Burmese runs become
  overlapping triples;
- ``camelCase`` keeps its whole form and gets its parts beside it (``snake_case`` is cut by the tokenizer already);
- text is in NFKC, without soft hyphens and other invisible characters, and words hyphenated at a line end are joined.

The result goes in the keyword index only: offsets into it mean nothing.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

TOKENIZE: Final = "porter unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
"""The FTS5 ``tokenize`` option that belongs to this cutting. Marks (Mn, Mc) count as letters: Hindi needs them."""

_PAIRS = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3040-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"
)
_TRIPLES = "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\uaa60-\uaa7f\u1780-\u17ff"
_UNSPACED = re.compile(f"([{_PAIRS}]+)|([{_TRIPLES}]+)")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_LINE_END_HYPHEN = re.compile(r"(\w{2,})[-‐]\s*\n\s*([^\W\d_]\w*)")
# A lower-case tail of three letters at least: RNAs and DCs are plurals.
_CAMEL = re.compile(r"\b[A-Za-z]*(?:[a-z][A-Z]|[A-Z]{2}[a-z]{3})[A-Za-z]*\b")
_CAMEL_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z]{3})|[A-Z]?[a-z]+|[A-Z]+")
_QUOTED = re.compile(r'["“”„«»]([^"“”„«»]+)["“”„«»]')


def fts_text(text: str) -> str:
    """`text` as it is written to the keyword index.

    Args:
        text: Any text; its offsets are not kept.
    """
    text = _fold(text)
    if not text.isascii():
        text = _UNSPACED.sub(_cut, text)
    return _CAMEL.sub(_split_camel, text)


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """A query as the keyword index is asked."""

    terms: tuple[str, ...]
    """Each may match; stop-words are dropped unless there is nothing else. A term of several words is a phrase."""
    phrases: tuple[str, ...] = ()
    """What stood in quotation marks: every hit must hold all of it."""

    def match(self) -> str:
        """The FTS5 expression; empty when nothing can be asked."""
        terms = " OR ".join(_quote(t) for t in self.terms)
        must = " AND ".join(_quote(p) for p in self.phrases)
        if must and terms:
            # The right side only adds score: what holds the phrases matches without it.
            return f"({must}) OR (({must}) AND ({terms}))"
        return must or terms


def query_terms(query: str) -> QueryTerms:
    """Cut a query as `fts_text` cuts documents.

    Words become terms, identifiers of code (``read_file``, ``readFile``) also a phrase of their parts, so that each way
    of writing finds the other. Quoted parts of the query become phrases that must occur.
    """
    folded = without_opening_may(_fold(query))
    phrases = [cut for part in _QUOTED.findall(folded) if (cut := " ".join(words(fts_text(part))))]
    rest = _QUOTED.sub(" ", folded) if phrases else folded
    terms = [term for chunk in _UNSPACED.sub(lambda m: f" {m[0]} ", rest).split() for term in _terms_of(chunk)]
    seen = dict.fromkeys(t.lower() for t in terms)
    kept = [t for t in seen if t not in STOP_WORDS]
    return QueryTerms(tuple(kept or (seen if not phrases else ())), tuple(phrases))


def without_opening_may(question: str) -> str:
    """A question without the verb of "May I ...?", which would be looked for as the month and in every permission."""
    return _OPENING_MAY.sub("", question)


def words(text: str) -> list[str]:
    """Runs of letters, digits and marks, as the tokenizer takes them."""
    runs: list[str] = []
    inside = False
    for c in text:
        if c.isalnum() or (inside and unicodedata.category(c) in ("Mn", "Mc")):
            if inside:
                runs[-1] += c
            else:
                runs.append(c)
            inside = True
        else:
            inside = False
    return runs


def _terms_of(chunk: str) -> list[str]:
    """The terms of a piece of a query that holds no space."""
    if unspaced := _UNSPACED.fullmatch(chunk):
        return _cut(unspaced).split()
    pieces = words(chunk)
    terms = list(pieces)
    for piece in pieces:
        parts = _camel_parts(piece) if _CAMEL.fullmatch(piece) else []
        # MicroRNA is a word of two, not an identifier: as a phrase it would count twice.
        if len(parts) > 2 or (len(parts) == 2 and not any(p.isupper() for p in parts)):
            terms.append(" ".join(parts))
    if len(pieces) > 1 and "_" in chunk:
        terms.append(" ".join(pieces))
    return terms


def _fold(text: str) -> str:
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return _LINE_END_HYPHEN.sub(r"\1\2", text)


def _cut(match: re.Match[str]) -> str:
    run, size = match[0], 2 if match[1] else 3
    if len(run) <= size:
        return f" {run} "
    return " " + " ".join(run[i : i + size] for i in range(len(run) - size + 1)) + " "


def _camel_parts(word: str) -> list[str]:
    """``readHTTPHeader`` -> read, HTTP, Header; ``mRNA`` stays whole: a single letter is no part."""
    parts = _CAMEL_PARTS.findall(word)
    return parts if len(parts) > 1 and all(len(p) > 1 for p in parts) else [word]


def _split_camel(match: re.Match[str]) -> str:
    parts = _camel_parts(match[0])
    return " ".join([match[0], *parts]) if len(parts) > 1 else match[0]


def _quote(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'


_OPENING_MAY = re.compile(
    r"^\W*may\s+(?=(?:i|we|you|he|she|it|they|one|the|a|an|my|our|your|this|these|that|those)\b)", re.IGNORECASE
)
_STOP_WORDS = """
    a about above after again against all am an and any are aren as at be because been before being below between
    both but by can cannot could couldn d did didn do does doesn doing don down during each few for from further had
    hadn has hasn have haven having he her here hers herself him himself his how i if in into is isn it its itself just
    ll m me more most my myself no nor not now of off on once only or other our ours ourselves out over own re s same
    she should shouldn so some such t than that the their theirs them themselves then there these they this those
    through to too under until up ve very was wasn we were weren what when where which while who whom why will with
    won would wouldn you your yours yourself yourselves
"""
STOP_WORDS: Final = frozenset(_STOP_WORDS.split())
"""English words that say too little to search for."""
