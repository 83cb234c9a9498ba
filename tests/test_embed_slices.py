"""Texts are embedded a slice at a time, and every context has as much to do as the others."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from localllm.engine.embed import LlamaEmbedder
from tests.models import EMBEDDER, need


@pytest.fixture
def embedder() -> Iterator[LlamaEmbedder]:
    need(EMBEDDER)
    opened = LlamaEmbedder(EMBEDDER, max_tokens=256, n_contexts=2)
    yield opened
    opened.close()


@pytest.mark.parametrize("seconds_per_token", [1e-5, 9e-5, 1e-3])
def test_no_context_waits_for_another_that_has_a_text_more(
    embedder: LlamaEmbedder, monkeypatch: pytest.MonkeyPatch, seconds_per_token: float
) -> None:
    shares: list[int] = []
    plain = LlamaEmbedder._evaluate_some

    def evaluate(context: object, ids: object, share: list[int], rows: object) -> None:
        shares.append(len(share))
        plain(context, ids, share, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(LlamaEmbedder, "_evaluate_some", staticmethod(evaluate))
    texts = ["the pump stands in the cellar " * 4] * 22
    rows = np.empty((len(texts), embedder.dim), np.float32)
    ends = [0]
    for done in embedder.embed_slices(texts, rows):
        ends.append(done)
        embedder._seconds_per_token = seconds_per_token
    assert ends[-1] == sum(shares) == 22
    assert all((end - start) % 2 == 0 for start, end in pairwise(ends))
    assert shares[::2] == shares[1::2]
    assert np.allclose(rows, rows[0])


def test_whoever_waits_gets_one_text_at_a_time(embedder: LlamaEmbedder) -> None:
    texts = ["the pump stands in the cellar " * 12] * 3
    rows = np.empty((3, embedder.dim), np.float32)
    embedder._seconds_per_token = 1.0
    assert next(iter(embedder.embed_slices(texts, rows, gentle=lambda: True))) == 1
