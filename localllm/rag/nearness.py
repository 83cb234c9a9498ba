"""How near single sentences are to a question.

A chunk that joins several short notes lies far from a question on one of them, however well one sentence answers it:
its vector is the mean of them all. So sentences are compared one by one where the whole chunk does not convince.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from localllm.engine.protocol import Embedder
from localllm.rag.search import SearchResult
from localllm.rag.sentences import embeddable, sentence_spans

MAX_SENTENCES = 32
"""Sentences that are compared by meaning for one question; more would be felt as waiting."""


class Nearness:
    """Cosines of sentences with one question; no sentence is embedded twice.

    Args:
        question: As the user asked it.
        embedder: Compares.
    """

    def __init__(self, question: str, embedder: Embedder) -> None:
        self._question = question
        self._embedder = embedder
        self._known: dict[str, float] = {}

    def cosines(self, sentences: Sequence[str]) -> list[float]:
        """Cosine of each sentence, -1 to 1; what is longer than the embedder reads is cut."""
        new = list(dict.fromkeys(s for s in sentences if s not in self._known))
        if new:
            vectors = self._embedder.embed([embeddable(text, self._embedder) for text in (self._question, *new)])
            self._known |= zip(new, (vectors[1:] @ vectors[0]).tolist(), strict=True)
        return [self._known[s] for s in sentences]

    def of(self, found: SearchResult) -> SearchResult:
        """The search result with the cosine of the nearest sentence among the first passages found."""
        sentences = [hit.text[a:b] for hit in found.hits for a, b in sentence_spans(hit.text)]
        nearest = max(self.cosines(sentences[:MAX_SENTENCES]), default=None)
        return replace(found, sentence_cosine=nearest)
