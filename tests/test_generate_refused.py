"""A grammar that outgrows its limits in mid-answer: the answer goes on, and says that it is checked afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localllm.assistant.generate import Generated, generate
from localllm.engine.protocol import Cancel, ConstraintSpec, EngineEvent, Request, TokenEvent
from localllm.errors import ConstraintRefused
from localllm.events import Message, Role, RuleState, Token
from localllm.rules.rulebook import Rulebook
from localllm.settings import Settings
from tests.fakes import FakeEngine


class Refusing(FakeEngine):
    """Gives up on a constraint after some tokens."""

    def __init__(self, answers: list[str], after: int) -> None:
        super().__init__(answers)
        self.after = after

    def stream(self, request: Request, cancel: Cancel | None = None) -> Iterator[EngineEvent]:
        seen = 0
        for event in super().stream(request, cancel):
            if request.constraint is not None and isinstance(event, TokenEvent):
                if seen == self.after:
                    raise ConstraintRefused("The grammar became too complex while decoding.")
                seen += 1
            yield event


def run(engine: FakeEngine, prefix: str = "", enforce: str = "") -> tuple[Generated, str]:
    rules = Rulebook.parse('[[rule]]\nid="no"\ntype="forbid"\nwords=["rust"]\n' + enforce).compile(engine, Settings())
    request = Request(
        (Message(Role.USER, "Hello"),), max_tokens=100, prefix=prefix, constraint=ConstraintSpec("regex", ".*")
    )
    events, shown = generate(engine, request, rules=rules), ""
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            return stop.value, shown
        shown += event.text if isinstance(event, Token) else ""


@pytest.mark.parametrize(("rest", "state"), [(" and dry.", RuleState.PASS), (" and rust.", RuleState.FAIL)])
def test_the_answer_goes_on_from_what_stands_and_is_checked_in_the_end(rest: str, state: RuleState) -> None:
    engine = Refusing(["Keep it clean, always.", rest], after=3)
    made, shown = run(engine)
    assert engine.requests[1].prefix == "Keep it clea"
    assert engine.requests[1].constraint is None
    assert shown.startswith("Keep it clea" + rest[:4])
    assert any("checked afterwards" in note for note in made.notes)
    assert made.verdict is not None
    assert made.verdict.rules[0].verdict is state


def test_a_rule_that_must_be_enforced_while_decoding_is_not_left_to_the_check() -> None:
    with pytest.raises(ConstraintRefused):
        run(Refusing(["Keep it clean."], after=2), enforce='enforce="decode"')


def test_a_part_that_stands_already_is_gone_on_from_without_the_constraint() -> None:
    engine = Refusing(["x", " and dry."], after=0)
    made, _ = run(engine, prefix="Keep it clean")
    assert made.text == "Keep it clean and dry."
    assert engine.requests[1].prefix == "Keep it clean"
