"""Reranking: what a search found, put into a better order by a model that reads question and passage together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from localllm.rag.search import Hit

RERANKED = 20
"""Passages that the model reads for one question; each costs as much as reading a short prompt."""


class Reranker(Protocol):
    """Reads a question and a passage together."""

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Relevance of each text, 0 to 1."""
        ...


def reranked(query: str, hits: Sequence[Hit], reranker: Reranker) -> list[Hit]:
    """The hits in the reranker's order, each with its score.

    A passage is read under its title and heading, as it is embedded: many say what they are about there alone.
    """
    texts = ["\n".join(x for x in (hit.heading or hit.title, hit.text) if x) for hit in hits]
    scored = [replace(h, score=s) for h, s in zip(hits, reranker.scores(query, texts), strict=True)]
    return sorted(scored, key=lambda hit: -hit.score)
