"""The model drafter: nothing is evaluated twice, it catches up when asked, and vocabularies are translated."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from localllm.engine.draft_model import Identity, ModelDrafter
from localllm.engine.translation import ByText, make_translation

N_VOCAB = 50


def next_token(held: Sequence[int]) -> int:
    """The draft model's greedy choice: depends on the last two tokens and on the length, so that any slip shows."""
    return (3 * held[-1] + (held[-2] if len(held) > 1 else 0) + len(held)) % N_VOCAB


class ScriptedContext:
    """Evaluates a fixed function; complains about holes and double evaluation."""

    def __init__(self, n_ctx: int = 400, n_batch: int = 16) -> None:
        self.n_ctx, self.n_batch = n_ctx, n_batch
        self.held: list[int] = []
        self.n_evaluated = 0
        self._row: NDArray[np.float32] = np.zeros(N_VOCAB, np.float32)

    def decode(self, seq: int, tokens: Sequence[int], pos: int, n_outputs: int) -> bool:
        assert pos == len(self.held), "a hole in the state"
        assert 0 < len(tokens) <= self.n_batch
        assert pos + len(tokens) <= self.n_ctx
        self.held += tokens
        self.n_evaluated += len(tokens)
        self._row = np.zeros(N_VOCAB, np.float32)
        if n_outputs:
            self._row[next_token(self.held)] = 5.0
        return True

    def logits(self, row: int) -> NDArray[np.float32]:
        return self._row

    def seq_rm(self, seq: int, start: int, end: int = -1) -> bool:
        del self.held[start:]
        return True


def greedy(context: Sequence[int], k: int) -> list[int]:
    tokens = list(context)
    for _ in range(k):
        tokens.append(next_token(tokens))
    return tokens[len(context) :]


def always(_: Sequence[float]) -> bool:
    return True


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_whatever_is_accepted_the_draft_is_that_of_a_fresh_model(seed: int) -> None:
    rng = random.Random(seed)
    drafter = ModelDrafter("tiny", ScriptedContext())
    context = [rng.randrange(N_VOCAB) for _ in range(rng.randint(1, 40))]
    for _ in range(2):
        drafter.begin(context)
        for _ in range(12):
            k = rng.randint(1, 9)
            stop_at = rng.randint(1, 9)
            draft = drafter.propose_while(context, k, lambda c, n=stop_at: len(c) < n)  # type: ignore[misc]
            assert draft == greedy(context, len(draft))
            assert len(drafter.confidence()) >= len(draft)
            accepted = rng.randint(0, len(draft))
            context += draft[:accepted]
            # the target's own token, sometimes the one that the draft had next; at times plain steps in between
            more = draft[accepted : accepted + 1] if rng.random() < 0.4 else [rng.randrange(N_VOCAB)]
            context += more or [rng.randrange(N_VOCAB)]
            context += [rng.randrange(N_VOCAB) for _ in range(rng.choice((0, 0, 3, 30)))]
            if len(context) > 300:
                return
        context = context[: rng.randint(1, len(context))]


def test_accepted_tokens_are_never_evaluated_again() -> None:
    script = ScriptedContext()
    drafter = ModelDrafter("tiny", script)
    context = [1, 2, 3, 4]
    drafter.begin(context)
    for _ in range(6):
        context += [*drafter.propose(context, 5), 7]
    drafter.propose(context, 1)
    assert script.n_evaluated == len(context), "each token of the answer once, and nothing else"


def test_a_rejected_tail_costs_only_itself() -> None:
    script = ScriptedContext()
    drafter = ModelDrafter("tiny", script)
    context = [1, 2, 3, 4]
    drafter.begin(context)
    draft = drafter.propose(context, 6)
    before = script.n_evaluated
    context += [*draft[:2], (draft[2] + 1) % N_VOCAB]
    drafter.propose(context, 1)
    assert script.n_evaluated - before == 1


def test_what_was_not_sent_is_not_drafted_again() -> None:
    script = ScriptedContext()
    drafter = ModelDrafter("tiny", script)
    context = [1, 2, 3, 4]
    drafter.begin(context)
    draft = drafter.propose(context, 6)
    before = script.n_evaluated
    context += draft[:3]  # two were sent and accepted, the target's own token agrees with the third
    assert drafter.lag(context) == 0
    assert drafter.propose(context, 3) == draft[3:]
    assert script.n_evaluated == before
    assert drafter.evaluated == 0


