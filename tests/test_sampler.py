"""Drawing a token: what is dropped before the draw never changes it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.llama.sampler import Chain


def test_a_mask_that_leaves_few_tokens_does_not_slow_down_the_draws_after_it() -> None:
    logits = np.random.default_rng(0).normal(0, 3, 4096).astype(np.float32)
    chain = Chain(len(logits), temperature=1.0, top_k=40, top_p=1.0, min_p=0.0, seed=1)
    chain.draw(logits)
    shortlist = chain._shortlist(logits)
    assert shortlist is not None
    masked = np.full_like(logits, -np.inf)
    masked[[7, 11]] = 1.0
    assert all(chain.draw(masked) in (7, 11) for _ in range(200))
    after = chain._shortlist(logits)
    assert after is not None
    assert len(after) == len(shortlist)
    chain.close()


@given(seed=st.integers(0, 1 << 32), n=st.integers(1, 3000), top_k=st.integers(1, 60), flat=st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_shortlist_holds_the_k_likeliest_and_few_others(seed: int, n: int, top_k: int, flat: bool) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, n).astype(np.float32)
    if flat:
        logits = np.round(logits)  # many are equally likely
    chain = Chain(n, temperature=1.0, top_k=top_k, top_p=1.0, min_p=0.0, seed=1)
    ids = chain._shortlist(logits)
    if ids is None:
        assert top_k > n // 64, "left alone only where it would be most of them"
    else:
        least = np.sort(logits)[-top_k]
        assert set(np.flatnonzero(logits >= least).tolist()) <= set(ids.tolist())
        if not flat and top_k <= n // 256:
            assert len(ids) < 2 * top_k + 8
    chain.close()


def test_the_shortlist_changes_nothing_in_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    rows = [rng.normal(0, 3, 8192).astype(np.float32) for _ in range(100)]

    def drawn() -> list[int]:
        chain = Chain(8192, temperature=1.5, top_k=40, top_p=0.95, min_p=0.05, seed=9)
        ids = [chain.draw(row) for row in rows]
        chain.close()
        return ids

    with_it = drawn()
    monkeypatch.setattr(Chain, "_shortlist", lambda *_: None)
    assert drawn() == with_it


def test_only_the_k_likeliest_are_drawn() -> None:
    logits = np.random.default_rng(0).normal(0, 3, 4096).astype(np.float32)
    chain = Chain(len(logits), temperature=2.0, top_k=5, top_p=1.0, min_p=0.0, seed=1)
    assert {chain.draw(logits) for _ in range(300)} <= set(np.argsort(logits)[-5:].tolist())
    chain.close()
