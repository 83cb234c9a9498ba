"""The decode loop on scripted logits: what is shown, when it ends, and what stays in the cache."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from localllm.engine.cache import Slot
from localllm.engine.decode import Generation, Job
from localllm.engine.protocol import Sampling, TokenEvent
from localllm.engine.sampling import TokenSampler
from localllm.errors import ContextOverflow
from localllm.events import FinishReason, Prefilling
from tests.fake_backend import EOG, N_VOCAB, FakeBackend, ScriptedController, run, says


def test_the_likeliest_token_is_taken_until_the_model_ends_its_turn() -> None:
    backend = FakeBackend(says("Hello there.", "p"))
    text, done, events = run(backend)
    assert (text, done.reason) == ("Hello there.", FinishReason.STOP)
    assert done.stats.completion_tokens == 12
    assert done.stats.prompt_tokens == 1
    assert b"".join(bytes(e.token_ids) for e in events if isinstance(e, TokenEvent)) == b"Hello there."
    assert backend.removals == 0, "nothing had to go, so nothing may be removed"


def test_the_token_budget_ends_an_answer_with_its_reason() -> None:
    text, done, _ = run(FakeBackend(says("Hello there.", "p")), max_tokens=5)
    assert (text, done.reason, done.stats.completion_tokens) == ("Hello", FinishReason.LENGTH, 5)


def test_a_full_context_window_ends_an_answer() -> None:
    backend = FakeBackend(says("x" * 100, "p" * 10), n_ctx=16)
    text, done, _ = run(backend, "p" * 10)
    assert (text, done.reason) == ("x" * 6, FinishReason.LENGTH)


@pytest.mark.parametrize("n", [16, 17, 200])
def test_a_prompt_that_leaves_no_room_says_both_numbers(n: int) -> None:
    backend = FakeBackend(says("x"), n_ctx=16)
    with pytest.raises(ContextOverflow, match=rf"{n:,} tokens.*16"):
        run(backend, "p" * n)
    assert backend.evaluated == 0


def test_the_prompt_is_read_in_batches_with_progress() -> None:
    backend = FakeBackend(says("x", "p" * 150))
    _, _, events = run(backend, "p" * 150)
    assert [(e.done, e.total) for e in events if isinstance(e, Prefilling)] == [
        (0, 150), (64, 150), (128, 150), (150, 150),
    ]  # fmt: skip
    assert [len(b) for b in backend.batches[:3]] == [64, 64, 22]


def test_a_character_is_shown_once_all_its_tokens_are_there() -> None:
    text, _, events = run(FakeBackend(says("añb 漢🙂.", "p")))
    assert text == "añb 漢🙂."
    assert all("�" not in e.text for e in events if isinstance(e, TokenEvent))


def test_an_unfinished_character_is_dropped_not_mangled() -> None:
    text, _, _ = run(FakeBackend(says("ab🙂", "p")), max_tokens=4)
    assert text == "ab"


@given(
    answer=st.text(alphabet="ab.\nñ", max_size=40),
    stop=st.lists(st.text(alphabet="ab.\nñ", min_size=1, max_size=4), max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_stop_strings_are_never_shown_and_all_else_is(answer: str, stop: list[str]) -> None:
    text, done, _ = run(FakeBackend(says(answer, "p"), n_ctx=4096), stop=tuple(stop))
    seen = next((p for n in range(len(answer) + 1) if any(s in (p := answer[:n]) for s in stop)), None)
    if seen is None:
        assert text == answer
    else:  # the stop string that is complete first ends the answer
        assert text == seen[: min(i for s in stop if (i := seen.find(s)) >= 0)]
    assert done.reason is FinishReason.STOP


def test_text_that_only_looked_like_a_stop_string_is_released() -> None:
    text, done, events = run(FakeBackend(says("one STO", "p")), stop=("STOP",))
    assert text == "one STO"
    assert isinstance(events[-2], TokenEvent)
    assert events[-2].text == "STO"
    assert done.stats.completion_tokens == 7


class CancelAfter:
    """Set once it was asked n times."""

    def __init__(self, n: int) -> None:
        self.n = n

    def is_set(self) -> bool:
        self.n -= 1
        return self.n < 0


def test_cancel_keeps_the_partial_answer() -> None:
    slot = Slot(0)
    text, done, _ = run(FakeBackend(says("Hello there.", "p")), cancel=CancelAfter(4), slot=slot)
    assert done.reason is FinishReason.CANCELLED
    assert 0 < len(text) < 12
    assert "Hello there.".startswith(text)
    assert bytes(slot.tokens).decode() == "p" + text[:-1], "the last token was not evaluated yet"


def test_cancel_during_prefill_generates_nothing_and_keeps_what_was_read() -> None:
    backend, slot = FakeBackend(says("x", "p" * 200)), Slot(0)
    text, done, _ = run(backend, "p" * 200, cancel=CancelAfter(2), slot=slot)
    assert (text, done.reason) == ("", FinishReason.CANCELLED)
    assert len(slot.tokens) == backend.n_past(0) == 128


@pytest.mark.parametrize("after", [0, 1, 4, 7])
def test_an_aborted_evaluation_ends_the_answer_with_cache_and_ids_in_step(after: int) -> None:
    backend, slot = FakeBackend(says("Hello there.", "p" * 100)), Slot(0)
    backend.abort_after = after
    text, done, _ = run(backend, "p" * 100, slot=slot)
    assert done.reason is FinishReason.CANCELLED
    assert "Hello there.".startswith(text)
    assert slot.tokens == backend.sequences.get(0, [])
    backend.abort_after = None
    assert run(backend, "p" * 100, slot=slot)[0] == "Hello there."


def test_a_set_event_cancels_at_once() -> None:
    cancel = threading.Event()
    cancel.set()
    backend = FakeBackend(says("x"))
    _, done, _ = run(backend, cancel=cancel)
    assert done.reason is FinishReason.CANCELLED
    assert backend.evaluated == 0


def test_the_second_turn_evaluates_only_what_is_new() -> None:
    backend, slot = FakeBackend(says("Hi.", "first ")), Slot(0)
    run(backend, "first ", slot=slot)
    before = backend.evaluated
    backend.script = says("Yes.", "first Hi. second ")
    text, done, _ = run(backend, "first Hi. second ", slot=slot)
    assert text == "Yes."
    assert done.stats.cached_tokens == len("first Hi.")
    assert backend.evaluated - before == len(" second ") + len("Yes.")


def test_the_same_prompt_again_evaluates_one_token_of_it() -> None:
    backend, slot = FakeBackend(says("Hi.", "prompt")), Slot(0)
    first = run(backend, "prompt", slot=slot)
    again = run(backend, "prompt", slot=slot)
    assert again[0] == first[0]
    assert again[1].stats.cached_tokens == 5


def test_a_model_that_cannot_forget_starts_over() -> None:
    backend, slot = FakeBackend(says("Hi.", "prompt"), rolls_back=False), Slot(0)
    run(backend, "prompt", slot=slot)
    text, done, _ = run(backend, "prompt", slot=slot)
    assert text == "Hi."
    assert done.stats.cached_tokens == 0


def choice(probabilities: dict[str, float]) -> NDArray[np.float32]:
    row = np.full(N_VOCAB, -50, np.float32)
    for letter, p in probabilities.items():
        row[ord(letter)] = np.log(p)
    return row


def test_a_seed_gives_the_same_answer_twice_and_another_seed_another() -> None:
    def script(_: list[int]) -> NDArray[np.float32]:
        return choice(dict.fromkeys("abcdefgh", 1 / 8))

    def answer(seed: int) -> str:
        return run(FakeBackend(script), max_tokens=40, sampling=Sampling(temperature=1, top_k=0, seed=seed))[0]

    assert answer(1) == answer(1)
    assert answer(1) != answer(2)


def test_samples_follow_the_distribution() -> None:
    row = choice({"a": 0.7, "b": 0.2, "c": 0.1})
    for top_k in (0, 40):
        sampling = Sampling(temperature=1, top_k=top_k, top_p=1, min_p=0, seed=7)
        sampler = TokenSampler(sampling, N_VOCAB)
        counts = dict.fromkeys("abc", 0)
        for _ in range(3000):
            counts[chr(sampler.choose(row.copy()))] += 1
        assert abs(counts["a"] / 3000 - 0.7) < 0.04
        assert abs(counts["c"] / 3000 - 0.1) < 0.03


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(temperature=1, top_k=2, top_p=1, min_p=0, seed=1), "ab"),
        (Sampling(temperature=1, top_k=0, top_p=0.65, min_p=0, seed=1), "a"),
        (Sampling(temperature=1, top_k=0, top_p=1, min_p=0.25, seed=1), "ab"),
        (Sampling(temperature=0.01, top_k=0, top_p=1, min_p=0, seed=1), "a"),
    ],
)
def test_each_filter_drops_what_it_should(sampling: Sampling, kept: str) -> None:
    row = choice({"a": 0.7, "b": 0.2, "c": 0.1})
    sampler = TokenSampler(sampling, N_VOCAB)
    assert {chr(sampler.choose(row.copy())) for _ in range(300)} == set(kept)


def test_the_repetition_penalty_counts_the_prompt_and_the_answer() -> None:
    def script(_: list[int]) -> NDArray[np.float32]:
        row = np.zeros(N_VOCAB, np.float32)
        row[[ord(c) for c in "abc"]] = (3.0, 2.9, 2.8)
        return row

    sampling = Sampling(temperature=0, repeat_penalty=1.5)
    assert run(FakeBackend(script), "a", sampling=sampling, max_tokens=2)[0] == "bc"
    assert run(FakeBackend(script), "x", sampling=sampling, max_tokens=3)[0] == "abc"


def test_a_logit_bias_can_forbid_and_force_a_token() -> None:
    backend = FakeBackend(says("Hello", "p"))
    sampling = Sampling(temperature=0, logit_bias={ord("H"): -100.0, ord("J"): 5.0, 10**9: 3.0})
    assert run(backend, sampling=sampling, max_tokens=2)[0] == "Je"


# ---- drafts ----


def test_a_good_draft_saves_evaluations_and_changes_nothing() -> None:
    answer = "The quick brown fox jumps."
    plain, _, _ = run(FakeBackend(says(answer, "p")))
    backend = FakeBackend(says(answer, "p"))
    controller = ScriptedController(lambda context, k: list(("p" + answer).encode())[len(context) :][: min(k, 7)])
    text, done, events = run(backend, controller=controller)
    assert text == plain == answer
    speculation = done.stats.speculation
    assert speculation.accepted == speculation.drafted > 20
    assert speculation.target_steps < 6
    assert speculation.drafter == "scripted"
    assert any(isinstance(e, TokenEvent) and e.from_draft for e in events)


@given(
    answer=st.text(alphabet="abcñ", max_size=60),
    noise=st.lists(st.integers(0, 9), min_size=1, max_size=9),
    stop=st.sampled_from([(), ("ab",), ("ñc",)]),
    budget=st.integers(0, 50),
    batch=st.sampled_from([2, 5, 64]),
)
@settings(max_examples=200, deadline=None)
def test_no_draft_can_change_the_text(
    answer: str, noise: list[int], stop: tuple[str, ...], budget: int, batch: int
) -> None:
    whole = list(("p" + answer).encode())

    def draft(context: list[int], k: int) -> list[int]:
        n = noise[len(context) % len(noise)]
        good = ([*whole[len(context) :], EOG])[:n]
        return (good + [ord("z")] * n)[: k + 3]  # longer than allowed now and then

    plain = run(FakeBackend(says(answer, "p")), stop=stop, max_tokens=budget)
    backend, slot = FakeBackend(says(answer, "p"), n_batch=batch), Slot(0)
    controller = ScriptedController(draft)
    drafted = run(backend, stop=stop, max_tokens=budget, slot=slot, controller=controller)
    assert drafted[0] == plain[0]
    assert drafted[1].reason is plain[1].reason
    assert slot.tokens == backend.sequences[0]
    for emitted, accepted, n_drafted, n_batch in controller.steps:
        assert accepted <= n_drafted < n_batch
        assert len(emitted) in (accepted, accepted + 1)


def test_sampling_with_a_seed_is_the_same_with_and_without_drafts() -> None:
    def script(tokens: list[int]) -> NDArray[np.float32]:
        rng = np.random.default_rng(tokens[-1])
        return rng.normal(0, 3, N_VOCAB).astype(np.float32)

    sampling = Sampling(temperature=0.8, seed=5)
    plain, _, _ = run(FakeBackend(script), sampling=sampling, max_tokens=60)
    for wrong in (3, 1000):
        answer = list(("p" + plain).encode()) if plain.isascii() else []

        def draft(context: list[int], k: int, answer: list[int] = answer, wrong: int = wrong) -> list[int]:
            good = answer[len(context) : len(context) + 6]
            return [t if i % wrong else t ^ 1 for i, t in enumerate(good, 1)][:k]

        controller = ScriptedController(draft)
        assert run(FakeBackend(script), sampling=sampling, max_tokens=60, controller=controller)[0] == plain


# ---- bans ----


def test_a_banned_beginning_is_left_where_it_would_be_completed() -> None:
    def script(tokens: list[int]) -> NDArray[np.float32]:
        row = np.zeros(N_VOCAB, np.float32)
        n = len(tokens) - 1
        row[b"bad idea."[n] if n < 9 else EOG] = 5
        row[b"bog idea."[n] if n < 9 else EOG] += 3
        return row

    assert run(FakeBackend(script))[0] == "bad idea."
    assert run(FakeBackend(script), ban=(b"bad",))[0] == "bag idea."
    assert run(FakeBackend(script), ban=(b"ba",))[0] == "bod idea."
    assert run(FakeBackend(script), ban=(b"idea",))[0] == "bad idea.", "a ban concerns the beginning alone"


def test_when_every_token_is_banned_the_answer_ends() -> None:
    row = np.full(N_VOCAB, -np.inf, np.float32)
    row[ord("a")] = 1.0
    text, done, _ = run(FakeBackend(lambda _: row.copy()), ban=(b"a",), max_tokens=5)
    assert (text, done.reason) == ("", FinishReason.STOP)


def test_a_generation_can_rest_while_another_sequence_goes_on() -> None:
    def script(tokens: list[int]) -> int:
        answer = b"first answer" if tokens[0] == ord("1") else b"second one"
        return answer[len(tokens) - 1] if len(tokens) <= len(answer) else EOG

    backend = FakeBackend(script)
    generations = [
        Generation(backend, Slot(i), Job(list(p), TokenSampler(Sampling(temperature=0), N_VOCAB)))
        for i, p in enumerate((b"1", b"2"))
    ]
    turns = [iter(g) for g in generations]
    while turns:
        turns = [t for t in turns if next(t, None) is not None]
    assert [g.text for g in generations] == ["first answer", "second one"]
