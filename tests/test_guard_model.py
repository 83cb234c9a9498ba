"""A guard model: how it is asked, what its answers mean, and that no answer is never a pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localllm.assistant import Assistant
from localllm.assistant.slot import Opener
from localllm.cli import main
from localllm.engine.protocol import Cancel, EngineEvent, Request
from localllm.errors import GenerationError, ModelNotFound
from localllm.events import FinishReason, Loading, Passage, RuleState
from localllm.open import open_assistant, open_guard
from localllm.rules.audit import AuditLog
from localllm.rules.guards.model import HAZARDS, PIECES, ask_guard, style_of
from localllm.rules.rulebook import Rulebook
from localllm.settings import Paths, Settings
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
    book.compile(FakeEngine(["no", "yes"]), Settings())
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


class Openers:
    """Loads fakes by name, and remembers which."""

    def __init__(self, **engines: FakeEngine) -> None:
        self.engines = engines
        self.loaded: list[str] = []

    def __call__(self, name: str) -> Opener:
        def load(report: Callable[[Loading], None]) -> FakeEngine:
            report(Loading(name, 1.0))
            self.loaded.append(name)
            return self.engines[name]

        return load


def ruled(engine: FakeEngine, openers: Openers, rules: str = RULES, **settings: Any) -> Assistant:
    return Assistant(engine, rules=Rulebook.parse(rules), find_guard=openers, settings=Settings(**settings))


def test_the_guard_model_of_the_settings_is_loaded_once_and_asked_about_question_and_answer() -> None:
    answering, openers = FakeEngine(["An answer."]), Openers(one=FakeEngine(["no"]))
    with ruled(answering, openers, guard_model="one") as assistant:
        assert openers.loaded == []
        chat = assistant.history.create_chat().id
        events = list(assistant.send(chat, "Hello"))
        assert [e.model for e in events if isinstance(e, Loading)] == ["one"]
        assistant.ask("Hello again", chat=chat)
        assert openers.loaded == ["one"], "loaded once"
        assert len(openers.engines["one"].requests) == 4
        assert len(answering.requests) == 2
    assert openers.engines["one"].closed


def test_what_the_guard_model_calls_unsafe_never_reaches_the_model_that_answers() -> None:
    answering, openers = FakeEngine(["An answer."]), Openers(one=FakeEngine(["yes"]))
    with ruled(answering, openers, guard_model="one") as assistant:
        finished = assistant.ask("Hello")
    assert finished.reason is FinishReason.REFUSED
    assert answering.requests == []


def test_without_a_setting_the_model_that_answers_is_asked_and_without_such_a_rule_nothing_is_loaded() -> None:
    answering, openers = FakeEngine(["no", "An answer.", "no"]), Openers()
    with ruled(answering, openers) as assistant:
        assert assistant.ask("Hello").text == "An answer."
    assert len(answering.requests) == 3
    with ruled(FakeEngine(["An answer."]), openers, '[[rule]]\ntype="words"\nmax=9', guard_model="one") as assistant:
        assistant.ask("Hello")
    assert openers.loaded == []


def test_another_guard_model_takes_the_place_of_the_one_before() -> None:
    openers = Openers(one=FakeEngine(["no"]), two=FakeEngine(["no"]))
    with ruled(FakeEngine(["An answer."]), openers, guard_model="one") as assistant:
        assistant.ask("Hello")
        assistant.settings = Settings(guard_model="two")
        assistant.ask("Hello")
        assert openers.loaded == ["one", "two"]
        assert openers.engines["one"].closed
        assert not openers.engines["two"].closed


def test_reading_ahead_judges_nothing_and_leaves_no_trace_in_the_audit_log(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    book = Rulebook(Rulebook.parse(RULES).ruleset, audit=log)
    engine = FakeEngine()
    assistant = Assistant(engine, rules=book)
    assistant.read_ahead(None, "Half a ques")
    assert engine.requests == []
    assert not log.path.exists()


def test_rules_check_asks_the_guard_model_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    (tmp_path / "g.toml").write_text(RULES)
    (tmp_path / "a.txt").write_text("Text.")
    arguments = ["rules", "check", str(tmp_path / "g.toml"), str(tmp_path / "a.txt")]
    assert main(args=arguments) == 3
    assert "no guard model is loaded" in capsys.readouterr().err
    monkeypatch.setenv("LOCALLLM_GUARD_MODEL", "one")
    for said, code in (("no", 0), ("yes", 3)):
        engine = FakeEngine([said])
        monkeypatch.setattr("localllm.open.open_guard", lambda settings, paths, engine=engine: engine)
        assert main(args=arguments) == code
        assert engine.closed


@pytest.mark.model
def test_a_second_engine_judges_what_the_first_one_writes(tmp_path: Path) -> None:
    need(CHAT)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "guarded.toml").write_text(RULES.replace('on_fail="reject"', 'on_fail="warn"'))
    paths = Paths(tmp_path, tmp_path / "config.toml", CHAT.parent.parent)
    settings = Settings(
        temperature=0.0, max_tokens=8, ctx=512, draft="none", rules="guarded", guard_model=str(CHAT), threads=1
    )
    with open_assistant(settings, paths) as assistant:
        finished = assistant.ask("Say hello.")
        assert assistant._guard is not None
        guard = assistant._guard.engine
        assert guard is not None and guard is not assistant.engine and guard.info.n_ctx == 512
    assert finished.text and finished.verdict is not None
    assert finished.verdict.rules[0].verdict in (RuleState.PASS, RuleState.WARN), "it was asked, and answered"


def test_a_guard_model_that_is_not_here_is_one_line(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path / "config.toml", tmp_path)
    with pytest.raises(ModelNotFound, match="absent"):
        open_guard(Settings(guard_model="absent"), paths)


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
