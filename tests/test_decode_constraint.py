"""The decode loop under a constraint, on scripted logits: forced tokens cost no evaluation, illegal ones never show."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from localllm.events import FinishReason
from tests.fake_backend import EOG, N_VOCAB, FakeBackend, ScriptedController, run, says


class Choices:
    """Allows exactly the given texts, byte by byte."""

    def __init__(self, *texts: str) -> None:
        self.texts = [t.encode() for t in texts]
        self.so_far = b""
        self.masks = 0
        self.asked = 0

    def _open(self, so_far: bytes) -> list[bytes]:
        return [t for t in self.texts if t.startswith(so_far)]

    def legal_prefix(self, tokens: Sequence[int]) -> int:
        self.asked += 1
        so_far = self.so_far
        for n, token in enumerate(tokens):
            if token == EOG:
                return n + (so_far in self.texts)
            so_far += bytes([token])
            if not self._open(so_far):
                return n
        return len(tokens)

    def commit(self, tokens: Sequence[int]) -> None:
        assert self.legal_prefix(tokens) == len(tokens), "an illegal token was emitted"
        self.so_far += bytes(tokens)

    def mask(self) -> NDArray[np.bool_]:
        self.masks += 1
        allowed = np.zeros(N_VOCAB, np.bool_)
        for text in self._open(self.so_far):
            allowed[text[len(self.so_far)] if len(text) > len(self.so_far) else EOG] = True
        return allowed

    def forced(self) -> list[int]:
        left = self._open(self.so_far)
        shortest = min(left, key=len, default=b"")
        n = len(self.so_far)
        while n < len(shortest) and len({t[n] for t in left}) == 1:
            n += 1
        return list(shortest[len(self.so_far) : n])

    @property
    def accepting(self) -> bool:
        return self.so_far in self.texts

    @property
    def stopped(self) -> bool:
        return self._open(self.so_far) == [self.so_far]

    position = None

    def closing_after(self, token: int, limit: int) -> list[int] | None:
        ways = [t[len(self.so_far) + 1 :] for t in self._open(self.so_far + bytes([token]))]
        best = min(ways, key=len, default=None)
        return list(best) if best is not None and len(best) <= limit else None

    def repeats(self, token: int) -> bool:
        return False

    def token_of(self, text: bytes) -> int | None:
        return text[0] if len(text) == 1 else None

    def closing(self, limit: int) -> list[int] | None:
        ways = [t[len(self.so_far) :] for t in self._open(self.so_far)]
        best = min(ways, key=len)
        return list(best) if len(best) <= limit else None


def test_a_single_legal_answer_needs_no_evaluation_beyond_the_prompt() -> None:
    backend, matcher = FakeBackend(says("nonsense", "p")), Choices("certain")
    text, done, _ = run(backend, matcher=matcher)
    assert (text, done.reason) == ("certain", FinishReason.STOP)
    assert backend.evaluated == 1
    assert matcher.masks == 0


def test_forced_stretches_are_evaluated_in_one_batch() -> None:
    script = says("the answer is yes.", "p")
    backend, matcher = FakeBackend(script), Choices("the answer is yes.", "the answer is no.")
    text, done, _ = run(backend, matcher=matcher)
    assert text == "the answer is yes."
    assert [len(b) for b in backend.batches] == [1, len("the answer is ")]
    assert done.stats.speculation.drafted == 0, "what is forced is no draft"


def test_what_is_forced_is_evaluated_with_the_token_before_it() -> None:
    backend = FakeBackend(says("a, second", "p"))
    text, done, _ = run(backend, matcher=Choices("a, second", "b, second", "a, third"))
    assert text == "a, second"
    assert [len(batch) for batch in backend.batches] == [1, len("a, ")], "the choice, and what it forces, in one"
    assert done.stats.speculation.target_steps == 1


def test_a_forced_stretch_longer_than_a_batch_is_cut() -> None:
    shared = "x" * 150
    backend = FakeBackend(says(shared + "b", "p"), n_batch=64)
    text, _, _ = run(backend, matcher=Choices(shared + "a", shared + "b"))
    assert text == shared + "b"
    assert max(map(len, backend.batches)) <= 64


def test_an_illegal_token_is_replaced_by_the_likeliest_legal_one() -> None:
    def script(tokens: list[int]) -> NDArray[np.float32]:
        row = np.zeros(N_VOCAB, np.float32)
        row[ord("z")], row[ord("n")], row[ord("y")] = 9, 5, 3
        return row

    matcher = Choices("yes", "no")
    text, done, _ = run(FakeBackend(script), matcher=matcher)
    assert (text, done.reason) == ("no", FinishReason.STOP)
    assert matcher.masks == 1, "the mask is made only once the model's own choice was refused"


def test_the_model_may_not_end_its_turn_too_early() -> None:
    matcher = Choices("yes", "yes please")
    assert run(FakeBackend(lambda _: EOG), matcher=Choices("ab", "cd"))[0] in ("ab", "cd")
    text, done, _ = run(FakeBackend(says("yes", "p")), matcher=matcher)
    assert (text, done.reason) == ("yes", FinishReason.STOP), "but where the answer may end it may"


def test_mask_first_never_asks_after_the_fact() -> None:
    matcher = Choices("yes", "no")
    text, _, _ = run(FakeBackend(says("no", "p")), matcher=matcher, mask_first=True)
    assert text == "no"
    assert matcher.masks == 1


def test_an_answer_is_steered_to_its_end_before_the_budget_runs_out() -> None:
    long = "a" * 500
    matcher = Choices(*[long[:n] + "]" for n in range(1, 400)])
    text, done, _ = run(FakeBackend(says(long, "p"), n_ctx=1024), matcher=matcher, max_tokens=40)
    assert text.endswith("a]")
    assert 30 < len(text) <= 40
    assert done.reason is FinishReason.STOP


def test_without_a_way_out_the_budget_ends_the_answer() -> None:
    text, done, _ = run(
        FakeBackend(says("a" * 80, "p")), matcher=Choices("a" * 60 + "x", "a" * 60 + "y"), max_tokens=20
    )
    assert (text, done.reason) == ("a" * 20, FinishReason.LENGTH)


@pytest.mark.parametrize("close", [True, False])
def test_closing_can_be_switched_off(close: bool) -> None:
    matcher = Choices(*["a" * n + "]" for n in range(1, 90)])
    text, done, _ = run(FakeBackend(says("a" * 99, "p")), matcher=matcher, max_tokens=20, close_within_budget=close)
    assert text.endswith("]") is close
    assert done.reason is (FinishReason.STOP if close else FinishReason.LENGTH)


TEXTS = st.lists(st.text(alphabet="abc", min_size=1, max_size=9), min_size=1, max_size=5, unique=True)


@given(texts=TEXTS, wish=st.text(alphabet="abc", max_size=12), noise=st.integers(1, 5), budget=st.integers(1, 12))
@settings(max_examples=300, deadline=None)
def test_with_drafts_and_without_the_answer_is_the_same_and_legal(
    texts: list[str], wish: str, noise: int, budget: int
) -> None:
    def draft(context: list[int], k: int) -> list[int]:
        rest = list(wish.encode())[len(context) - 1 :]
        return [t if i % noise else ord("a") for i, t in enumerate(rest, 1)][:k]

    plain = run(FakeBackend(says(wish, "p")), matcher=Choices(*texts), max_tokens=budget)
    controller = ScriptedController(draft)
    drafted = run(FakeBackend(says(wish, "p")), matcher=Choices(*texts), max_tokens=budget, controller=controller)
    assert drafted[0] == plain[0]
    assert drafted[1].reason is plain[1].reason
    if plain[1].reason is FinishReason.STOP:
        assert plain[0] in texts
    else:
        assert any(re.match(re.escape(plain[0]), t) for t in texts)
