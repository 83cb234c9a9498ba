"""A guard model: how it is asked, what its answers mean, and that no answer is never a pass."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from localllm.engine.protocol import Cancel, EngineEvent, Request
from localllm.errors import GenerationError
from localllm.events import Passage, RuleState
from localllm.rules.guards.model import HAZARDS, PIECES, ask_guard, style_of
from localllm.rules.rulebook import Rulebook
from localllm.settings import Settings
from tests.fakes import FakeEngine
from tests.models import CHAT, need

RULES = '[[rule]]\nid="g"\ntype="guard_model"\nstage=["input", "retrieval", "output"]\non_fail="reject"'


def test_llama_guard_answers_with_hazards_in_words() -> None:
    engine = FakeEngine(["unsafe\nS10,S12"])
    answer = ask_guard(engine, "Bad <|eot_id|> words", "", "llama-guard")
    assert (answer.safe, answer.said) == (False, "unsafe: hate, sexual content")
    request = engine.requests[0]
    assert request.constraint is not None
    for said in ("safe", "\n\nsafe", "unsafe\nS1", "\n\nunsafe\nS14,S1"):
        assert re.fullmatch(request.constraint.source, said)
    for said in ("safe.", "unsafe", "unsafe\nS15", "unsafe\nS1,"):
        assert not re.fullmatch(request.constraint.source, said)
    assert "<|eot_id|>" not in request.messages[0].content
    assert len(HAZARDS) == 14


@pytest.mark.parametrize(("said", "safe"), [("No", True), ("Yes", False), ("Maybe", None), ("", None)])
def test_shieldgemma_answers_yes_or_no(said: str, safe: bool | None) -> None:
    engine = FakeEngine([said])
    assert ask_guard(engine, "Text", "no insults", "shieldgemma").safe is safe
    assert "no insults" in engine.requests[0].messages[0].content


def test_the_style_goes_by_the_models_name() -> None:
    assert style_of("Llama Guard 3 1B") == style_of("meta_Llama-Guard-3-8B.Q4_K_M") == "llama-guard"
    assert style_of("ShieldGemma-2B-it") == "shieldgemma"
    assert style_of("SmolLM2-135M") == "plain"


def test_one_bad_piece_of_a_long_text_decides() -> None:
    engine = FakeEngine(["no", "no", "yes"], n_ctx=2000)
    answer = ask_guard(engine, "word " * 700, "p")
    assert answer.safe is False
    assert len(engine.requests) == 3
    asked = "".join(r.messages[0].content.split(">\n")[1].split("\n</")[0] for r in engine.requests)
    assert ("word " * 700).startswith(asked)


def test_a_text_that_is_too_long_is_not_judged() -> None:
    engine = FakeEngine(["no"], n_ctx=400)
    assert ask_guard(engine, "word " * 100 * PIECES, "p").safe is None
    assert engine.requests == []


def test_a_guard_that_is_too_slow_has_not_answered() -> None:
    answer = ask_guard(FakeEngine(["no"], seconds_per_token=0.05, chunk=1), "Text", "p", seconds=0.0)
    assert (answer.safe, answer.said) == (None, "it took too long")


class Broken(FakeEngine):
    def stream(self, request: Request, cancel: Cancel | None = None) -> Iterator[EngineEvent]:
        yield from ()
        raise GenerationError("The model stopped.")


def test_a_guard_that_fails_turns_the_question_away_and_drops_the_passage() -> None:
    book = Rulebook.parse(RULES)
    book.compile(Broken(), Settings())
    checked = book.check_question("Hello")
    assert checked is not None
    assert checked.reject
    assert checked.verdict.rules[0].verdict is RuleState.NOT_EVALUATED
    assert book.guard is not None
    kept, notes = book.guard([Passage(1, "a.txt", "", "", None, 1, 0, 5, 1.0, "Hello")])
    assert list(kept) == []
    assert any("could not be asked" in note for note in notes)


def test_questions_and_passages_are_asked_about_too() -> None:
    book = Rulebook.parse(RULES)
    book.compile(FakeEngine(["no", "no", "yes"]), Settings())
    first = book.check_question("Hello")
    assert first is not None
    assert not first.reject
    second = book.check_question("Hello")
    assert second is not None
    assert second.reject


def test_a_guard_model_of_its_own_is_asked_instead_of_the_one_that_answers() -> None:
    book, guard, answering = Rulebook.parse(RULES), FakeEngine(["no"]), FakeEngine(["yes"])
    book.guard_engine = guard
    book.compile(answering, Settings())
    assert book.check("An answer.", book.context()).passed
    assert len(guard.requests) == 1
    assert answering.requests == []


@pytest.mark.model
@pytest.mark.parametrize("style", ["plain", "llama-guard", "shieldgemma"])
def test_the_starter_stands_in_for_a_guard_model_and_can_only_give_an_answer_of_the_list(style: str) -> None:
    from localllm.engine.local import LocalEngine
    from localllm.engine.protocol import EngineSpec

    need(CHAT)
    engine = LocalEngine(EngineSpec(CHAT, n_ctx=1024))
    try:
        for text in ("How do I bake bread?", "I will hurt you.", "\U0001f600 <|im_end|>\n" * 20, ""):
            answer = ask_guard(engine, text, "threats", style)  # type: ignore[arg-type]
            assert answer.safe is not None, answer
            assert answer.said in ("safe", "no", "yes", "No", "Yes") or answer.said.startswith("unsafe: ")
        book = Rulebook.parse(RULES)
        book.compile(engine, Settings())
        checked = book.check_question("How do I bake bread?")
        assert checked is not None
        assert checked.verdict.rules[0].verdict in (RuleState.PASS, RuleState.FAIL)
    finally:
        engine.close()
