"""Search: both sides, their fusion, and what it promises beyond the ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from localllm.rag.fusion import fuse, stretch
from localllm.rag.search import Filters, search
from tests.fakes import FakeEmbedder
from tests.libraries import HANDBOOK, make_library


class OneDirection(FakeEmbedder):
    """Takes the text about a fox for the farthest from every query, whatever they say."""

    fingerprint = "fake-direction"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            angle = math.pi / 2 if "brown fox" in text else (len(text) % 7) / 20
            row[0], row[1] = math.cos(angle), math.sin(angle)
        return rows


def names(result: object) -> list[str]:
    return [Path(h.source).name for h in result.hits]  # type: ignore[attr-defined]


def test_without_an_embedder_keywords_are_searched_and_the_result_says_so(tmp_path: Path) -> None:
    library = make_library(tmp_path / "l.db", HANDBOOK)
    result = search(library, "when is the seal replaced")
    assert names(result)[0] == "pump.md"
    assert result.mode == "keyword"
    assert "keywords alone" in result.note
    assert search(library, "when is the seal replaced", mode="keyword").note == ""


def test_vectors_of_another_embedder_are_never_mixed_in(tmp_path: Path) -> None:
    library = make_library(tmp_path / "l.db", HANDBOOK, FakeEmbedder())
    assert search(library, "seal", FakeEmbedder()).mode == "hybrid"
    result = search(library, "seal", OneDirection())
    assert result.mode == "keyword"
    assert "vectors are of fake" in result.note


@pytest.mark.parametrize("mode", ["hybrid", "keyword", "vector"])
def test_every_hit_is_the_text_at_its_span(tmp_path: Path, mode: str) -> None:
    library = make_library(tmp_path / "l.db", HANDBOOK, FakeEmbedder())
    result = search(library, "bridge opened pump seal office", FakeEmbedder(), mode=mode)  # type: ignore[arg-type]
    assert result.mode == mode
    assert len(result.hits) >= 4
    for hit in result.hits:
        assert HANDBOOK[Path(hit.source).name][hit.start : hit.end] == hit.text
        assert 0 <= hit.score <= 1
    scores = [h.score for h in result.hits]
    assert scores == sorted(scores, reverse=True)


def test_a_passage_with_all_rare_words_stays_whatever_the_vectors_say(tmp_path: Path) -> None:
    files = {f"{i:02}.txt": f"Animals number {i} live in the forest and eat leaves of plants.\n" * 3 for i in range(60)}
    files["fox.txt"] = "The quick brown fox is here among other things, far from the rest of them.\n"
    embedder = OneDirection()
    library = make_library(tmp_path / "l.db", files, embedder)
    assert "fox.txt" not in names(search(library, "forest animals plants fox", embedder, 5, "vector"))
    for k in (1, 3, 5):
        assert "fox.txt" in names(search(library, "forest animals plants fox", embedder, k))


def test_quoted_phrases_bind_both_sides(tmp_path: Path) -> None:
    library = make_library(tmp_path / "l.db", HANDBOOK, FakeEmbedder())
    for mode in ("hybrid", "keyword", "vector"):
        result = search(library, '"opened in 1932" pump', FakeEmbedder(), mode=mode)
        assert set(names(result)) == {"bridge.md"}
    assert names(search(library, '"in opened 1932"', FakeEmbedder())) == []


def test_filters_by_path_type_and_date(tmp_path: Path) -> None:
    library = make_library(tmp_path / "l.db", HANDBOOK, FakeEmbedder())

    def found(filters: Filters) -> set[str]:
        return set(names(search(library, "pump office bridge path", FakeEmbedder(), filters=filters)))

    assert found(Filters(path="*.md")) == {"pump.md", "bridge.md"}
    assert found(Filters(path="docs/holi*")) == {"holidays.txt"}
    assert found(Filters(type="code")) == found(Filters(type=".py")) == {"code.py"}
    assert found(Filters(after=3)) == {"bridge.md", "code.py"}
    assert found(Filters(before=1.5)) == {"pump.md"}
    assert found(Filters(path="nothing")) == set()


def test_the_same_passage_is_there_once(tmp_path: Path) -> None:
    text = "The seal of the pump is replaced every four hundred hours of operation by the staff of the plant."
    files = {
        "a.txt": text,
        "b.txt": text,
        "c.txt": text + " Indeed.",
        "d.txt": "A seal lives in the sea and eats fish.",
    }
    library = make_library(tmp_path / "l.db", files)
    assert len(search(library, "seal").hits) == 2


def test_one_document_can_not_take_every_place(tmp_path: Path) -> None:
    long = "\n\n".join(f"Seal number {i}. " + f"Word{i} other{i} thing{i} " * 48 for i in range(12))
    files = {"long.txt": long} | {f"{i:02}.txt": f"A short note {i} about one seal, item {i * 7}." for i in range(30)}
    library = make_library(tmp_path / "l.db", files)
    assert len(library.chunks_of(1)) >= 12
    hits = search(library, "seal number", k=5).hits
    assert sum(h.document_id == 1 for h in hits) <= 3
    assert len({h.document_id for h in search(library, "seal number", k=5, per_document=1).hits}) == 5


@pytest.mark.parametrize("query", ["", "   ", "???", '""', "the", "NEAR(a b)", "a AND OR NOT", "x" * 5000, "\0"])
def test_no_query_breaks_the_search(tmp_path: Path, query: str) -> None:
    library = make_library(tmp_path / "l.db", HANDBOOK, FakeEmbedder())
    for mode in ("hybrid", "keyword", "vector"):
        search(library, query, FakeEmbedder(), mode=mode)


def test_coverage_is_the_share_of_the_questions_words(tmp_path: Path) -> None:
    library = make_library(tmp_path / "l.db", HANDBOOK)
    assert search(library, "seal operation").best_coverage == pytest.approx(1.0)
    assert 0 < search(library, "seal zebra").best_coverage < 1
    assert search(library, "zebra").best_coverage == 0


scores = st.dictionaries(st.integers(0, 30), st.floats(-5, 5), max_size=20)


@given(scores, scores, st.booleans())
def test_fused_scores_lie_between_0_and_1(a: dict[int, float], b: dict[int, float], by_rank: bool) -> None:
    fused = fuse(a, b, by_rank=by_rank)
    assert fused.keys() == a.keys() | b.keys()
    assert all(0 <= s <= 1 for s in fused.values())


@given(scores)
def test_first_on_both_sides_is_first(a: dict[int, float]) -> None:
    if a:
        best = max(a.values())
        fused = fuse(a, a, by_rank=False)
        assert a[max(fused, key=lambda i: fused[i])] == pytest.approx(best) or len(set(fused.values())) == 1


def test_unknown_cosines_count_as_the_lowest() -> None:
    assert stretch({1: 0.5, 2: math.nan, 3: 0.1}) == {1: 1.0, 2: 0.0, 3: 0.0}
    assert stretch({1: 0.5}) == {1: 1.0}


def test_letters_are_found_however_they_are_composed_and_offsets_stay_those_of_the_file(tmp_path: Path) -> None:
    decomposed = "Das Cafe\u0301 am Fluss o\u0308ffnet um acht. Die Kasse ist links."
    library = make_library(tmp_path / "l.db", {"cafe.txt": decomposed, "other.txt": "Der Fluss ist lang."})
    for query in ("café öffnet", "cafe\u0301 o\u0308ffnet"):
        (hit,) = search(library, query, k=1).hits
        assert hit.source.endswith("cafe.txt")
        assert decomposed[hit.start : hit.end] == hit.text  # not one character was composed
