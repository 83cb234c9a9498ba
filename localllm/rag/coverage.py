"""Coverage: the share of a question's words that a passage has, each weighed by its rarity in the library."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from localllm.rag.segment import QueryTerms
from localllm.rag.stem import content_stems

if TYPE_CHECKING:
    from localllm.rag.index import Library
    from localllm.rag.search import Hit

_COUNT_UP_TO = 20_000
"""A word in more chunks than this is not counted further."""


def with_coverage(library: Library, terms: QueryTerms, hits: Iterable[Hit]) -> list[Hit]:
    """The hits, each with its coverage."""
    weights = term_weights(library, terms)
    total = sum(weights.values())
    found = []
    for hit in hits:
        here = set(content_stems(f"{hit.title} {hit.heading} {hit.text}"))
        covered = sum(w for stems, w in weights.items() if here.issuperset(stems))
        found.append(replace(hit, coverage=covered / total if total else 0.0))
    return found


def term_weights(library: Library, terms: QueryTerms) -> dict[tuple[str, ...], float]:
    """Inverse document frequency, at least 1, of the query's single words and phrases, by their stems."""
    n = max(1, library.count_chunks())
    weights: dict[tuple[str, ...], float] = {}
    for term in (*terms.phrases, *terms.terms):
        stems = tuple(content_stems(term))
        if not stems or stems in weights or (len(stems) > 1 and term in terms.terms):
            continue
        sql = "SELECT count(*) FROM (SELECT 1 FROM chunks_fts WHERE chunks_fts MATCH ? LIMIT ?)"
        count = library.query(sql, (QueryTerms((term,)).match(), _COUNT_UP_TO))[0][0]
        weights[stems] = 1 + math.log((n + 1) / (min(count, n) + 1))
    return weights
