"""Vectors: a resumable queue, keyed by content; another embedder's are made beside those in use."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.rag.embedding import reembed
from localllm.rag.index import Library
from localllm.rag.progress import Progress, Summary
from localllm.rag.reader_process import ReaderProcess
from localllm.rag.sync import sync
from tests.fakes import FakeEmbedder


class CountingEmbedder(FakeEmbedder):
    """Counts texts, and may fail at one of them."""

    def __init__(self, fingerprint: str = "fake-letters-1", fail_at: int = -1) -> None:
        self.fingerprint = fingerprint
        self.texts: list[str] = []
        self.fail_at = fail_at

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if 0 <= self.fail_at <= len(self.texts):
            raise RuntimeError("the embedder died")
        self.texts += texts
        return super().embed(texts)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(12):
        text = " ".join(f"sentence {j} of file {i}." for j in range(120))
        (folder / f"{i}.md").write_text(f"# File {i}\n{text}\n")
    made = Library(tmp_path / "l.db", create=True)
    made.add_root(folder, "folder")
    return made


def run(library: Library, embedder: FakeEmbedder | None) -> Summary:
    with ReaderProcess() as reader:
        *_, summary = sync(library, embedder, reader=reader)
    assert isinstance(summary, Summary)
    return summary


def vectors(library: Library) -> dict[bytes, bytes]:
    active = library.active_model
    assert active is not None
    rows = library.query(
        "SELECT c.sha256, e.vec FROM chunks c JOIN embeddings e ON e.model_id = ? AND e.chunk_sha256 = c.sha256",
        (active.id,),
    )
    return {row[0]: row[1] for row in rows}


def test_every_chunk_gets_the_vector_of_its_own_text(library: Library) -> None:
    embedder = CountingEmbedder()
    summary = run(library, embedder)
    assert summary.embedded == len(embedder.texts) == library.count_chunks() > 12
    assert summary.not_embedded == 0
    model = library.active_model
    assert model is not None
    stored = vectors(library)
    for document in library.documents():
        assert document.content is not None
        text = library.text(document.content).text
        for chunk in library.chunks_of(document.id):
            expected = embedder.embed([f"{chunk.heading}\n{text[chunk.start : chunk.end]}"])[0].astype("<f2")
            assert stored[chunk.sha256] == expected.tobytes()


def test_an_embedder_that_dies_leaves_a_queue_that_the_next_sync_finishes(library: Library) -> None:
    with pytest.raises(RuntimeError):
        run(library, CountingEmbedder(fail_at=10))
    done = len(vectors(library))
    assert 0 < done < library.count_chunks()
    again = CountingEmbedder()
    assert run(library, again).embedded == len(again.texts) == library.count_chunks() - done
    assert library.verify() == []


def test_cancel_between_batches_keeps_what_was_made(library: Library) -> None:
    cancel, embedder, made = threading.Event(), CountingEmbedder(), 0
    with ReaderProcess() as reader:
        for event in sync(library, embedder, cancel=cancel, reader=reader):
            if isinstance(event, Progress) and event.stage == "embed":
                made = event.done
                cancel.set()
    assert isinstance(event, Summary)
    assert event.cancelled
    assert event.not_embedded == library.count_chunks() - made
    assert len(vectors(library)) == made


def test_a_library_of_keywords_is_cut_again_from_kept_texts_when_an_embedder_comes(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(library, None).not_embedded == library.count_chunks() > 0
    assert library.models() == []
    monkeypatch.setattr(ReaderProcess, "read", lambda *_: pytest.fail("a file was read"))
    summary = run(library, CountingEmbedder())
    assert (summary.cut, summary.not_embedded, summary.changed) == (12, 0, 0)
    assert library.active_model is not None
    assert library.verify() == []


def test_without_an_embedder_nothing_that_has_vectors_is_cut_again(library: Library) -> None:
    run(library, CountingEmbedder())
    before = vectors(library)
    assert run(library, None).cut == 0
    assert vectors(library) == before


def test_another_embedder_leaves_vectors_alone_and_says_what_to_do(library: Library) -> None:
    run(library, CountingEmbedder())
    before = vectors(library)
    other = CountingEmbedder("another")
    summary = run(library, other)
    assert other.texts == []
    assert "reembed" in summary.notes[0]
    assert vectors(library) == before


def test_reembed_switches_chunks_and_vectors_at_once(library: Library) -> None:
    run(library, CountingEmbedder())
    old_model, before = library.active_model, vectors(library)
    other = CountingEmbedder("another")
    other.max_tokens = 64  # other chunks as well
    with Library(library.path) as reader:
        for event in reembed(library, other):
            if isinstance(event, Progress):
                assert reader.active_model == old_model
                assert vectors(reader) == before
        assert reader.active_model is not None
        assert reader.active_model.fingerprint == "another"
    assert isinstance(event, Summary)
    assert len(vectors(library)) == library.count_chunks() > len(before)
    assert library.query("SELECT count(*) FROM models")[0][0] == 1
    assert library.verify() == []
    assert run(library, other).embedded == 0


def test_a_cancelled_reembed_goes_on_where_it_stopped(library: Library) -> None:
    run(library, CountingEmbedder())
    before, cancel, other = vectors(library), threading.Event(), CountingEmbedder("another")
    events = []
    for event in reembed(library, other, cancel=cancel):
        events.append(event)
        if len(events) == 6:
            cancel.set()
    assert isinstance(events[-1], Summary)
    assert events[-1].cancelled
    assert vectors(library) == before
    first = len(other.texts)
    assert first > 0
    list(reembed(library, other))
    assert len(other.texts) == library.count_chunks()
    assert len(vectors(library)) == library.count_chunks()


def test_going_back_to_kept_vectors_costs_nothing(library: Library) -> None:
    run(library, CountingEmbedder())
    before = vectors(library)
    list(reembed(library, CountingEmbedder("another"), keep_old=True))
    back = CountingEmbedder()
    list(reembed(library, back))
    assert back.texts == []
    assert vectors(library) == before


def test_a_deleted_file_that_comes_back_costs_no_embedding(library: Library) -> None:
    run(library, CountingEmbedder())
    path = library.roots()[0].path / "3.md"
    text = path.read_text()
    path.unlink()
    run(library, CountingEmbedder())
    path.write_text(text)
    again = CountingEmbedder()
    assert run(library, again).added == 1
    assert again.texts == []


def test_vectors_of_chunks_that_are_gone_do_not_pile_up(library: Library) -> None:
    folder = library.roots()[0].path
    for i in range(3):
        (folder / "big.md").write_text("\n\n".join(f"# Part {i} {j}\nword {j} of {i}." for j in range(900)))
        run(library, CountingEmbedder())
    stored = library.query("SELECT count(*) FROM embeddings")[0][0]
    assert stored <= 2 * library.count_chunks() + 500
    assert library.verify() == []


def test_rubbish_from_an_embedder_is_not_stored(library: Library) -> None:
    class Broken(CountingEmbedder):
        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return np.full((len(texts), self.dim), np.nan, np.float32)

    with pytest.raises(ValueError, match="none"):
        run(library, Broken())
    assert vectors(library) == {}
