"""Drafts can't change the text: any drafter, any length, any rule, any seed gives what plain decoding gives."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.engine.controller import Controller
from localllm.engine.costs import CostTable
from localllm.engine.draft_ngram import NgramDrafter
from localllm.engine.drafting import Drafter
from localllm.engine.protocol import Sampling
from tests.fake_backend import EOG, N_VOCAB, FakeBackend, ScriptedController, run

RUNS = 4000 if os.environ.get("LOCALLLM_SOAK") else 250


def model(seed: int, letters: bytes) -> Callable[[list[int]], NDArray[np.float32]]:
    """Logits that depend on the last three tokens alone, so that texts repeat and drafts are often right."""

    def script(tokens: list[int]) -> NDArray[np.float32]:
        rng = np.random.default_rng([seed, *tokens[-3:]])
        row = np.full(N_VOCAB, -20.0, np.float32)
        row[list(letters)] = rng.normal(0.0, 2.0, len(letters)).astype(np.float32)
        row[EOG] = -1.0
        return row

    return script


class RandomDrafter:
    """Drafts anything: the truth for a while, noise, end tokens."""

    name = "random"

    def __init__(self, rng: random.Random, truth: Callable[[list[int]], NDArray[np.float32]], letters: bytes) -> None:
        self._rng, self._truth, self._letters = rng, truth, letters
        self._n = 0

    def begin(self, prompt: Sequence[int]) -> None: ...

    def propose(self, context: Sequence[int], k: int) -> list[int]:
        tokens = list(context)
        right = self._rng.random()
        for _ in range(self._rng.randint(0, k)):
            likely = int(self._truth(tokens).argmax())
            tokens.append(likely if self._rng.random() < right else self._rng.choice([*self._letters, EOG]))
        self._n = len(tokens) - len(context)
        return tokens[len(context) :]

    def confidence(self) -> Sequence[float]:
        return [self._rng.random() for _ in range(self._n)]

    def observe(self, accepted: Sequence[int], n_drafted_accepted: int) -> None: ...

    def close(self) -> None: ...


class LetterRule:
    """A constraint: after an ``a`` comes a ``b``, and never more than 30 tokens."""

    def __init__(self) -> None:
        self._last, self._n = -1, 0

    def _allowed(self, last: int, token: int) -> bool:
        return token == ord("b") if last == ord("a") else True

    def legal_prefix(self, tokens: Sequence[int]) -> int:
        last = self._last
        for i, token in enumerate(tokens):
            if not self._allowed(last, token):
                return i
            last = token
        return len(tokens)

    def commit(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            assert self._allowed(self._last, token), "an illegal token was emitted"
            self._last, self._n = token, self._n + 1

    def mask(self) -> NDArray[np.bool_]:
        return np.array([self._allowed(self._last, t) for t in range(N_VOCAB)])

    def forced(self) -> list[int]:
        return [ord("b")] if self._last == ord("a") else []

    @property
    def accepting(self) -> bool:
        return self._last != ord("a")

    @property
    def stopped(self) -> bool:
        return self._n >= 30

    position = None

    def closing_after(self, token: int, limit: int) -> list[int] | None:
        return None

    def repeats(self, token: int) -> bool:
        return False

    def token_of(self, text: bytes) -> int | None:
        return text[0] if len(text) == 1 else None

    def closing(self, limit: int) -> list[int] | None:
        return None


def free_costs() -> CostTable:
    """A table on which every batch costs the same, so that the controller drafts whatever it may."""
    costs = CostTable(33)
    for b in (1, 1, 1, 8, 33):
        costs.observe(b, 0, 0.01)
    return costs


@pytest.mark.slow
def test_any_drafter_length_rule_and_seed_gives_the_plain_text() -> None:
    drafted = accepted = 0
    for seed in range(RUNS):
        rng = random.Random(seed)
        letters = bytes([*rng.sample(range(97, 123), rng.randint(2, 6)), 97, 98])
        script = model(seed, letters)
        sampling = Sampling(
            temperature=rng.choice((0.0, 0.7, 1.5)), top_k=rng.choice((0, 3, 40)), seed=seed,
            repeat_penalty=rng.choice((1.0, 1.0, 1.2)), repeat_last_n=8,
        )  # fmt: skip
        ruled = rng.random() < 0.4
        stop = (chr(letters[0]) + chr(letters[1]),) if rng.random() < 0.3 else ()
        options: dict[str, Any] = {"sampling": sampling, "max_tokens": rng.choice((0, 1, 7, 40)) or 60, "stop": stop}
        prompt = "".join(chr(rng.choice(letters)) for _ in range(rng.randint(1, 12)))
        plain, done, _ = run(FakeBackend(script), prompt, matcher=LetterRule() if ruled else None, **options)
        drafter: Drafter = RandomDrafter(rng, script, letters) if rng.random() < 0.6 else NgramDrafter()
        if rng.random() < 0.5:
            controller: object = Controller(free_costs(), [drafter], clock=lambda: 0.0)
        else:
            controller = ScriptedController(lambda context, limit, d=drafter: d.propose(context, limit))  # type: ignore[misc]
        text, spec, _ = run(
            FakeBackend(script), prompt, matcher=LetterRule() if ruled else None, controller=controller, **options
        )
        assert text == plain, f"seed {seed}: {text!r} instead of {plain!r}"
        assert spec.reason == done.reason, f"seed {seed}"
        assert spec.stats.completion_tokens == done.stats.completion_tokens
        assert spec.stats.speculation.accepted <= spec.stats.speculation.drafted
        drafted += spec.stats.speculation.drafted
        accepted += spec.stats.speculation.accepted
    assert accepted > RUNS, "hardly anything was accepted: the test shows nothing"
    assert drafted - accepted > RUNS, "hardly anything was rejected: the test shows nothing"


def test_sampled_answers_keep_their_distribution_under_speculation() -> None:
    """Chi-square of the pairs of first tokens, with and without drafts, against each other.

    2 x 3,000 answers with different seeds, pairs in 9 classes, 8 degrees of freedom. The bound 26.12 is the 0.999
    quantile, so a right engine would fail one choice of seeds in 1,000; the seeds are fixed: no flakes.
    """
    letters = b"xyz"
    base = model(3, letters)

    def script(tokens: list[int]) -> NDArray[np.float32]:
        row = base(tokens)
        row[EOG] = -20.0
        return row

    def drafting(context: list[int], limit: int) -> list[int]:
        tokens = list(context)
        for _ in range(min(limit, 4)):
            tokens.append(int(script(tokens).argmax()))
        return tokens[len(context) :]

    def sample(first_seed: int, controller: bool) -> Counter[str]:
        seen: Counter[str] = Counter()
        for seed in range(first_seed, first_seed + 3000):
            text, _, _ = run(
                FakeBackend(script), "xy", sampling=Sampling(temperature=1.3, top_k=3, top_p=1.0, min_p=0.0, seed=seed),
                max_tokens=3, controller=ScriptedController(drafting) if controller else None,
            )  # fmt: skip
            seen[text[1:3]] += 1
        return seen

    plain, spec = sample(0, False), sample(100_000, True)
    classes = sorted(set(plain) | set(spec))
    chi = sum((plain[c] - spec[c]) ** 2 / (plain[c] + spec[c]) for c in classes)
    assert len(classes) <= 9
    assert len(classes) >= 6
    assert chi < 26.12
