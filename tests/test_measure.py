"""Measurements count what the engine did, not what was asked for."""

from __future__ import annotations

import pytest

from localllm.engine import measure
from tests.fakes import FakeEmbedder, FakeEngine


def test_decode_speed_leaves_out_the_first_token() -> None:
    engine = FakeEngine(["abcdefghij"], chunk=2, seconds_per_token=0.001)
    result = measure.measure_decode(engine, n_tokens=10, runs=3)
    assert len(result.runs) == 3
    assert result.low <= result.median <= result.high
    assert {r.speculation for r in engine.requests} == {"none"}
    # 8 tokens in at least 4 pauses of a millisecond: never more than 2,000 per second
    assert 0 < result.high <= 2000


def test_every_prefill_run_reads_another_prompt() -> None:
    engine = FakeEngine(["x"])
    measure.measure_prefill(engine, n_tokens=64, runs=4)
    prompts = [r.prompt for r in engine.requests]
    assert len(set(prompts)) == len(prompts) == 5


def test_embedding_speed_counts_the_embedders_own_tokens() -> None:
    result = measure.measure_embeddings(FakeEmbedder(), ["one two three"] * 4, runs=2)
    assert result.unit == "tokens/s"
    assert result.low > 0


@pytest.mark.parametrize("n", [1, 7, 300])
def test_words_gives_the_asked_number_and_depends_on_the_seed(n: int) -> None:
    assert len(measure.words(n, 1).split()) == n
    assert measure.words(n, 1) == measure.words(n, 1)
