"""Chunks: pieces of a document that are found, embedded and cited, each an exact character span of its text.

A document is cut at its headings and breaks first, then sentences (lines, for code and tables) are packed up to a
budget that leaves room in the embedder for the heading path. About 200 tokens, or 150 words, found most of the gold
characters per character sent; prose overlaps by one sentence. Sections that are small are joined with their
neighbours; what is Base64 is passed over.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localllm.rag.blobs import blob_spans, inside, outside
from localllm.rag.rows import HEADING_SEPARATOR, NewChunk, TextMap, embedded_text

if TYPE_CHECKING:
    from localllm.engine.protocol import Embedder

TARGET_TOKENS = 200
TARGET_WORDS = 150
MAX_CHUNKS = 20_000
"""Chunks of one document; what lies beyond is left out, and the document is marked partial."""
VERSION = 2
"""Raised when texts are cut otherwise than before."""
_WINDOW = 50_000
"""Characters that are tokenized at a time, so that a long text can be given up."""
_HEADING_TOKENS = 40
"""A heading path longer than this is shortened from its outer end."""
_SPECIAL = 2
"""[CLS] and [SEP]."""

_WORD = re.compile(r"\S+")
_SENTENCE_END = re.compile(r"""(?:[.!?…]["'”’)\]]*(?=\s)|[。！？｡؟।॥]["'”’)\]」』]*|\n[ \t]*\n)\s*""")
_ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Z]|Dr|Mr|Mrs|Ms|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|cf|Fig|fig|No|no|Nr|Vol|pp?|al|ca|approx|Inc|Ltd|Co))\.$"
)


