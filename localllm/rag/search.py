"""Search in a library: keywords, vectors, and both fused.

Works without an embedder (keywords alone), and says in the result which way it went. Two promises beyond the ranking:
a passage that holds every rare word of the query stays in the result whatever the vectors say, and no passage is there
twice.
"""

from __future__ import annotations

import fnmatch
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

from localllm.engine.protocol import Embedder
from localllm.events import Passage
from localllm.rag.coverage import with_coverage
from localllm.rag.fusion import FEW, fuse
from localllm.rag.rerank import RERANKED, Reranker, reranked
from localllm.rag.rows import Chunk, Document
from localllm.rag.segment import QueryTerms, query_terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from localllm.rag.index import Library
    from localllm.rag.rows import TextMap
    from localllm.rag.vectors import VectorCache

Mode = Literal["hybrid", "keyword", "vector"]

POOL = 100
"""Chunks that each side contributes."""
_TITLE_WEIGHT = 1.25
"""Of file name, title and headings; a heading also stands in the text of its first chunk, where it counts again."""
_NEAR_DUPLICATE = 0.9
"""Jaccard similarity of five-word runs from which two passages are the same."""
_SMALL_LIBRARY = 20


@dataclass(frozen=True, slots=True)
class Filters:
    """Which documents may be found; an empty field lets all through."""

    path: str = ""
    """A glob over the whole path, or over its end: ``*.md``, ``manuals/*``."""
    type: str = ""
    """Format (``pdf``) or file name suffix (``.pdf``)."""
    after: float | None = None
    """Modified at this time or later, seconds since 1970."""
    before: float | None = None

    def lets_through(self, document: Document) -> bool:
        """Whether a document may be found."""
        name = document.source.replace("\\", "/")
        if self.path and not (fnmatch.fnmatch(name, self.path) or fnmatch.fnmatch(name, "*/" + self.path)):
            return False
        if self.type and self.type.lstrip(".").lower() not in (document.format, Path(name).suffix[1:].lower()):
            return False
        if self.after is not None and document.mtime < self.after:
            return False
        return self.before is None or document.mtime <= self.before


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found."""

    chunk_id: int
    document_id: int
    ord: int
    """Number of the chunk in its document."""
    source: str
    title: str
    heading: str
    page: int | None
    line: int
    start: int
    end: int
    """Character span in the document's extracted text."""
    score: float
    """Relevance, fused or by the reranker, 0 to 1; comparable only within one query."""
    text: str
    cosine: float | None = None
    keyword: float | None = None
    """BM25; None when the keyword side did not find it."""
    coverage: float = 0.0
    """Share of the query's words that are in the passage or its title, each weighed by its rarity."""
    page_label: str = ""
    """As in `Passage`."""

    def passage(self, n: int) -> Passage:
        """This hit as the passage number `n` of a prompt."""
        return Passage(
            n, self.source, self.title, self.heading, self.page, self.line, self.start, self.end, self.score, self.text,
            self.page_label,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found, best first."""

    hits: tuple[Hit, ...]
    mode: Mode
    """How it was really done."""
    seconds: float
    reranked: bool = False
    """A reranker put the hits in order."""
    note: str = ""
    """Why it was not done as asked; empty when it was."""
    sentence_cosine: float | None = None
    """The largest cosine of a single sentence, where sentences were compared (see `rag.nearness`)."""

    @property
    def best_cosine(self) -> float | None:
        """The largest cosine among the hits and the sentences compared; None without an embedder."""
        known = [h.cosine for h in self.hits if h.cosine is not None]
        if known and self.sentence_cosine is not None:
            known.append(self.sentence_cosine)
        return max(known, default=None)

    @property
    def best_coverage(self) -> float:
        """The largest coverage among the hits."""
        return max((h.coverage for h in self.hits), default=0.0)


def search(
    library: Library,
    query: str,
    embedder: Embedder | None = None,
    k: int = 8,
    mode: Mode = "hybrid",
    *,
    filters: Filters | None = None,
    per_document: int | None = None,
    cache_folder: Path | None = None,
    reranker: Reranker | None = None,
) -> SearchResult:
    """Find passages.

    Args:
        library: Where.
        query: Words, or a question. What stands in quotation marks must occur.
        embedder: Of the library's vectors; None searches by keywords alone.
        k: Passages at most.
        mode: What is wanted; `SearchResult.mode` says what was possible.
        filters: Which documents may be found.
        per_document: Passages of one document at most; None means three fifths of `k`, and no limit in libraries of
            fewer than 20 documents.
        cache_folder: For vectors that are too many for the memory budget (see `rag.vectors`).
        reranker: Reads the first `RERANKED` passages with the question and orders them.
    """
    started = time.perf_counter()
    terms = query_terms(query)
    possible, note = _possible(library, embedder, mode)
    documents = _documents(library, filters)
    keyword: dict[int, float] = {}
    cosine: dict[int, float] = {}
    if possible != "vector" or terms.phrases:
        keyword = _keyword(library, terms.match(), documents, POOL)
    if possible != "keyword" and embedder is not None:
        cosine = _cosines(library, query, embedder, terms, documents, keyword, cache_folder)
    if possible == "hybrid":
        scores = fuse(keyword, cosine, by_rank=len(keyword) < FEW or len(cosine) < FEW)
    elif possible == "vector":
        scores = {i: max(0.0, c) for i, c in cosine.items() if not math.isnan(c)}
    else:
        top = max(keyword.values(), default=1.0)
        scores = {i: s / top for i, s in keyword.items()}
    ranked = sorted(scores, key=lambda i: (-scores[i], i))
    n = k if reranker is None else max(k, RERANKED)
    if per_document is None:
        few = len(documents) if documents is not None else _count_documents(library)
        per_document = n if few < _SMALL_LIBRARY else max(1, math.ceil(0.6 * n))
    picker = _Picker(library, keyword, cosine, scores)
    hits = picker.pick(ranked, n, per_document)
    if possible == "hybrid" or reranker is not None:
        holders = _rare_holders(library, terms, keyword)
        hits = picker.keep(holders, hits, n)
        if reranker is not None:
            hits = picker.keep(holders, reranked(query, hits, reranker), k)
    hits = with_coverage(library, terms, hits)
    return SearchResult(tuple(hits), possible, time.perf_counter() - started, reranker is not None, note)


def _possible(library: Library, embedder: Embedder | None, mode: Mode) -> tuple[Mode, str]:
    if mode == "keyword":
        return "keyword", ""
    if embedder is None:
        return "keyword", "No embedding model is loaded: keywords alone were searched."
    active = library.active_model
    if active is None:
        return "keyword", "The library has no vectors yet: keywords alone were searched."
    if active.fingerprint != embedder.fingerprint:
        return (
            "keyword",
            f"The library's vectors are of {active.name or 'another model'}: keywords alone were searched.",
        )
    return mode, ""


def _documents(library: Library, filters: Filters | None) -> list[int] | None:
    if filters is None or filters == Filters():
        return None
    return [d.id for d in library.documents() if filters.lets_through(d)]


def _count_documents(library: Library) -> int:
    sql = f"SELECT count(*) FROM (SELECT DISTINCT document_id FROM chunks LIMIT {_SMALL_LIBRARY})"
    return int(library.query(sql)[0][0])


def _keyword(library: Library, match: str, documents: list[int] | None, limit: int) -> dict[int, float]:
    """BM25 by chunk id of the best `limit` chunks."""
    if not match:
        return {}
    inside = "" if documents is None else _INSIDE
    rows = library.query(
        f"SELECT rowid, -bm25(chunks_fts, {_TITLE_WEIGHT}, 1.0) AS s FROM chunks_fts"
        f" WHERE chunks_fts MATCH ? {inside} ORDER BY s DESC, rowid LIMIT ?",
        (match, *([] if documents is None else [json.dumps(documents)]), limit),
    )
    return {row[0]: row[1] for row in rows}


_INSIDE = "AND rowid IN (SELECT id FROM chunks WHERE document_id IN (SELECT value FROM json_each(?)))"


def _cosines(
    library: Library,
    query: str,
    embedder: Embedder,
    terms: QueryTerms,
    documents: list[int] | None,
    keyword: dict[int, float],
    cache_folder: Path | None,
) -> dict[int, float]:
    """Cosines of the nearest chunks, and the true cosine of each chunk that the keyword side found."""
    import numpy as np

    active = library.active_model
    assert active is not None
    vectors = _cache(library, cache_folder).get(library, active.id, active.dim)
    vector = embedder.embed([_shortened(query, embedder)])[0]
    allowed = _allowed(library, terms, documents)
    nearest = vectors.nearest(vector, POOL, allowed)
    found = dict(zip(nearest.ids.tolist(), nearest.cosines.tolist(), strict=True))
    missing = [i for i in keyword if i not in found]
    known = vectors.cosines(vector, np.array(missing, np.int64))
    return {**found, **dict(zip(missing, known.tolist(), strict=True))}


def _allowed(library: Library, terms: QueryTerms, documents: list[int] | None) -> NDArray[np.int64] | None:
    """Chunks of the allowed documents that hold every quoted phrase; None when there is no such limit."""
    import numpy as np

    if terms.phrases:
        must = QueryTerms((), terms.phrases).match()
        inside = "" if documents is None else _INSIDE
        sql = f"SELECT rowid FROM chunks_fts WHERE chunks_fts MATCH ? {inside}"
        rows = library.query(sql, (must, *([] if documents is None else [json.dumps(documents)])))
    elif documents is not None:
        sql = "SELECT id FROM chunks WHERE document_id IN (SELECT value FROM json_each(?))"
        rows = library.query(sql, (json.dumps(documents),))
    else:
        return None
    return np.array([row[0] for row in rows], np.int64)


def _shortened(query: str, embedder: Embedder) -> str:
    spans = embedder.token_spans(query)
    room = max(1, embedder.max_tokens - 4)
    return query if len(spans) <= room else query[: spans[room - 1][1]]


_caches: WeakKeyDictionary[Library, VectorCache] = WeakKeyDictionary()


def _cache(library: Library, folder: Path | None) -> VectorCache:
    """The vectors in memory belong to an open library and go with it."""
    from localllm.rag.vectors import VectorCache

    cache = _caches.get(library)
    if cache is None:
        cache = _caches[library] = VectorCache(cache_folder=folder)
    return cache


@dataclass
class _Picker:
    """Walks down a ranking and takes what is new."""

    library: Library
    keyword: dict[int, float]
    cosine: dict[int, float]
    scores: dict[int, float]
    _texts: dict[bytes, TextMap] = field(default_factory=dict)

    def pick(self, ranked: Sequence[int], k: int, per_document: int) -> list[Hit]:
        hits: list[Hit] = []
        seen: list[frozenset[tuple[str, ...]]] = []
        hashes: set[bytes] = set()
        count: dict[int, int] = {}
        for a in range(0, len(ranked), 4 * k):
            part = ranked[a : a + 4 * k]
            chunks = self.library.chunks(part)
            documents = self.library.documents_by_id({c.document_id for c in chunks.values()})
            for i in part:
                chunk = chunks.get(i)
                if chunk is None or chunk.sha256 in hashes or count.get(chunk.document_id, 0) >= per_document:
                    continue
                hit = self.hit(chunk, documents[chunk.document_id])
                runs = _runs(hit.text)
                if any(_jaccard(runs, other) > _NEAR_DUPLICATE for other in seen):
                    continue
                hits.append(hit)
                seen.append(runs)
                hashes.add(chunk.sha256)
                count[chunk.document_id] = count.get(chunk.document_id, 0) + 1
                if len(hits) == k:
                    return hits
        return hits

    def keep(self, holders: set[int], hits: list[Hit], k: int) -> list[Hit]:
        """The first `k`; the best of `holders` has the last place where none of them is among these."""
        first = hits[:k]
        if not holders or any(h.chunk_id in holders for h in first):
            return first
        kept = next((h for h in hits if h.chunk_id in holders), None)
        if kept is None:
            chunk = self.library.chunks([best := max(holders, key=lambda i: (self.keyword[i], -i))])[best]
            kept = self.hit(chunk, self.library.documents_by_id([chunk.document_id])[chunk.document_id])
        runs = _runs(kept.text)
        if any(_jaccard(runs, _runs(h.text)) > _NEAR_DUPLICATE for h in first):
            return first
        return [*first[: k - 1], kept]

    def hit(self, chunk: Chunk, document: Document) -> Hit:
        assert document.content is not None
        text = self._texts.get(document.content)
        if text is None:
            text = self._texts[document.content] = self.library.text(document.content)
        cosine = self.cosine.get(chunk.id, math.nan)
        return Hit(
            chunk.id, chunk.document_id, chunk.ord, document.source, document.title or Path(document.source).name,
            chunk.heading, chunk.page, chunk.line, chunk.start, chunk.end, self.scores.get(chunk.id, 0.0),
            text.text[chunk.start : chunk.end], None if math.isnan(cosine) else cosine, self.keyword.get(chunk.id),
            page_label=text.page_label(chunk.start),
        )  # fmt: skip


def _rare_holders(library: Library, terms: QueryTerms, keyword: dict[int, float]) -> set[int]:
    """Chunks that the keyword side found and that hold all rare words of the query."""
    limit = max(5, library.count_chunks() // 200)
    holders: set[int] | None = None
    for term in terms.terms:
        rows = library.query(
            "SELECT rowid FROM chunks_fts WHERE chunks_fts MATCH ? LIMIT ?", (QueryTerms((term,)).match(), limit + 1)
        )
        if 0 < len(rows) <= limit:
            found = {row[0] for row in rows}
            holders = found if holders is None else holders & found
    return (holders or set()) & keyword.keys()


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    """Five-word runs, for near-duplicates; short texts are one run."""
    words = text.lower().split()
    return frozenset(tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4)))


def _jaccard(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> float:
    union = len(a | b)
    return len(a & b) / union if union else 0.0
