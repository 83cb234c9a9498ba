"""Above temperature 0 a draft model draws with the target's own random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from localllm.engine.draft_model import ModelDrafter
from localllm.engine.drafting import DrawsAhead
from localllm.engine.protocol import Sampling
from localllm.engine.sampling import TokenSampler
from localllm.llama.sampler import Chain
from tests.fake_backend import FakeBackend, ScriptedController, run
from tests.test_speculation_identity import model

LETTERS = b"abcdefgh"


class AlwaysDrafts(ScriptedController):
    """Sends four tokens of this drafter with every step."""

    def __init__(self, drafter: ModelDrafter) -> None:
        super().__init__(lambda context, limit: drafter.propose(context, min(limit, 4)))
        self.drafter = drafter

    def begin(
        self, prompt: Sequence[int], corpus: Sequence[Sequence[int]] = (), draws: DrawsAhead | None = None
    ) -> None:
        self.drafter.begin(prompt)
        self.drafter.draw_with(draws)


@pytest.mark.parametrize("seed", range(20))
def test_a_perfect_draft_is_always_right_however_hot_the_sampling(seed: int) -> None:
    """Likeliest tokens would be drawn about every second time here."""
    sampling = Sampling(temperature=1.5, top_k=seed % 3 * 4, top_p=1.0, min_p=0.0, seed=seed)
    plain, _, _ = run(FakeBackend(model(seed, LETTERS)), "abc", sampling=sampling, max_tokens=120)
    controller = AlwaysDrafts(ModelDrafter("same", FakeBackend(model(seed, LETTERS)), eog=FakeBackend.eog))
    text, done, _ = run(
        FakeBackend(model(seed, LETTERS)), "abc", sampling=sampling, max_tokens=120, controller=controller
    )
    assert text == plain
    speculation = done.stats.speculation
    assert speculation.accepted == speculation.drafted
    assert speculation.accepted >= 0.6 * len(plain)


def test_another_draft_changes_nothing_in_the_text() -> None:
    accepted = drafted = 0
    for seed in range(20):
        sampling = Sampling(temperature=1.0, seed=seed)
        script, other = model(seed, LETTERS), model(seed + 1000, LETTERS)
        plain, _, _ = run(FakeBackend(script), "abc", sampling=sampling, max_tokens=100)
        noisy = FakeBackend(lambda tokens, s=script, o=other: s(tokens) + 0.4 * o(tokens))  # type: ignore[misc]
        controller = AlwaysDrafts(ModelDrafter("near", noisy))
        text, done, _ = run(FakeBackend(script), "abc", sampling=sampling, max_tokens=100, controller=controller)
        assert text == plain
        drafted += done.stats.speculation.drafted
        accepted += done.stats.speculation.accepted
    assert 0 < accepted < drafted


def test_what_is_left_of_a_draft_goes_on_with_the_numbers_of_its_place() -> None:
    script = model(5, LETTERS)
    sampler = TokenSampler(Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=9), 257)
    text = list(b"abc")
    drafter = ModelDrafter("same", FakeBackend(script))
    drafter.begin(text)
    drafter.draw_with(sampler.ahead)
    first = drafter.propose(text, 6)
    for _ in range(3):  # only half of it was sent, and was right
        text.append(sampler.choose(script(text)))
    assert text[3:] == first[:3]
    draft = drafter.propose(text, 8)
    assert draft[:3] == first[3:]
    truth: list[int] = []
    for _ in range(8):
        truth.append(sampler.choose(script([*text, *truth])))
    sampler.close()
    assert draft == truth


def test_drawing_ahead_leaves_the_draws_to_come_as_they_are() -> None:
    rows = np.random.default_rng(1).normal(0, 2, (12, 300)).astype(np.float32)
    rows[2, 1:] = -np.inf  # a draw without a choice takes its number, too

    def chain() -> Chain:
        return Chain(300, temperature=1.2, top_k=50, top_p=0.9, min_p=0.02, seed=4)

    alone = chain()
    expected = [alone.draw(row) for row in rows]
    watched = chain()
    got = []
    for i, row in enumerate(rows):
        ahead = watched.ahead(min(3, len(rows) - 1 - i))
        assert ahead.draw(rows[min(i + 3, len(rows) - 1)]) == expected[min(i + 3, len(rows) - 1)]
        assert 0.0 < ahead.chance <= 1.0
        ahead.close()
        got.append(watched.draw(row))
    assert got == expected
    alone.close()
    watched.close()


def test_a_draft_with_a_larger_vocabulary_can_draw() -> None:
    small = Chain(10, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3)
    ahead = small.ahead(0)
    row = np.full(500, -50.0, np.float32)
    row[480] = 5.0
    assert ahead.draw(row) == 480
    assert ahead.chance == pytest.approx(1.0)
    ahead.close()
    assert small.draw(np.array([0.0, 9.0] + [-9.0] * 8, np.float32)) == 1
    small.close()