@dataclass(frozen=True, slots=True)
class Chunker:
    """Cuts documents.

    Args:
        embedder: Its tokens measure the pieces; None measures in words.
    """

    embedder: Embedder | None = None

    @property
    def name(self) -> str:
        """Names the way of cutting: stored with each document, so that another way cuts it again."""
        if self.embedder is None:
            return f"words-{TARGET_WORDS}-{VERSION}"
        return f"tokens-{TARGET_TOKENS}-{self.embedder.max_tokens}-{self.embedder.fingerprint[:16]}-{VERSION}"

    def cut(self, mapped: TextMap, check: Callable[[], None] = lambda: None) -> list[NewChunk]:
        """The chunks of a document, ascending by start.

        Args:
            mapped: Its text.
            check: Called often; what it raises ends the work.

        Returns:
            Chunks whose spans hold text without white space at either end; at most `MAX_CHUNKS`.
        """
        blobs = blob_spans(mapped.text)
        spans = self._all_units(mapped.text, outside(blobs, len(mapped.text)), check)
        starts = [start for start, _ in spans]
        prose = mapped.layout.kind == "prose"
        chunks: list[NewChunk] = []
        for start, end in self._sections(mapped, starts, blobs):
            check()
            heading = self._heading(mapped, start, end)
            room = self._room(heading)
            pieces = _sentences(mapped.text, start, end) if prose else _lines(mapped.text, start, end)
            for a, b in _pack(list(_no_longer_than(pieces, spans, starts, room)), starts, room, overlap=prose):
                a, b = _trim(mapped.text, a, b)
                if a < b:
                    chunks += self._fitting(mapped.text, a, b, heading, spans, starts)
            if len(chunks) >= MAX_CHUNKS:
                return chunks[:MAX_CHUNKS]
        return chunks

    def _all_units(
        self, text: str, parts: Sequence[tuple[int, int]], check: Callable[[], None]
    ) -> list[tuple[int, int]]:
        """Units of parts of any length, a window at a time: tokens do not reach over line breaks."""
        spans: list[tuple[int, int]] = []
        for start, stop in parts:
            while start < stop:
                check()
                end = stop if stop - start <= _WINDOW else start + _WINDOW
                if end < stop:
                    cut = max(text.rfind("\n", start, end), text.rfind(" ", start, end))
                    end = cut + 1 if cut > start else end
                spans += [(start + a, start + b) for a, b in self._units(text[start:end])]
                start = end
        return spans

    def _units(self, text: str) -> list[tuple[int, int]]:
        if self.embedder is not None:
            return self.embedder.token_spans(text)
        return [match.span() for match in _WORD.finditer(text)]

    def _room(self, heading: str) -> int:
        if self.embedder is None:
            return TARGET_WORDS
        limit = self.embedder.max_tokens - _SPECIAL - (len(self._units(heading)) if heading else 0)
        return max(16, min(TARGET_TOKENS, limit))

    def _heading(self, mapped: TextMap, start: int, end: int) -> str:
        """The heading path that all of the span stands under, shortened from its outer end."""
        path, last = mapped.path(start), mapped.path(max(start, end - 1))
        common = tuple(a for a, b in zip(path, last, strict=False) if a == b) if path != last else path
        while common and len(self._units(HEADING_SEPARATOR.join(common))) > _HEADING_TOKENS:
            common = common[1:]
        return HEADING_SEPARATOR.join(common)

    def _sections(
        self, mapped: TextMap, starts: Sequence[int], blobs: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, int]]:
        """Spans between headings, breaks and blobs; small neighbours are joined while they fit in one chunk."""
        text, layout = mapped.text, mapped.layout
        room = TARGET_WORDS if self.embedder is None else TARGET_TOKENS
        edges = {i for blob in blobs for i in blob}
        cuts = sorted({0, len(text), *(h.start for h in layout.headings), *layout.breaks, *edges})
        hard = set(layout.breaks) | edges
        # a new top-level section never continues a chunk of the one before
        top = min((h.level for h in layout.headings), default=0)
        hard |= {h.start for h in layout.headings if h.level <= top}
        begin = 0
        for here, following in zip(cuts[1:], [*cuts[2:], len(text)], strict=False):
            size = bisect_left(starts, following) - bisect_left(starts, begin)
            if here == len(text) or here in hard or size > room:
                if begin < here and not inside(begin, blobs):
                    yield begin, here
                begin = here

    def _fitting(
        self, text: str, a: int, b: int, heading: str, spans: Sequence[tuple[int, int]], starts: Sequence[int]
    ) -> list[NewChunk]:
        """The chunk, or its halves where the embedder's count of the whole is larger than that of its parts."""
        first, last = bisect_left(starts, a), bisect_left(starts, b)
        if self.embedder is None:
            return [NewChunk(a, b, heading, last - first)]
        n = len(self.embedder.token_spans(embedded_text(heading, text[a:b]))) + _SPECIAL
        if n <= self.embedder.max_tokens or last - first < 2:
            return [NewChunk(a, b, heading, n)]
        middle = spans[(first + last) // 2][0]
        halves = _trim(text, a, middle), _trim(text, middle, b)
        return [c for x, y in halves if x < y for c in self._fitting(text, x, y, heading, spans, starts)]


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Sentences and paragraphs; spans join without gaps."""
    begin = start
    for match in _SENTENCE_END.finditer(text, start, end):
        if text[match.start()] == "." and _ABBREVIATION.search(text, max(begin, match.start() - 12), match.start() + 1):
            continue
        yield begin, match.end()
        begin = match.end()
    if begin < end:
        yield begin, end


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    while begin < end:
        stop = text.find("\n", begin, end)
        stop = end if stop < 0 else stop + 1
        yield begin, stop
        begin = stop


def _no_longer_than(
    pieces: Iterator[tuple[int, int]], spans: Sequence[tuple[int, int]], starts: Sequence[int], room: int
) -> Iterator[tuple[int, int]]:
    """Cut pieces of more than `room` units, at line ends where there are any."""
    for a, b in pieces:
        first, last = bisect_left(starts, a), bisect_left(starts, b)
        begin = a
        while last - first > room:
            stop = spans[first + room][0]
            yield begin, stop
            begin, first = stop, first + room
        yield begin, b


def _pack(
    pieces: Sequence[tuple[int, int]], starts: Sequence[int], room: int, *, overlap: bool
) -> Iterator[tuple[int, int]]:
    """Join pieces up to `room` units each; with `overlap` the last piece of a chunk opens the next one too."""

    def size(a: int, b: int) -> int:
        return bisect_left(starts, b) - bisect_left(starts, a)

    i = 0
    while i < len(pieces):
        j = i + 1
        while j < len(pieces) and size(pieces[i][0], pieces[j][1]) <= room:
            j += 1
        yield pieces[i][0], pieces[j - 1][1]
        if j >= len(pieces):
            return
        # one sentence of overlap, where it is short and leaves room for the next
        again = j - 1
        fits = again > i and size(*pieces[again]) <= room // 4 and size(pieces[again][0], pieces[j][1]) <= room
        i = again if overlap and fits else j


def _trim(text: str, a: int, b: int) -> tuple[int, int]:
    while a < b and text[a].isspace():
        a += 1
    while b > a and text[b - 1].isspace():
        b -= 1
    return a, b
