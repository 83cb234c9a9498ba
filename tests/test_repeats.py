"""An answer that rules keep from ending does not fill up with loops, and nothing else of it changes."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
from numpy.typing import NDArray

from localllm.engine.cache import Slot
from localllm.engine.constraint import compile_constraint
from localllm.engine.decode import Generation, Job
from localllm.engine.drafting import Controller
from localllm.engine.protocol import ConstraintSpec, GenerationDone, Sampling
from localllm.engine.repeats import Repeats
from localllm.engine.sampling import TokenSampler
from localllm.events import FinishReason
from localllm.rules.rulebook import Rulebook
from tests.byte_vocabulary import END, N_VOCAB, ByteBackend, ByteVocabulary
from tests.fake_backend import ScriptedController

RULE_SETS = 2_000 if os.environ.get("LOCALLLM_SOAK") else 40
VOCABULARY = ByteVocabulary()
SENTENCE = "The pump is well and it runs fast. "


class Loops(ByteBackend):
    """A model that says one sentence for ever; of other letters it likes one more than the next."""

    def __init__(self, sentence: str = SENTENCE, ends_after: int = 1 << 30) -> None:
        super().__init__(0, b"abc")
        self._sentence, self._ends_after = sentence.encode(), ends_after

    def _logits(self, held: list[int]) -> NDArray[np.float32]:
        row = np.zeros(N_VOCAB, np.float32)
        row[list(b"uvwxyz .")] = np.arange(8, 0, -1) / 10
        written = bytes(t for t in held[1:] if t < 256)
        said = next((n for n in range(len(self._sentence), 0, -1) if written.endswith(self._sentence[:n])), 0)
        row[self._sentence[said % len(self._sentence)]] = 9
        if len(written) >= self._ends_after:
            row[END] = 20
        return row


def answer(
    rules: str | ConstraintSpec, model: Loops | None = None, budget: int = 200, controller: Controller | None = None,
    sampling: Sampling | None = None,
) -> tuple[str, FinishReason]:  # fmt: skip
    spec = Rulebook.parse(rules).compiled().constraint if isinstance(rules, str) else rules
    assert spec is not None
    sampler = TokenSampler(sampling or Sampling(temperature=0), N_VOCAB)
    job = Job([112], sampler, max_tokens=budget, matcher=compile_constraint(spec, VOCABULARY), controller=controller)
    generation = Generation(model or Loops(), Slot(0), job)
    *_, done = generation
    assert isinstance(done, GenerationDone)
    return generation.text, done.reason


def words_of(text: str) -> list[str]:
    return [word.strip(".").casefold() for word in text.split()]


def most_often(text: str, n: int) -> int:
    words = words_of(text)
    runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return max(map(runs.count, runs), default=0)


def test_a_text_that_may_not_end_yet_does_not_say_a_sentence_again() -> None:
    text, reason = answer('[[rule]]\ntype="words"\nmin=60', Loops(ends_after=60), budget=1000)
    assert text.startswith(SENTENCE), "the model's own words stand where they are said for the first time"
    assert reason is FinishReason.STOP
    assert 60 <= len(text.split()) < 65
    assert most_often(text, 6) == 1
    assert most_often(text, 4) <= 2


def test_a_text_that_may_end_loops_as_it_would_without_rules() -> None:
    text, reason = answer('[[rule]]\ntype="punctuation"\nforbid=","')
    assert text == (SENTENCE * 9)[:200]
    assert reason is FinishReason.LENGTH


def test_what_a_grammar_of_the_user_repeats_is_left_alone() -> None:
    text, reason = answer(ConstraintSpec("regex", rf"({SENTENCE.replace('.', '[.]')}){{5}}"))
    assert (text, reason) == (SENTENCE * 5, FinishReason.STOP)


@pytest.mark.parametrize("rule", ["csv", "table", "yaml", "code_fence"])
def test_tables_and_code_repeat_what_they_like(rule: str) -> None:
    compiled = Rulebook.parse(f'[[rule]]\ntype="{rule}"\n[[rule]]\ntype="words"\nmin=40').compiled()
    assert compiled.constraint is not None
    assert not compiled.constraint.no_loops
    assert not any(placed.keyword == "loops" for placed in compiled.report)


def test_that_loops_are_refused_is_listed() -> None:
    compiled = Rulebook.parse('[[rule]]\ntype="words"\nmin=40').compiled()
    assert compiled.constraint is not None
    assert compiled.constraint.no_loops
    assert [placed.where for placed in compiled.report if placed.keyword == "loops"] == ["default"]


def test_where_only_a_loop_is_legal_it_is_written() -> None:
    twice = SENTENCE.strip().replace(".", "[.]")
    text, reason = answer(ConstraintSpec("regex", f"(?i:{twice} {twice} {twice})", no_loops=True))
    assert text.casefold() == " ".join([SENTENCE.strip()] * 3).casefold()
    assert reason is FinishReason.STOP


def test_words_that_a_rule_asks_for_come_as_often_as_it_asks() -> None:
    phrase = "We are glad to be of help"
    model = Loops(f"{phrase}. ", ends_after=40)
    text, reason = answer(f'[[rule]]\ntype="ends_with"\ntext="{phrase}"\n[[rule]]\ntype="words"\nmin=20', model)
    assert reason is FinishReason.STOP
    assert text.rstrip(".").endswith(phrase)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_drafts_change_nothing_of_it(temperature: float) -> None:
    rng = random.Random(5)
    rules = '[[rule]]\ntype="words"\nmin=40'
    sampling = Sampling(temperature=temperature, seed=7)

    def draft(context: list[int], k: int) -> list[int]:
        at = len(context) - 1
        return [b if rng.random() < 0.9 else rng.randrange(256) for b in (SENTENCE * 20).encode()[at : at + k]]

    plain = answer(rules, sampling=sampling)
    for _ in range(5):
        assert answer(rules, controller=ScriptedController(draft), sampling=sampling) == plain


def test_every_text_that_is_kept_open_still_comes_to_its_end() -> None:
    rng = random.Random(11)
    rules = ('"words"\nmin=25', '"wrapped"', '"ends_with"\ntext="Bye."', '"keywords"\nwords=["pump", "tap"]')
    for _ in range(RULE_SETS):
        chosen = rng.sample(rules[1:] if rng.random() < 0.5 else rules[:2], rng.randint(1, 2))
        rule_set = "".join(f"[[rule]]\ntype={r}\n" for r in chosen)
        text, reason = answer(rule_set, Loops(ends_after=60), budget=rng.randrange(250, 400))
        assert reason is FinishReason.STOP, (chosen, text)
        assert len(text.encode()) < 250, "the model wanted to end"


def test_runs_are_compared_without_case_and_signs() -> None:
    repeats = Repeats()
    repeats.write(b"One two **three** four,\nfive six! One two three (four) FIVE ")
    assert repeats.goes_on(b"six") and repeats.goes_on(b"*Six") and not repeats.goes_on(b"seven")


def test_another_word_that_begins_like_it_is_no_repeat_once_it_is_longer() -> None:
    repeats = Repeats()
    repeats.write(b"one two three four five six. one two three four five ")
    assert repeats.goes_on(b"s"), "it might become the word"
    assert not repeats.goes_on(b"sixth")


def test_nothing_inside_a_word_is_refused() -> None:
    repeats = Repeats()
    repeats.write(b"one two three four five six. one two three four five s")
    assert not repeats.goes_on(b"ix")


def test_a_word_that_may_not_come_is_not_glued_to_the_one_before() -> None:
    """As in "NewYork", where "New York" had come often enough."""
    repeats = Repeats()
    repeats.write(b"one two three four five six. one two three four five")
    assert repeats.goes_on(b" six") and repeats.goes_on(b"six")
    assert not repeats.goes_on(b"teen")


def test_four_words_come_twice_and_not_a_third_time() -> None:
    repeats = Repeats()
    repeats.write(b"the court of justice said. the court of")
    assert not repeats.goes_on(b" justice")
    repeats.write(b" justice asked. the court of")
    assert repeats.goes_on(b" justice")


def test_what_stands_far_back_may_come_again() -> None:
    repeats = Repeats()
    repeats.write(b"one two three four five six. ")
    repeats.write(" ".join(map(str, range(295))).encode() + b" one two three four five ")
    assert not repeats.goes_on(b"six")


def test_a_text_without_spaces_has_no_repeats() -> None:
    repeats = Repeats()
    repeats.write("泵坏了。".encode() * 9)
    assert not repeats.goes_on("泵".encode())
