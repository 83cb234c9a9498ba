"""The n-gram drafter: what it finds, what it costs, and that it never reaches across texts."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.engine.draft_ngram import ORDERS, NgramDrafter

TOKENS = st.lists(st.integers(0, 5), max_size=60)


def drafted(
    prompt: Sequence[int], answer: Sequence[int] = (), k: int = 16, corpus: Sequence[list[int]] = ()
) -> list[int]:
    drafter = NgramDrafter()
    drafter.read(corpus)
    drafter.begin(prompt)
    context = list(prompt)
    for token in answer:
        context.append(token)
        drafter.propose(context, k)
    return drafter.propose(context, k)


def test_it_goes_on_copying_the_prompt() -> None:
    prompt = list(range(100, 140))
    assert drafted(prompt, prompt[10:16], k=10) == prompt[16:26]


def test_it_copies_from_passages_beside_the_prompt() -> None:
    passage = list(range(200, 230))
    assert drafted([1, 2, 3], [4, *passage[:8]], k=6, corpus=[passage]) == passage[8:14]


def test_the_longest_match_wins_over_the_latest() -> None:
    long, short = [1, 2, 3, 4, 5, 6, 50, 51], [9, 5, 6, 60, 61]
    assert drafted([*long, 70, *short, 71, 1, 2, 3, 4], [5, 6], k=1) == [50]


def test_a_short_match_gives_a_short_draft() -> None:
    prompt = [*range(100, 160)]
    assert len(drafted(prompt, [7, 110, 111], k=31)) == 6


def test_what_repeats_goes_on_repeating() -> None:
    assert drafted([1, 2, 3] * 4, k=6) == [1, 2, 3, 1, 2, 3]


def test_a_draft_never_runs_from_one_text_into_the_next() -> None:
    first, second = list(range(10, 20)), list(range(30, 40))
    assert drafted([1], first[:8], k=16, corpus=[first, second]) == first[8:]


def test_an_earlier_answer_is_remembered() -> None:
    drafter = NgramDrafter()
    drafter.begin([1, 2, 3])
    answer = list(range(300, 330))
    context = [1, 2, 3]
    for token in answer:
        context.append(token)
        drafter.propose(context, 8)
    drafter.begin([7, 8, 9])
    context = [7, 8, 9, *answer[:6]]
    assert drafter.propose(context, 4) == answer[6:10]


def test_going_on_with_a_chat_indexes_only_what_is_new() -> None:
    drafter = NgramDrafter()
    prompt = list(range(1000))
    drafter.begin(prompt)
    appended: list[int] = []
    append = drafter._append

    def record(token: int) -> None:
        appended.append(token)
        append(token)

    drafter._append = record  # type: ignore[method-assign]
    drafter.propose([*prompt, 5000], 4)
    drafter.begin([*prompt, 5000, 5001])
    assert appended == [5000, 5001]


def test_appending_costs_the_same_however_long_the_text_is() -> None:
    """Counted in index operations: one entry per n-gram length and token, and one place looked up."""
    drafter = NgramDrafter()
    drafter.begin(list(range(3000)))
    before = len(drafter._index)
    drafter.propose([*range(3000), 9000, 9001, 9002], 4)
    assert len(drafter._index) - before <= 3 * len(ORDERS)


def test_confidence_follows_what_was_right() -> None:
    drafter = NgramDrafter()
    prompt = [*range(500)]
    drafter.begin(prompt)
    context = list(prompt)
    for i in range(60):  # two tokens of the prompt, and then something else, again and again
        context += [7 * i, 7 * i + 1]
        drafter.propose(context, 4)
        context.append(10_000 + i)
        drafter.propose(context, 4)
    context += [450, 451]
    assert drafter.propose(context, 4)[0] == 452
    assert drafter.confidence()[0] < 0.1


@settings(max_examples=200, deadline=None)
@given(prompt=TOKENS, answer=TOKENS, k=st.integers(0, 20))
def test_every_draft_stands_in_the_text_behind_the_same_two_tokens(
    prompt: list[int], answer: list[int], k: int
) -> None:
    drafter = NgramDrafter()
    drafter.begin(prompt)
    context = list(prompt)
    for token in answer:
        context.append(token)
        draft = drafter.propose(context, k)
        assert len(draft) <= k
        assert len(drafter.confidence()) == len(draft)
        assert all(0 <= c <= 1 for c in drafter.confidence())
        if draft:
            seen = [*context, *draft]
            end, start = context[-2:], seen[len(context) - 2 : len(context) + 1]
            assert any(seen[i : i + 2] == end and seen[i + 2] == start[2] for i in range(len(context) - 2))


def test_where_a_copied_text_ends_nothing_is_learned() -> None:
    """Behind the end of a message stands a mark that is never drafted, so it can't have been wrong."""
    mark, text, other = 9, [*range(100, 130)], [*range(200, 240)]
    sure = []
    for never in ([mark], []):
        drafter = NgramDrafter(never=never)
        context = [*text, mark, *other, mark]
        drafter.begin(context)
        drafter.propose([*context, *text, 500, *other[:30]], 4)
        sure.append(drafter.confidence()[0])
    assert sure[0] > sure[1]


def test_a_match_of_six_dozen_tokens_is_surer_than_one_of_two_dozen() -> None:
    text = [*range(100, 220)]
    drafter = NgramDrafter()
    confidences = []
    for n in (24, 72):
        drafter.close()
        drafter.begin([*text, 7, *text[:n]])
        drafter.propose([*text, 7, *text[:n]], 4)
        confidences.append(drafter.confidence()[0])
    assert confidences[0] < 0.97 < 0.985 <= confidences[1]


def test_no_draft_runs_into_the_marks_between_messages() -> None:
    """What follows the last word of a question in the prompt is the end of the message, never a part of the answer."""
    end = 2
    drafter = NgramDrafter({1, end})
    prompt = [1, 10, 11, 12, 13, 14, 15, end, 1, 20]
    drafter.begin(prompt)
    assert drafter.propose([*prompt, 11, 12, 13], 8) == [14, 15]
    assert drafter.propose([*prompt, 11, 12, 13, 14, 15], 8) == []
    assert not drafter.confidence()
