"""A full window as the user wants it: the answer ends, or the oldest part is forgotten, which is said and counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from localllm.engine.cache import Slot, Slots
from localllm.engine.decode import MOST_WINDOWS
from localllm.engine.local import LocalEngine
from localllm.engine.protocol import EngineSpec, GenerationDone, Request, Sampling, TokenEvent
from localllm.errors import ContextOverflow
from localllm.events import FinishReason, Message, Role
from localllm.llama.context import Context
from localllm.llama.model import Model
from tests.fake_backend import FakeBackend, ScriptedController, run, says
from tests.models import CHAT, need
from tests.recurrent_model import write_mamba

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def alphabet(tokens: list[int]) -> int:
    """A model without an end that looks at the last token alone: the letter behind it."""
    return ord(ALPHABET[(tokens[-1] - ord("a") + 1) % 26])


def letters(n: int, last: str) -> str:
    return "".join(ALPHABET[(ord(last) - ord("a") + 1 + i) % 26] for i in range(n))


@given(
    n_ctx=st.integers(16, 96),
    n_prompt=st.integers(1, 90),
    keep=st.integers(0, 90),
    max_tokens=st.integers(1, 400),
    k=st.integers(0, 5),
    right=st.booleans(),
)
@hypothesis_settings(max_examples=200, deadline=None)
def test_an_answer_goes_on_past_the_window_and_the_beginning_stays(
    n_ctx: int, n_prompt: int, keep: int, max_tokens: int, k: int, right: bool
) -> None:
    n_prompt = min(n_prompt, n_ctx - 1)
    keep = min(keep, n_prompt)
    backend, slot, prompt = FakeBackend(alphabet, n_ctx=n_ctx, n_batch=16, n_outputs_max=8), Slot(0), "q" * n_prompt
    drafts = ScriptedController(lambda context, limit: [context[-1] + 1 if right else 1] * min(k, limit))

    text, done, _ = run(
        backend, prompt, slot=slot, when_full="shift", n_keep=keep, max_tokens=max_tokens, controller=drafts
    )

    forgotten = sum(end - start for start, end in backend.shifted)
    assert text == letters(len(text), "q")
    assert done.stats.forgotten_tokens == forgotten
    assert all(start == keep for start, _ in backend.shifted)
    assert slot.tokens == backend.sequences[0]
    if (n_ctx - keep) // 2 > n_ctx // 16 + 1:
        assert (done.stats.completion_tokens, done.reason) == (min(max_tokens, MOST_WINDOWS * n_ctx), "length")
        assert bool(forgotten) == (n_prompt + max_tokens > n_ctx + 1)
    assert any(f"{forgotten:,} tokens were forgotten" in note for note in done.notes) == bool(forgotten)
    if forgotten:
        assert slot.tokens == list(prompt.encode())[:keep], "what was computed with forgotten tokens is let go"
    backend.shifted.clear()
    again, done, _ = run(backend, prompt, slot=slot, max_tokens=1)
    assert again == letters(1, "q")
    assert done.stats.cached_tokens == min(keep if forgotten else n_prompt, n_prompt - 1)


def test_without_the_wish_a_full_window_ends_the_answer_as_ever() -> None:
    backend = FakeBackend(alphabet, n_ctx=32)
    text, done, _ = run(backend, "q" * 10)
    assert (len(text), done.reason, done.notes) == (22, FinishReason.LENGTH, ())
    assert (backend.shifted, done.stats.forgotten_tokens) == ([], 0)


def test_an_answer_that_fits_is_not_shifted() -> None:
    backend, slot = FakeBackend(says("Hello there.", "p"), n_ctx=32), Slot(0)
    text, done, _ = run(backend, "p", slot=slot, when_full="shift")
    assert (text, done.notes, backend.shifted) == ("Hello there.", (), [])
    assert len(slot.tokens) == 13, "the whole of it can be gone on with"


def test_an_answer_without_a_budget_ends_after_so_many_windows() -> None:
    _, done, _ = run(FakeBackend(alphabet, n_ctx=32), "q", when_full="shift")
    assert (done.stats.completion_tokens, done.reason) == (MOST_WINDOWS * 32, FinishReason.LENGTH)


def test_where_the_memory_cannot_shift_the_answer_ends_and_says_why() -> None:
    backend, slot = FakeBackend(alphabet, n_ctx=32), Slot(0)
    backend.shifts = False
    text, done, _ = run(backend, "q" * 10, slot=slot, when_full="shift", max_tokens=100)
    assert (text, done.reason) == (letters(23, "q"), FinishReason.LENGTH)
    assert done.notes == ("The window is full, and nothing of it can be forgotten to go on.",)
    assert slot.tokens == backend.sequences[0]
    assert len(slot.tokens) == 32, "nothing was thrown away"


def test_a_system_prompt_that_fills_the_window_leaves_nothing_to_forget() -> None:
    backend = FakeBackend(alphabet, n_ctx=32)
    _, done, _ = run(backend, "q" * 30, when_full="shift", n_keep=30, max_tokens=100)
    assert done.reason is FinishReason.LENGTH
    assert "nothing of it can be forgotten" in done.notes[0]
    assert backend.shifted == []


class Sharing(FakeBackend):
    def seq_cp(self, source: int, target: int, start: int = 0, end: int = -1) -> None:
        self.sequences[target] = self.sequences[source][start:end]


def test_cells_that_another_sequence_holds_too_never_move() -> None:
    backend, slots, prompt = Sharing(alphabet, n_ctx=32), Slots(2), list(b"system and more")
    first = slots.choose(backend, prompt, "one", lambda _: None)
    run(backend, "system and more", slot=first, max_tokens=4)
    first.session, first.busy = "one", True
    second = slots.choose(backend, list(b"system and mere"), "two", lambda _: None)
    assert (second is not first, first.shared, second.shared) == (True, 12, 12)
    assert second.shift(backend, 6) == 0
    assert backend.shifted == []
    second.cut(backend, 6)
    assert second.shared == 6


def test_the_state_behind_a_shift_is_never_taken_for_that_of_a_prompt_nor_saved() -> None:
    backend, slot = FakeBackend(alphabet, n_ctx=32), Slot(0)
    run(backend, "q" * 16, slot=slot, max_tokens=8)
    slot.dirty = True
    assert slot.shift(backend, 4) > 0
    assert slot.holds(slot.tokens) == 4
    assert not slot.dirty
    slot.end_shift(backend)
    assert len(slot.tokens) == 4


# ---- on a real model ------------------------------------------------------------------------------------------------

GREEDY = Sampling(temperature=0)
STORY = (
    Message(Role.SYSTEM, "You tell long stories."),
    Message(Role.USER, "Tell a story about a dragon who learns to read, from its birth to its last day."),
)


COUNTING = "one two three four five six seven eight nine ten one two three four five six seven"


@pytest.fixture
def context() -> Iterator[Context]:
    need(CHAT)
    model = Model(CHAT)
    context = Context(model, n_ctx=512, n_outputs_max=1)
    yield context
    context.close()
    model.close()


def answer(engine: LocalEngine, request: Request) -> tuple[list[int], GenerationDone]:
    ids: list[int] = []
    for event in engine.stream(request):
        if isinstance(event, TokenEvent):
            ids += event.token_ids
    assert isinstance(event, GenerationDone)
    return ids, event


@pytest.mark.model
def test_the_starter_writes_past_a_small_window_and_ends(tmp_path: Path) -> None:
    need(CHAT)
    engine = LocalEngine(EngineSpec(CHAT, n_ctx=256, n_threads=1, speculation="none", sessions_dir=tmp_path))
    try:
        short, _ = answer(engine, Request(STORY, max_tokens=24, sampling=GREEDY, session="chat"))
        assert engine.save_sessions() == 1
        request = Request(STORY, max_tokens=600, sampling=GREEDY, session="chat", when_full="shift")
        ids, done = answer(engine, request)
        assert ids[:24] == short, "as long as the window holds, nothing is different"
        assert len(ids) + done.stats.prompt_tokens > 256 + 64
        assert done.stats.forgotten_tokens >= len(ids) + done.stats.prompt_tokens - 257
        assert any("were forgotten" in note for note in done.notes)
        (slot,) = engine._slots
        system = engine._vocab.tokenize(
            "<|im_start|>system\nYou tell long stories.<|im_end|>\n<|im_start|>user\n", parse_special=True
        )
        assert slot.tokens == system, "the system prompt stays, and nothing that was shifted"
        assert engine.save_sessions() == 0, "a shifted state is not saved"
        again, _ = answer(engine, replace(request, max_tokens=24, when_full="stop"))
        assert again == short
    finally:
        engine.close()


@pytest.mark.model
def test_an_answer_longer_than_the_window_can_be_gone_on_with() -> None:
    """So it is repaired: everything up to the broken rule stands as its prefix."""
    need(CHAT)
    engine = LocalEngine(EngineSpec(CHAT, n_ctx=256, n_threads=1, speculation="none"))
    try:
        prefix = "The dragon read a book. " * 60
        request = Request(STORY, max_tokens=8, sampling=GREEDY, prefix=prefix)
        with pytest.raises(ContextOverflow):
            answer(engine, request)
        ids, done = answer(engine, replace(request, when_full="shift"))
        assert len(ids) == 8
        assert done.stats.prompt_tokens < 256
        assert "left out" in done.notes[0]
        with pytest.raises(ContextOverflow):  # a prompt that never fitted is not cut
            answer(engine, Request((Message(Role.USER, prefix),), when_full="shift"))
    finally:
        engine.close()


@pytest.mark.model
def test_shifted_keys_are_those_of_the_new_positions(context: Context) -> None:
    """A text that was read at positions 100 and on, and moved down, is the text read at 0."""
    text = context.model.vocab.tokenize(COUNTING)
    context.decode(0, text[:-1], 0, 1)
    context.decode(0, text[-1:], len(text) - 1, 1)
    expected = context.logits(0).copy()
    context.clear()
    context.decode(0, text[:-1], 100, 1)
    assert context.seq_shift(0, 0, 100)
    assert context.n_past(0) == len(text) - 1
    context.decode(0, text[-1:], len(text) - 1, 1)
    assert np.abs(context.logits(0) - expected).mean() < 0.25, "rounding, as keys are kept in 16 bits"
    assert context.logits(0).argmax() == expected.argmax()


@pytest.mark.model
def test_a_cancelled_shift_leaves_the_beginning_as_it_was(context: Context) -> None:
    text = context.model.vocab.tokenize(COUNTING)
    keep = len(text) // 3
    context.decode(0, text, 0, 1)
    expected = context.logits(0).copy()
    assert context.seq_shift(0, keep, 2 * keep)
    context.abort()
    assert not context.decode(0, text[:1], context.n_past(0), 1)
    context.abort(False)
    context.seq_rm(0, keep)
    context.decode(0, text[keep:], keep, 1)
    assert np.abs(context.logits(0) - expected).mean() < 0.25
    assert context.logits(0).argmax() == expected.argmax()


@pytest.mark.model
def test_a_recurrent_model_says_that_it_cannot_forget_a_part(tmp_path: Path) -> None:
    write_mamba(tmp_path / "Tiny-Mamba.gguf")
    engine = LocalEngine(EngineSpec(tmp_path / "Tiny-Mamba.gguf", n_ctx=64))
    try:
        ids, done = answer(engine, Request(prompt="the cat", max_tokens=400, sampling=GREEDY, when_full="shift"))
        assert done.reason is FinishReason.LENGTH
        assert len(ids) < 260
        assert "nothing of it can be forgotten" in done.notes[0]
    finally:
        engine.close()
