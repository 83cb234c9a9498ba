"""How a prompt is cut into batches: always alike, for sums rounded in another order may end another way."""

from __future__ import annotations

import itertools
import time

import pytest

from localllm.engine.cache import Slot, prefill_slot
from localllm.engine.loading import batch_for
from tests.fake_backend import FakeBackend, says


def test_a_prompt_is_cut_alike_however_slow_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(0.0, 60.0)
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    backend = FakeBackend(says("x", "p" * 400))
    assert list(prefill_slot(backend, Slot(0), list(range(1, 201)))) == [64, 128, 192, 200]
    assert [len(batch) for batch in backend.batches] == [64, 64, 64, 8]


def test_a_large_model_reads_fewer_tokens_at_once_so_that_progress_is_seen() -> None:
    sizes = [batch_for(int(gigabytes * 1e9), on_gpu=False) for gigabytes in (0.1, 0.4, 1.0, 2.5, 5.0, 40.0)]
    assert sizes == [512, 512, 256, 128, 64, 64]
    assert batch_for(40_000_000_000, on_gpu=True) == 512
