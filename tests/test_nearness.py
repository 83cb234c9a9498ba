"""Single sentences are compared with the question where the whole passage does not convince."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.rag.answer import ground
from localllm.rag.nearness import Nearness
from localllm.rag.search import search
from localllm.rag.thresholds import keep_thresholds
from tests.fakes import FakeEmbedder
from tests.libraries import make_library

NOTES = {
    f"{name}.txt": f"{text} " + " ".join(f"Filler {name} number {i} says nothing of interest." for i in range(12))
    for name, text in (("a", "Replace the seal every 400 hours."), ("b", "The office closes at noon on Fridays."))
}


class CountingEmbedder(FakeEmbedder):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.seen += texts
        return super().embed(texts)


def test_no_sentence_is_embedded_twice() -> None:
    embedder = CountingEmbedder()
    nearness = Nearness("a question", embedder)
    first = nearness.cosines(["one", "two", "one"])
    assert nearness.cosines(["two", "one"]) == [first[1], first[0]]
    assert sorted(embedder.seen) == ["a question", "one", "two"]
    assert nearness.cosines(["a question"]) == [pytest.approx(1.0)]


def test_the_nearest_sentence_counts_where_it_is_nearer_than_its_passage(tmp_path: Path) -> None:
    library = make_library(tmp_path / "l.db", NOTES, FakeEmbedder())
    question = "Replace the seal every 400 hours."
    found = search(library, question, FakeEmbedder(), 2)
    assert found.best_cosine is not None
    near = Nearness(question, FakeEmbedder()).of(found)
    assert near.best_cosine == pytest.approx(1.0)
    assert found.best_cosine < 0.99


def test_sentences_are_embedded_only_for_a_question_that_would_be_turned_away(tmp_path: Path) -> None:
    library = make_library(tmp_path / "l.db", NOTES, FakeEmbedder())
    question = "Replace the seal every 400 hours."
    for threshold, refused, compared in ((0.0, False, False), (0.99, False, True), (3.0, True, True)):
        keep_thresholds(library, relevance=threshold)
        embedder = CountingEmbedder()
        found = ground(library, question, embedder=embedder, count_tokens=lambda t: len(t.split()), budget=30)
        assert bool(found.refusal) is refused
        assert ("Filler a number 3 says nothing of interest." in embedder.seen) is compared
