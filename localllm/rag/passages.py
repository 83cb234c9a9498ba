"""From hits to passages: neighbours joined, small documents whole, all within a token budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.events import Passage
from localllm.rag.rows import Chunk, Document, TextMap
from localllm.rag.search import Hit

if TYPE_CHECKING:
    from localllm.rag.index import Library

CountTokens = Callable[[str], int]
_PER_PASSAGE = 24
"""Tokens of a passage's number, place and fences, roughly."""


@dataclass
class _Piece:
    """A run of neighbouring chunks of one document."""

    document: Document
    text: TextMap
    chunks: list[Chunk]
    first: int
    last: int
    """Numbers of the chunks, inclusive."""
    score: float

    def with_chunk(self, number: int) -> tuple[int, int]:
        """First and last chunk after a neighbour was joined."""
        return min(self.first, number), max(self.last, number)

    def added_by(self, number: int) -> str:
        """What a neighbouring chunk would add: its text, and whatever lies between that no chunk holds."""
        start, end = self.span
        first, last = self.with_chunk(number)
        return self.text.text[self.chunks[first].start : start] + self.text.text[end : self.chunks[last].end]

    @property
    def span(self) -> tuple[int, int]:
        return self.chunks[self.first].start, self.chunks[self.last].end

    def passage(self, n: int) -> Passage:
        start, end = self.span
        return passage_of(self.document, self.text, n, start, end, self.chunks[self.first].heading, self.score)


def passage_of(document: Document, text: TextMap, n: int, start: int, end: int, heading: str, score: float) -> Passage:
    """The passage number `n`: a span of a document."""
    return Passage(
        n, document.source, document.title or Path(document.source).name, heading, text.page(start), text.line(start),
        start, end, score, text.text[start:end], text.page_label(start),
    )  # fmt: skip


def whole_documents(library: Library, hits: Sequence[Hit], budget: int, count: CountTokens, most: int) -> list[Passage]:
    """Every document of the library in full, when all of them fit; empty otherwise."""
    n = int(library.query("SELECT count(*) FROM documents WHERE content IS NOT NULL")[0][0])
    if not 0 < n <= most:
        return []
    documents = [d for d in library.documents() if d.content is not None and d.n_chunks]
    if sum(d.n_chars for d in documents) > budget * 8:
        return []
    best: dict[int, float] = {}
    for hit in hits:
        best.setdefault(hit.document_id, hit.score)
    documents.sort(key=lambda d: -best.get(d.id, -1.0))
    passages, used = [], 0
    for i, document in enumerate(documents, 1):
        assert document.content is not None
        text = library.text(document.content)
        used += count(text.text) + _PER_PASSAGE
        if used > budget:
            return []
        passages.append(passage_of(document, text, i, 0, len(text.text), "", best.get(document.id, 0.0)))
    return passages


def fitted_passages(library: Library, hits: Sequence[Hit], budget: int, count: CountTokens) -> list[Passage]:
    """Passages from hits, best first, numbered from 1: neighbours are joined, and grow while the budget lasts.

    Args:
        library: Where the hits are from.
        hits: Best first.
        budget: Tokens for all passages together; the first passage is cut to it when it alone is longer.
        count: The model's tokens in a text.
    """
    pieces: list[_Piece] = []
    documents = library.documents_by_id({h.document_id for h in hits})
    chunks = {d: library.chunks_of(d) for d in documents}
    texts = {d: library.text(doc.content) for d, doc in documents.items() if doc.content is not None}
    used = 0
    for hit in hits:
        piece = _Piece(
            documents[hit.document_id], texts[hit.document_id], chunks[hit.document_id], hit.ord, hit.ord, hit.score
        )
        near = next(
            (p for p in pieces if p.document.id == hit.document_id and p.first - 1 <= hit.ord <= p.last + 1), None
        )
        if near is not None and near.first <= hit.ord <= near.last:
            continue
        if near is not None and used + (cost := _cost(near.added_by(hit.ord), budget, count)) <= budget:
            used += cost
            near.first, near.last = near.with_chunk(hit.ord)
            continue
        cost = count(hit.text) + _PER_PASSAGE
        if used + cost > budget:
            if pieces:
                continue
            return [_cut_to(piece.passage(1), budget, count)]
        used += cost
        pieces.append(piece)
    for piece in pieces:
        for step in (1, -1):
            other = piece.last + 1 if step == 1 else piece.first - 1
            if not 0 <= other < len(piece.chunks) or _taken(pieces, piece.document.id, other):
                continue
            cost = _cost(piece.added_by(other), budget, count)
            if used + cost > budget:
                continue
            used += cost
            piece.first, piece.last = piece.with_chunk(other)
    return [piece.passage(n) for n, piece in enumerate(pieces, 1)]


def _cost(added: str, budget: int, count: CountTokens) -> int:
    """Tokens of a text; what is certainly too long is not counted."""
    return count(added) if len(added) <= 16 * budget else budget + 1


def _taken(pieces: Sequence[_Piece], document_id: int, number: int) -> bool:
    return any(p.document.id == document_id and p.first <= number <= p.last for p in pieces)


def _cut_to(passage: Passage, budget: int, count: CountTokens) -> Passage:
    text = passage.text
    while len(text) > 1 and count(text) + _PER_PASSAGE > budget:
        text = text[: len(text) * 3 // 4]
    return replace(passage, text=text, end=passage.start + len(text))
