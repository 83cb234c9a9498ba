"""The context budget: whole oldest turns go first, everything left out is reported, nothing is cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.errors import ContextOverflow
from localllm.events import Message, Role
from localllm.prompt import RESERVE_TOKENS, alternating, fit
from tests.fakes import FakeEngine

SYSTEM = Message(Role.SYSTEM, "Be brief.")


def user(text: str) -> Message:
    return Message(Role.USER, text)


def answer(text: str) -> Message:
    return Message(Role.ASSISTANT, text)


def chat(n_turns: int, size: int = 20) -> list[Message]:
    turns = [m for i in range(n_turns) for m in (user(f"q{i} " + "x" * size), answer(f"a{i} " + "y" * size))]
    return [SYSTEM, *turns, user("the question")]


def size(messages: list[Message]) -> int:
    return len(FakeEngine().render(messages).token_ids)


def test_a_chat_that_fits_goes_in_whole_without_a_note() -> None:
    messages = chat(3)
    fitted = fit(FakeEngine(), messages, n_ctx=4096)
    assert fitted.messages == tuple(messages) and fitted.notes == ()
    assert (fitted.context.prompt_tokens, fitted.context.dropped_messages) == (size(messages), 0)


def test_the_oldest_turns_are_left_out_whole_and_reported() -> None:
    messages = chat(10)
    n_ctx = (size(messages[:1] + messages[-7:]) + 1) * 4 // 3 + 1  # three turns, the question and a quarter fit
    fitted = fit(FakeEngine(), messages, n_ctx=n_ctx)
    assert fitted.messages == (SYSTEM, *messages[-7:])
    assert fitted.context.dropped_messages == 14
    assert fitted.notes == (f"The 14 oldest messages were left out: the window holds {n_ctx:,} tokens.",)


def test_a_question_longer_than_the_window_is_refused_with_both_numbers() -> None:
    messages = [*chat(5)[:-1], user("z" * 600)]
    with pytest.raises(ContextOverflow) as caught:
        fit(FakeEngine(), messages, n_ctx=500)
    alone = size([SYSTEM, messages[-1]])
    assert (caught.value.n_prompt, caught.value.n_ctx) == (alone, 500)
    assert str(alone) in caught.value.message and "500" in caught.value.message


def test_a_question_that_leaves_little_room_is_answered_with_a_note() -> None:
    question = [user("z" * 300)]
    n_ctx = size(question) + 10
    fitted = fit(FakeEngine(), question, n_ctx=n_ctx)
    assert fitted.notes == (f"Only 10 of {n_ctx:,} tokens are left for the answer.",)


def test_the_wanted_answer_length_is_kept_free() -> None:
    messages = chat(40)
    short = fit(FakeEngine(), messages, n_ctx=2048, max_tokens=16)
    long = fit(FakeEngine(), messages, n_ctx=2048, max_tokens=512)
    assert 2048 - short.context.prompt_tokens >= 16 and 2048 - long.context.prompt_tokens >= 512
    assert len(short.messages) > len(long.messages)


def test_a_prefix_of_the_answer_counts() -> None:
    messages = chat(1)
    bare, begun = (fit(FakeEngine(), messages, n_ctx=4096, prefix=p).context.prompt_tokens for p in ("", "half"))
    assert begun == bare + 4


def test_a_chat_that_begins_with_an_answer_loses_that_first() -> None:
    messages = [answer("Hello, I am " + "x" * 200), user("q" * 50), answer("a" * 50), user("question")]
    kept = fit(FakeEngine(), messages, n_ctx=(size(messages[1:]) + 1) * 4 // 3 + 1)
    assert kept.messages == tuple(messages[1:])


@given(
    st.lists(st.tuples(st.text(max_size=200), st.text(max_size=300)), max_size=12),
    st.text(min_size=1, max_size=300),
    st.integers(64, 3000),
    st.integers(0, 900),
)
@settings(max_examples=200, deadline=None)
def test_the_result_is_a_suffix_of_whole_turns_that_fits_and_is_as_long_as_can_be(
    turns: list[tuple[str, str]], question: str, n_ctx: int, max_tokens: int
) -> None:
    history = [m for q, a in turns for m in (user(q), answer(a))]
    messages = [SYSTEM, *history, user(question)]
    reserve = min(max_tokens or RESERVE_TOKENS, n_ctx // 4)
    try:
        fitted = fit(FakeEngine(), messages, n_ctx=n_ctx, max_tokens=max_tokens)
    except ContextOverflow as error:
        assert error.n_prompt == size([SYSTEM, messages[-1]]) >= n_ctx
        return
    kept = list(fitted.messages)
    dropped = fitted.context.dropped_messages
    assert dropped % 2 == 0 and kept == [SYSTEM, *history[dropped:], messages[-1]]
    assert fitted.context.prompt_tokens == size(kept) < n_ctx
    if dropped:
        assert any(re.search(rf"The {dropped} oldest", note) for note in fitted.notes)
        assert size([SYSTEM, *history[dropped - 2 :], messages[-1]]) > n_ctx - reserve
    if size(kept) > n_ctx - reserve:
        assert len(kept) == 2 and any("left for the answer" in note for note in fitted.notes)


def test_a_long_chat_is_rendered_few_times() -> None:
    class Counting(FakeEngine):
        renders = 0

        def render(self, messages, prefix=""):  # type: ignore[no-untyped-def]
            self.renders += 1
            return super().render(messages, prefix)

    engine = Counting()
    fit(engine, chat(1000), n_ctx=2048)
    assert engine.renders <= 12


def test_questions_without_an_answer_are_joined_with_the_next() -> None:
    assert alternating([user("one"), answer("  "), user("two"), answer("three")]) == [
        user("one\n\ntwo"),
        answer("three"),
    ]
