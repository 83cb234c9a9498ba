"""Texts whose words are counted: they end behind a word, not inside one, and never in a heap of blank lines."""

from __future__ import annotations

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.engine.cache import Slot
from localllm.engine.constraint import compile_constraint
from localllm.engine.decode import Generation, Job
from localllm.engine.drafting import Controller
from localllm.engine.protocol import EngineSpec, GenerationDone, Request, Sampling, TokenEvent
from localllm.engine.sampling import TokenSampler
from localllm.events import FinishReason, Message, Role
from localllm.rules.rulebook import Rulebook
from tests.byte_vocabulary import N_VOCAB, ByteBackend, ByteVocabulary
from tests.fake_backend import ScriptedController
from tests.models import CHAT, need

VOCABULARY = ByteVocabulary()
STORY = b"Once upon a time, there was a pump. It ran well.\n\n\n\n\n\n\n"


class Tells(ByteBackend):
    """A model that tells a story, and blank lines for ever behind it; where that is not legal, any letter."""

    def __init__(self, text: bytes = STORY) -> None:
        super().__init__(0, b"abc")
        self._text = text

    def _logits(self, held: list[int]) -> NDArray[np.float32]:
        row = np.zeros(N_VOCAB, np.float32)
        row[list(b"abcdefgh")] = 1
        row[self._text[len(held) - 1] if len(held) <= len(self._text) else 10] = 9
        return row


def answer(
    rules: str, budget: int = 200, controller: Controller | None = None, story: bytes = STORY
) -> tuple[str, FinishReason]:
    spec = Rulebook.parse(rules).compiled().constraint
    assert spec is not None
    matcher = compile_constraint(spec, VOCABULARY)
    sampler = TokenSampler(Sampling(temperature=0), N_VOCAB)
    job = Job([112], sampler, max_tokens=budget, matcher=matcher, controller=controller)
    generation = Generation(Tells(story), Slot(0), job)
    *_, done = generation
    assert isinstance(done, GenerationDone)
    return generation.text, done.reason


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_the_last_word_that_may_come_is_not_grown_by_the_next(n: int) -> None:
    less = f'"length_constraints:number_words"\nrelation="less than"\nnum_words={n + 1}'
    for rule in (f'"words"\nmax={n}', less):
        text, reason = answer(f"[[rule]]\ntype={rule}")
        assert text.split() == STORY.decode().split()[:n]
        assert reason is FinishReason.STOP


def test_a_text_ends_with_the_last_sentence_that_fits() -> None:
    for n, sentences in ((11, 1), (14, 1), (23, 2)):
        text, reason = answer(f'[[rule]]\ntype="words"\nmax={n}')
        assert (text, reason) == (
            ". ".join(STORY.decode().strip().split(". ")[:sentences]).rstrip(".") + ".",
            FinishReason.STOP,
        )
    text, _ = answer('[[rule]]\ntype="words"\nmin=10\nmax=25')
    assert text.startswith("Once upon a time, there was a pump. It ran well."), "the lower bound is not met before"


def test_what_must_stand_behind_the_last_word_still_does() -> None:
    text, reason = answer('[[rule]]\ntype="words"\nmax=3\n[[rule]]\ntype="wrapped"')
    assert reason is FinishReason.STOP
    assert text.startswith('"') and text.endswith('"') and len(text.split()) <= 3


def test_a_budget_is_not_filled_with_blank_lines() -> None:
    text, _ = answer('[[rule]]\ntype="words"\nmin=30')
    assert "\n\n\n\n" not in text and len(text.split()) > 11


def test_the_beginning_of_a_text_is_no_last_word() -> None:
    text, _ = answer('[[rule]]\ntype="words"\nmax=5\n[[rule]]\ntype="starts_with"\ntext="Well"')
    assert text.split()[0] == "Well" and len(text.split()) == 5


def test_drafts_change_nothing_of_it() -> None:
    rng = random.Random(3)

    def draft(context: list[int], k: int) -> list[int]:
        at = len(context) - 1
        return [b if rng.random() < 0.8 else rng.randrange(256) for b in STORY[at : at + rng.randrange(k + 1)]]

    for n in range(1, 9):
        rules = f'[[rule]]\ntype="words"\nmax={n}'
        assert answer(rules, controller=ScriptedController(draft)) == answer(rules)


def test_an_answer_that_is_closed_by_its_budget_ends_before_a_word_it_could_not_finish() -> None:
    rules = '[[rule]]\ntype="ends_with"\ntext="Bye."'
    for budget in range(24, 44):
        text, reason = answer(rules, budget)
        assert reason is FinishReason.STOP
        body = text.removesuffix("Bye.").strip()
        assert f"{STORY.decode()} ".startswith(body)
        assert STORY.decode()[len(body)].isspace() or len(body) + 4 > budget - 8, (budget, text)


def test_an_answer_that_is_closed_by_its_budget_ends_behind_a_sentence_if_one_ended_lately() -> None:
    tale = (
        b'"Once there was an old pump in the yard. Nobody had used it for a long time. One day a child came to try it. '
    )
    tale += (
        b"The water was brown at first and then clear. Since then people came from far away. They came to drink of it. "
    )
    for budget in range(120, 180):
        text, reason = answer('[[rule]]\ntype="startend:quotation"', budget, story=tale)
        assert reason is FinishReason.STOP
        assert text.endswith('."') and tale.startswith(text[:-1].encode()), (budget, text)
        assert len(text) > budget - 50


@pytest.mark.model
def test_the_starter_ends_at_its_cap_with_whole_words() -> None:
    from localllm.engine.local import LocalEngine

    need(CHAT)
    engine = LocalEngine(EngineSpec(CHAT, n_ctx=1024, n_threads=1, speculation="none"))
    try:
        messages = (Message(Role.USER, "Tell me a story about a dog."),)
        free = "".join(
            e.text for e in engine.stream(Request(messages=messages, max_tokens=40, sampling=Sampling(temperature=0)))
            if isinstance(e, TokenEvent)
        )  # fmt: skip
        for n in (3, 5, 12):
            spec = Rulebook.parse(f'[[rule]]\ntype="words"\nmax={n}').compiled().constraint
            request = Request(messages=messages, max_tokens=80, sampling=Sampling(temperature=0), constraint=spec)
            text = "".join(e.text for e in engine.stream(request) if isinstance(e, TokenEvent))
            assert free.startswith(text) and len(text.split()) <= n
            assert text.endswith((".", "!", "?")) or len(text.split()) == n, "a sentence, or as many words as may be"
    finally:
        engine.close()
