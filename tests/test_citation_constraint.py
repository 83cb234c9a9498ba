"""Numbers of passages are constrained while the answer is written, beside whatever rules there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.assistant.documents import constraint_of
from localllm.engine.local import LocalEngine
from localllm.engine.protocol import ConstraintSpec, EngineSpec, GenerationDone, Request, Sampling, TokenEvent
from localllm.events import Passage
from localllm.rag.answer import citation_constraint
from localllm.rules.checks.kinds import Fragment
from localllm.rules.compile import lark_of
from tests.test_assistant_seams import FakeGrounding, FakeRules

MODEL = Path(__file__).parent.parent / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
THREE = tuple(Passage(n, "", "", "", None, 1, 0, 1, 0.0, "x") for n in (1, 2, 3))
NUMBERS = citation_constraint(THREE)
TEMPTING = "One [9]. Two [9]. Three [9]. Four [9]. Five [9]. Six"
PLAIN = "The capital of France is"


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    if not MODEL.exists():
        pytest.skip("the starter model is missing: make starter")
    engine = LocalEngine(EngineSpec(MODEL, n_ctx=1024, gpu_layers=0))
    yield engine
    engine.close()


def answer(
    engine: LocalEngine, prompt: str, constraint: ConstraintSpec | None, sampling: Sampling | None = None
) -> tuple[str, GenerationDone]:
    request = Request(
        prompt=prompt, max_tokens=24, sampling=sampling or Sampling(temperature=0.0), constraint=constraint,
        speculation="none",
    )  # fmt: skip
    events = list(engine.stream(request))
    done = events[-1]
    assert isinstance(done, GenerationDone)
    return "".join(e.text for e in events if isinstance(e, TokenEvent)), done


@pytest.mark.model
def test_a_model_that_wants_to_cite_a_passage_that_is_not_there_can_not(engine: LocalEngine) -> None:
    assert "[9]" in answer(engine, TEMPTING, None)[0]
    for sampling in (Sampling(temperature=0.0), *(Sampling(temperature=1.5, seed=seed) for seed in range(4))):
        text, _ = answer(engine, TEMPTING, NUMBERS, sampling)
        assert all(set(re.findall(r"\d+", mark)) <= {"1", "2", "3"} for mark in re.findall(r"\[\s*\d[^\]]*", text)), (
            text
        )


@pytest.mark.model
def test_an_answer_that_breaks_nothing_is_the_same_and_costs_no_evaluation_more(engine: LocalEngine) -> None:
    free, without = answer(engine, PLAIN, None)
    held, with_numbers = answer(engine, PLAIN, NUMBERS)
    assert "[" not in free
    assert held == free
    assert with_numbers.stats.speculation.target_steps == without.stats.speculation.target_steps
    assert with_numbers.stats.completion_tokens == without.stats.completion_tokens


def test_rules_of_text_and_numbers_of_passages_become_one_grammar() -> None:
    rules = FakeRules(
        constraint=ConstraintSpec("lark", lark_of([Fragment("(?s:.*)end"), Fragment("(?s:.*)bad(?s:.*)", True)]))
    )
    both, notes = constraint_of(FakeGrounding(THREE, constraint=NUMBERS), rules)
    assert both is not None
    assert not notes
    for text, allowed in (("so [2] end", True), ("so [4] end", False), ("so [2]", False), ("bad [2] end", False)):
        assert allows(both, text) is allowed, text


def test_where_rules_fix_the_whole_format_it_is_said_that_numbers_are_checked_afterwards() -> None:
    rules = FakeRules(constraint=ConstraintSpec("json_schema", "{}"))
    found, notes = constraint_of(FakeGrounding(THREE, constraint=NUMBERS), rules)
    assert found == rules.constraint
    assert "checked when it is done" in notes[0]
    hidden = FakeGrounding(THREE, constraint=NUMBERS, hidden=True)
    found, notes = constraint_of(hidden, rules)
    assert found == NUMBERS
    assert "rules are checked" in notes[0]
    assert constraint_of(None, rules) == (rules.constraint, ())
    assert constraint_of(hidden, None) == (NUMBERS, ())
    assert constraint_of(None, None) == (None, ())


def allows(spec: ConstraintSpec, text: str) -> bool:
    from llguidance import LLMatcher, LLTokenizer

    assert spec.kind == "lark"
    matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(spec.source), log_level=0)
    ids = list(text.encode())
    return bool(matcher.validate_tokens(ids) == len(ids) and matcher.consume_tokens(ids) and matcher.is_accepting())