def test_it_lags_behind_until_it_is_asked() -> None:
    script = ScriptedContext()
    drafter = ModelDrafter("tiny", script)
    context = list(range(20))
    drafter.begin(context)
    assert script.n_evaluated == 0
    assert drafter.lag(context) == 20
    drafter.propose(context, 1)
    context += [*range(20, 40)]
    assert drafter.lag(context) == 20


def test_a_full_window_ends_the_draft_instead_of_the_process() -> None:
    drafter = ModelDrafter("tiny", ScriptedContext(n_ctx=12))
    context = list(range(10))
    drafter.begin(context)
    assert len(drafter.propose(context, 8)) == 3
    assert drafter.propose([*context, 1, 2, 3, 4, 5], 8) == []


def test_nothing_is_drafted_behind_the_end_of_a_turn() -> None:
    end = greedy([1, 2, 3], 2)[-1]
    drafter = ModelDrafter("tiny", ScriptedContext(), eog=frozenset({end}))
    drafter.begin([1, 2, 3])
    assert drafter.propose([1, 2, 3], 8) == greedy([1, 2, 3], 2)


class Words:
    """A vocabulary of given pieces; control tokens are written ``<...>``."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.n_tokens = len(pieces)
        self.control = {p: i for i, p in enumerate(pieces) if p.startswith("<")}
        self.eog = frozenset(i for i, p in enumerate(pieces) if p in ("<end>", "</s>"))

    def piece(self, token: int) -> bytes:
        text = self.pieces[token]
        return b"" if text.startswith("<") else text.encode()

    def tokenize(self, text: str | bytes) -> list[int]:
        data = text if isinstance(text, bytes) else text.encode()
        return [self.pieces.index(chr(b)) for b in data]


def spelling(vocab: object, token: int) -> str:
    assert isinstance(vocab, Words)
    return vocab.pieces[token]


def test_equal_vocabularies_need_no_translation() -> None:
    make: Callable[..., object] = make_translation
    assert isinstance(make(Words("a", "b"), Words("a", "b"), spelling), Identity)
    assert isinstance(make(Words("a", "b"), Words("b", "a"), spelling), ByText)


def test_tokens_are_translated_by_their_text() -> None:
    target = Words("a", "b", "ab", "<end>", "c")
    draft = Words("b", "a", "</s>", "z")
    both = ByText(target, draft)
    assert both.to_draft(0) == (1,)
    assert both.to_draft(2) == (1, 0), "a token without a counterpart is read in the draft's own cut"
    assert both.to_draft(3) == (), "an unknown control token is left out"
    assert both.to_target(0) == 1
    assert both.to_target(2) == 3, "ends of turns correspond by meaning"
    assert both.to_target(3) == -1
    assert both.covered == 0.75


def test_a_draft_of_another_vocabulary_drafts_in_the_target_s_tokens() -> None:
    pieces = [chr(97 + i) for i in range(26)]
    shuffled = pieces[13:] + pieces[:13] + ["_"] * (N_VOCAB - 26)
    both = ByText(Words(*pieces), Words(*shuffled))
    drafter = ModelDrafter("tiny", ScriptedContext(), translation=both)
    context = [0, 1, 2]
    drafter.begin(context)
    for token in drafter.propose(context, 5):
        assert 0 <= token < 26


def test_what_was_read_ahead_is_not_read_again() -> None:
    context = ScriptedContext()
    drafter = ModelDrafter("d", context)
    prompt = list(range(40))
    drafter.read_ahead(prompt, lambda: True)
    assert context.held == prompt
    question = [*prompt, 7, 8, 9]
    drafter.begin(question)
    assert drafter.lag(question) == 3
    assert drafter.propose(question, 4) == greedy(question, 4)
    assert context.n_evaluated == drafter.n_read == len(question) + 3


def test_reading_ahead_ends_when_told_to_and_what_was_read_counts() -> None:
    context = ScriptedContext(n_batch=16)
    drafter = ModelDrafter("d", context)
    answers = iter([True, False])
    drafter.read_ahead(list(range(40)), lambda: next(answers))
    assert context.held == list(range(16))
    prompt = [*range(10), 49, 48]
    drafter.begin(prompt)
    assert drafter.propose(prompt, 3) == greedy(prompt, 3)


def test_a_prompt_that_does_not_fit_is_not_read_ahead() -> None:
    context = ScriptedContext(n_ctx=32)
    ModelDrafter("d", context).read_ahead(list(range(40)), lambda: True)
    assert context.n_evaluated == 0
