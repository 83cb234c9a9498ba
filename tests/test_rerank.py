"""Reranking with a real GGUF file: scores are those of the weights, and a search is put in their order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localllm.cli.main import main
from localllm.engine.embedder_process import RerankerProcess
from localllm.engine.rerank import LlamaReranker
from localllm.errors import ModelError, ModelLoadFailed
from localllm.models import shelf
from localllm.models.convert import convert_embedder
from localllm.models.header import read_model_header
from localllm.open import open_reranker
from localllm.rag.answer import LibraryRetriever
from localllm.rag.search import search
from localllm.settings import Settings, find_paths
from tests.fakes import FakeEmbedder, FakeEngine
from tests.libraries import HANDBOOK, make_library
from tests.rerankers import ReferenceReranker
from tests.test_convert_embedder import ORIGIN, tiny_checkpoint

QUERY = "when is the seal replaced?"
TEXTS = ["replace the seal every 400 hours", "the office is closed", "x", "a long passage on pumps. " * 30]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> ReferenceReranker:
    return ReferenceReranker(tmp_path_factory.mktemp("reranker"))


def test_scores_are_those_of_the_weights_and_long_passages_are_cut(reference: ReferenceReranker) -> None:
    assert read_model_header(reference.path).purpose == "reranker"
    reranker = LlamaReranker(reference.path, max_tokens=96)
    try:
        scores = reranker.scores(QUERY, TEXTS)
        again = reranker.scores(QUERY, TEXTS[::-1])[::-1]
    finally:
        reranker.close()
    assert scores == pytest.approx([reference.score(QUERY, text) for text in TEXTS], abs=2e-3)
    assert again == pytest.approx(scores, abs=1e-6) and len({round(s, 3) for s in scores}) == len(TEXTS)


def test_a_template_and_labels_are_honoured_and_a_passage_can_not_write_control_tokens(tmp_path: Path) -> None:
    template = "[CLS]judge: {query} [SEP]{document}[SEP]"
    reference = ReferenceReranker(tmp_path, n_outputs=2, template=template)
    reranker = LlamaReranker(reference.path, max_tokens=96)
    try:
        (score,) = reranker.scores("which part?", ["the seal [SEP] part"])
    finally:
        reranker.close()
    bert = reference.bert
    start, end = bert.ids["[CLS]"], bert.ids["[SEP]"]
    inner = [bert.tokenize(text)[1:-1] for text in ("judge:", "which part?", "the seal [sep] part")]
    outputs = reference.outputs([start, *inner[0], *inner[1], end, *inner[2], end])
    assert score == pytest.approx(float(np.exp(outputs[0]) / np.exp(outputs).sum()), abs=2e-3)


def test_a_reranker_in_a_process_of_its_own_gives_the_same_and_starts_again_when_it_died(
    reference: ReferenceReranker, tmp_path: Path
) -> None:
    process = RerankerProcess(reference.path, tmp_path / "log")
    try:
        scores = process.scores(QUERY, TEXTS)
        assert process._process is not None
        process._process.kill()
        process._process.wait()
        assert process.scores(QUERY, TEXTS) == scores
    finally:
        process.close()
    assert scores == pytest.approx([reference.score(QUERY, text) for text in TEXTS], abs=2e-3)


def test_an_embedder_is_no_reranker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_checkpoint(tmp_path / "tiny")
    convert_embedder(folder, folder / "embedder.gguf", ORIGIN)
    with pytest.raises(ModelLoadFailed, match=r"embedder\.gguf is no reranker"):
        LlamaReranker(folder / "embedder.gguf")
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    assert open_reranker(Settings(), find_paths()) is None
    with pytest.raises(ModelError, match="is no reranker"):
        open_reranker(Settings(reranker=str(folder / "embedder.gguf")), find_paths())


def test_the_command_line_searches_in_the_rerankers_order(
    reference: ReferenceReranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(shelf, "find_embedder", lambda *_: None)
    (tmp_path / "home" / "libraries").mkdir(parents=True)
    make_library(find_paths().library("default"), HANDBOOK).close()

    def hits() -> Any:
        assert main(args=["docs", "search", "seal office bridge file", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    plain = hits()
    monkeypatch.setenv("LOCALLLM_RERANKER", str(reference.path))
    found = hits()
    assert (plain["reranked"], found["reranked"]) == (False, True)
    texts = {hit["text"]: "\n".join((hit["heading"] or hit["title"], hit["text"])) for hit in found["hits"]}
    assert len(texts) == 4 and texts.keys() == {hit["text"] for hit in plain["hits"]}
    expected = {text: reference.score("seal office bridge file", pair) for text, pair in texts.items()}
    assert [hit["score"] for hit in found["hits"]] == pytest.approx(sorted(expected.values(), reverse=True), abs=2e-3)
    assert [h["text"] for h in found["hits"]] == sorted(expected, key=lambda text: -expected[text])


class Backwards:
    """Likes a passage the less, the more words of the question it has."""

    asked: tuple[str, ...] = ()
    closed = False

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        self.asked = tuple(texts)
        return [1 / (1 + sum(word in text for word in query.lower().split())) for text in texts]

    def close(self) -> None:
        self.closed = True


def test_a_passage_with_all_rare_words_stays_whatever_the_reranker_says(tmp_path: Path) -> None:
    files = HANDBOOK | {f"note{i}.txt": f"The hours of day {i} are hours of operation.\n" for i in range(60)}
    library = make_library(tmp_path / "l.db", files, FakeEmbedder())
    reranker = Backwards()
    found = search(library, "hours QX-2291 seal", FakeEmbedder(), 3, reranker=reranker)
    assert len(found.hits) == 3 and len(reranker.asked) >= 20
    assert "QX-2291" in found.hits[-1].text and not any("QX-2291" in hit.text for hit in found.hits[:-1])


def test_answers_are_made_from_the_passages_that_the_reranker_puts_first(tmp_path: Path) -> None:
    files = HANDBOOK | {f"note{i}.txt": f"Seal number {i} is blue.\n" for i in range(30)}
    reranker = Backwards()
    retriever = LibraryRetriever(make_library(tmp_path / "l.db", files), None, None, reranker)
    settings = Settings(passages=2)
    engine = FakeEngine(embedder=None)
    grounded = retriever.ground("seal of number 7", turns=(), engine=engine, settings=settings, guard=None, cancel=None)
    assert grounded.passages and len(reranker.asked) >= 20
    assert [p.score for p in grounded.passages] == sorted((p.score for p in grounded.passages), reverse=True)
    retriever.close()
    assert reranker.closed
