"""A library goes on with the embedder that made its vectors, whatever newer one comes beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from localllm.cli.main import main
from localllm.engine.embed import embedder_fingerprint
from localllm.models import shelf
from localllm.open import open_embedder
from localllm.rag.answer import LibraryRetriever
from localllm.rag.index import Library
from localllm.settings import Paths, Settings, find_paths
from tests.fakes import FakeEmbedder, FakeEngine
from tests.gguf_files import gguf_bytes, llama_metadata, llama_tensors
from tests.libraries import HANDBOOK, make_library

FILLER = {f"note{i}.txt": f"Note number {i} is about the weather of day {i}.\n" for i in range(30)}


def write_embedder(path: Path, title: str) -> str:
    """A file that says it is an embedder; returns its fingerprint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = llama_metadata(general__name=title, tokenizer__chat_template=None)
    metadata = {key.replace("llama.", "bert."): value for key, value in metadata.items()}
    metadata |= {"general.architecture": "bert", "bert.pooling_type": 1, "localllm.embedding.max_tokens": 256}
    path.write_bytes(gguf_bytes(metadata, llama_tensors()))
    return embedder_fingerprint(path, 256)


def mark_made_by(library: Library, fingerprint: str, name: str) -> None:
    library.activate(library.model(fingerprint, name=name, dim=64, max_tokens=256).id)


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(shelf, "own_folders", lambda paths: (paths.models,))  # not those of this checkout
    return find_paths()


def test_the_file_that_made_the_vectors_is_opened_while_it_is_here(paths: Paths, tmp_path: Path) -> None:
    old = write_embedder(paths.models / "old.gguf", "Old")
    write_embedder(paths.models / "all-MiniLM-L6-v2.BF16.gguf", "New")
    library = make_library(tmp_path / "l.db", HANDBOOK)
    new = open_embedder(Settings(), paths, library)
    assert new is not None and new.name == "all-MiniLM-L6-v2.BF16"  # no vectors yet: what is the default now
    mark_made_by(library, old, "old")
    kept = open_embedder(Settings(), paths, library)
    assert kept is not None and (kept.name, kept.fingerprint) == ("old", old)
    chosen = open_embedder(Settings(embedder="all-MiniLM"), paths, library)
    assert chosen is not None and chosen.name == "old"
    (paths.models / "old.gguf").unlink()
    left = open_embedder(Settings(), paths, library)
    assert left is not None and left.fingerprint == new.fingerprint


class Closable(FakeEmbedder):
    closed = False

    def close(self) -> None:
        self.closed = True


class Other(FakeEmbedder):
    fingerprint = "other-1"


def ground_mode(retriever: LibraryRetriever, embedder: FakeEmbedder | None) -> str:
    engine = FakeEngine(embedder=embedder)
    return retriever.ground(
        "When is the seal replaced?", turns=(), engine=engine, settings=Settings(), guard=None, cancel=None
    ).mode


def test_questions_are_searched_by_meaning_though_the_engine_holds_another_embedder(tmp_path: Path) -> None:
    files: Mapping[str, str] = HANDBOOK | FILLER
    own, opened = Closable(), list[Library]()

    def opener(library: Library) -> FakeEmbedder:
        opened.append(library)
        return own

    retriever = LibraryRetriever(make_library(tmp_path / "l.db", files, FakeEmbedder()), None, opener)
    assert ground_mode(retriever, FakeEmbedder()) == "hybrid" and opened == []  # the engine's own will do
    assert [ground_mode(retriever, e) for e in (Other(), Other(), None)] == ["hybrid"] * 3
    assert len(opened) == 1 and not own.closed
    retriever.close()
    assert own.closed


def test_where_that_file_is_gone_keywords_are_searched_and_the_answer_says_so(tmp_path: Path) -> None:
    library = make_library(tmp_path / "l.db", HANDBOOK | FILLER, FakeEmbedder())
    retriever = LibraryRetriever(library, None, lambda _: Other())
    assert ground_mode(retriever, Other()) == "keyword"
    assert ground_mode(LibraryRetriever(library, None, lambda _: None), None) == "keyword"


def test_status_names_the_newer_embedder_and_the_way_to_it(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    old = write_embedder(paths.models / "old.gguf", "Old")
    paths.libraries.mkdir(parents=True, exist_ok=True)
    with make_library(paths.library("default"), HANDBOOK) as library:
        mark_made_by(library, old, "old")
    assert main(args=["docs", "status"]) == 0
    assert "Its vectors are by" not in capsys.readouterr().out
    write_embedder(paths.models / "all-MiniLM-L6-v2.BF16.gguf", "New")
    assert main(args=["docs", "status"]) == 0
    told = capsys.readouterr().out
    assert "keywords and meaning" in told
    assert "Its vectors are by old; `localllm docs reembed` makes them anew by all-MiniLM-L6-v2.BF16" in told
