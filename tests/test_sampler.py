"""Drawing a token: what is dropped before the draw never changes it."""

from __future__ import annotations

import numpy as np

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


def test_only_the_k_likeliest_are_drawn() -> None:
    logits = np.random.default_rng(0).normal(0, 3, 4096).astype(np.float32)
    chain = Chain(len(logits), temperature=2.0, top_k=5, top_p=1.0, min_p=0.0, seed=1)
    assert {chain.draw(logits) for _ in range(300)} <= set(np.argsort(logits)[-5:].tolist())
    chain.close()
