"""Chunks are exact spans of the text, no longer than the embedder reads, and cut where the document is."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.rag.chunks import TARGET_WORDS, Chunker
from localllm.rag.readers import code
from localllm.rag.rows import Heading, Layout, TextMap, embedded_text
from tests.fakes import FakeEmbedder

SENTENCE = "The pump is checked every four hundred hours of operation. "
texts = st.text(alphabet=st.sampled_from(list("abc XYZ.!?\n\n\t。é漢字ไทย-\"'")), max_size=2500)


@given(texts, st.booleans(), st.sampled_from(["prose", "code", "table"]))
def test_every_chunk_is_an_exact_span_and_all_words_are_covered(text: str, tokens: bool, kind: str) -> None:
    """Spans are inside the text, ascending, without white space at either end, and no word is left out."""
    chunks = Chunker(FakeEmbedder() if tokens else None).cut(TextMap(text, Layout(kind=kind)))  # type: ignore[arg-type]
    covered = set()
    for before, after in itertools.pairwise(chunks):
        assert before.start < after.start
    for chunk in chunks:
        piece = text[chunk.start : chunk.end]
        assert piece == piece.strip()
        assert piece
        covered |= set(range(chunk.start, chunk.end))
    assert all(i in covered for i, c in enumerate(text) if not c.isspace())


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(16, 256))
def test_no_chunk_is_longer_than_the_embedder_reads(lengths: list[int], limit: int) -> None:
    embedder = FakeEmbedder()
    embedder.max_tokens = limit
    heading = Heading(0, 12, 1, "A heading")
    text = "A heading \n\n" + "\n\n".join("word " * n for n in lengths)
    mapped = TextMap(text, Layout(headings=(heading,)))
    for chunk in Chunker(embedder).cut(mapped):
        whole = embedded_text(chunk.heading, text[chunk.start : chunk.end])
        assert len(embedder.token_spans(whole)) + 2 <= limit


def test_prose_overlaps_by_one_sentence() -> None:
    text = SENTENCE * 60
    chunks = Chunker().cut(TextMap(text, Layout()))
    assert len(chunks) > 3
    for before, after in itertools.pairwise(chunks):
        shared = text[after.start : before.end]
        assert shared.strip() == SENTENCE.strip()
        assert before.n_tokens <= TARGET_WORDS


def test_code_does_not_overlap_and_is_cut_between_lines() -> None:
    text = "".join(f"value_{i} = compute({i}, {i + 1}, {i + 2})\n" for i in range(120))
    chunks = Chunker().cut(TextMap(text, Layout(kind="code")))
    assert len(chunks) > 1
    for before, after in itertools.pairwise(chunks):
        assert before.end < after.start
        assert text[after.start - 1] == "\n"


def test_code_is_cut_at_its_definitions_and_a_chunk_names_the_one_it_is_of(tmp_path: Path) -> None:
    body = "".join(f"    total = total + measure({i})\n" for i in range(40))
    path = tmp_path / "pump.py"
    path.write_text("import math\n\n\n" + "".join(f"def part_{i}(total):\n{body}\n\n" for i in range(4)))
    extract = code.read(path)
    chunks = Chunker().cut(TextMap(extract.text, extract.layout))
    for i in range(4):
        assert sum(extract.text[c.start : c.end].count(f"def part_{i}(") for c in chunks) == 1
        first = next(c for c in chunks if f"def part_{i}(" in extract.text[c.start : c.end])
        assert extract.text[first.start : first.end].startswith(f"def part_{i}(")
        assert sum(c.heading == f"def part_{i}" for c in chunks) >= 2


def document(*sections: tuple[int, str, int]) -> TextMap:
    text, headings = "", []
    for level, title, sentences in sections:
        line = f"{'#' * level} {title}\n"
        headings.append(Heading(len(text), len(text) + len(line), level, title))
        text += line + SENTENCE * sentences + "\n"
    return TextMap(text, Layout(headings=tuple(headings)))


def test_a_chunk_knows_the_path_of_its_headings() -> None:
    mapped = document((1, "Pump", 30), (2, "Service", 30))
    headings = [c.heading for c in Chunker().cut(mapped)]
    assert headings[0] == "Pump"
    assert headings[-1] == "Pump › Service"


def test_small_sections_are_joined_under_their_common_heading() -> None:
    mapped = document((1, "Pump", 1), (2, "Seal", 1), (2, "Belt", 1), (1, "Fan", 1))
    chunks = Chunker().cut(mapped)
    assert [c.heading for c in chunks] == ["Pump", "Fan"]
    assert "Belt" in mapped.text[chunks[0].start : chunks[0].end]


def test_a_break_always_begins_a_new_chunk() -> None:
    text = "First slide.\nSecond slide.\n"
    chunks = Chunker().cut(TextMap(text, Layout(breaks=(13,))))
    assert [text[c.start : c.end] for c in chunks] == ["First slide.", "Second slide."]


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_nothing_gives_no_chunk(text: str) -> None:
    assert Chunker().cut(TextMap(text, Layout())) == []


def test_abbreviations_do_not_end_a_sentence() -> None:
    text = ("Dr. Smith, e.g. the surgeon, came. " * 30).strip()
    chunks = Chunker().cut(TextMap(text, Layout()))
    assert all(text[c.start : c.end].startswith("Dr. Smith") for c in chunks)
