"""The embedder in a process of its own: the same vectors, and a death that costs nothing but a restart."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from localllm.engine.embedder_process import EmbedderProcess
from localllm.errors import EngineDied, TextTooLong
from tests.models import EMBEDDER

needs_model = pytest.mark.skipif(not EMBEDDER.exists(), reason="needs the starter embedder (make starter)")


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbedderProcess]:
    made = EmbedderProcess(EMBEDDER, tmp_path_factory.mktemp("log") / "embedder.log")
    yield made
    made.close()


@pytest.mark.model
@needs_model
def test_vectors_spans_and_facts_are_those_of_the_embedder_itself(embedder: EmbedderProcess) -> None:
    from localllm.engine.embed import LlamaEmbedder

    inside = LlamaEmbedder(EMBEDDER, max_tokens=embedder.max_tokens)
    texts = ["Replace the seal every 400 hours.", "Größe und naïve Wörter", "x"]
    assert (embedder.dim, embedder.max_tokens, embedder.fingerprint) == (
        inside.dim, inside.max_tokens, inside.fingerprint
    )  # fmt: skip
    np.testing.assert_allclose(embedder.embed(texts), inside.embed(texts), atol=1e-3)
    assert [embedder.token_spans(t) for t in texts] == [inside.token_spans(t) for t in texts]
    inside.close()


@pytest.mark.model
@needs_model
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_process_that_is_killed_is_started_again(embedder: EmbedderProcess) -> None:
    first = embedder.embed(["the pump"])
    assert embedder._process is not None
    os.kill(embedder._process.pid, signal.SIGKILL)
    np.testing.assert_allclose(embedder.embed(["the pump"]), first, atol=1e-4)


@pytest.mark.model
@needs_model
def test_a_text_that_is_too_long_is_refused_and_the_process_lives(embedder: EmbedderProcess) -> None:
    with pytest.raises(TextTooLong, match="602"):
        embedder.embed(["word " * 600])
    assert embedder.embed(["word"]).shape == (1, embedder.dim)


def test_a_process_that_always_dies_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = EmbedderProcess(tmp_path / "no.gguf", tmp_path / "logs" / "e.log")
    monkeypatch.setattr(EmbedderProcess, "max_tokens", 256)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(EngineDied, match="ended unexpectedly"):
        made.embed(["x"])
    made.close()
    made.close()


@pytest.mark.model
@needs_model
def test_an_interrupted_question_is_never_answered_to_the_next(
    embedder: EmbedderProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    pump = embedder.embed(["the pump"])

    def interrupted() -> object:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(embedder, "_answers", iter(interrupted, None))
        with pytest.raises(KeyboardInterrupt):
            embedder.embed(["a long text about something else"])
    np.testing.assert_allclose(embedder.embed(["the pump"]), pump, atol=1e-4)
