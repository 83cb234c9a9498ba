"""Gauges say while an answer is written what the verdict would say; the audit trail finds every attempt."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from localllm.events import RuleState, RuleVerdict, Verdict
from localllm.rules.audit import AuditLog
from localllm.rules.gauges import ADDING_UP, GaugeState, LiveGauges
from localllm.rules.outcome import Context
from localllm.rules.ruleset import RuleSet, parse_ruleset
from localllm.rules.trail import read_trail

COUNTS = parse_ruleset("\n".join(f'[[rule]]\ntype = "{kind}"\nmin = 2\nmax = 4' for kind in sorted(ADDING_UP)))
PIECES = st.sampled_from(
    ["a", "Word", "e.g.", "3.5", "B.", " ", ". ", "! ", "\n", "\n\n", "\n \n", "- ", "* x", "1. ", "#",
     "|", "…", "é", "'s", "\r"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=60), st.integers(0, 10**6))
def test_a_count_that_grew_in_pieces_is_the_count_of_the_whole(pieces: list[str], seed: int) -> None:
    rules, gauges = COUNTS.of_stage("output"), LiveGauges(COUNTS.of_stage("output"))
    text, shown = "", gauges.read("")
    rng = random.Random(seed)
    for piece in pieces:
        text += piece
        if rng.random() < 0.5:
            shown = gauges.read(text)
    shown = gauges.read(text)
    for rule, gauge in zip(rules, shown, strict=True):
        assert rule.kind is not None
        finding = rule.kind.check(rule.params, text, Context())
        assert gauge.reading.startswith(f"{finding.measured}, "), rule.type
        assert (gauge.state is GaugeState.KEPT) == finding.passed


def test_a_repair_takes_the_count_back() -> None:
    gauges = LiveGauges(parse_ruleset('[[rule]]\ntype = "words"\nmax = 3').of_stage("output"))
    assert gauges.read("one two\n\nthree four")[0].state is GaugeState.LOST
    (gauge,) = gauges.read("one two")
    assert (gauge.reading, gauge.state, gauge.label) == ("2, at most 3", GaugeState.KEPT, "words")


def test_json_is_followed_from_the_first_bracket_to_the_last() -> None:
    rules = parse_ruleset('[[rule]]\ntype = "json"\nroot = "object"').of_stage("output")
    gauges = LiveGauges(rules)
    readings = []
    text = ""
    for piece in ("", '{"a": [1, ', '"brace } in a ', 'text"', "]", "}"):
        text += piece
        gauge = gauges.read(text)[0]
        readings.append((gauge.reading, gauge.state.value))
    assert readings == [
        ("not begun", "open"), ("open, 2 levels", "open"), ("open, 2 levels, in a text", "open"),
        ("open, 2 levels", "open"), ("open, 1 level", "open"), ("closed and valid", "kept"),
    ]  # fmt: skip
    assert gauges.read("[1]")[0].state is GaugeState.LOST
    assert gauges.read("Sure, here it is")[0].reading == "begins with other words"


def test_rules_that_can_not_be_measured_yet_are_counted() -> None:
    rules = parse_ruleset('[[rule]]\ntype = "words"\nmax = 3\n[[rule]]\ntype = "repetition"').of_stage("output")
    gauges = LiveGauges(rules)
    assert gauges.later == 1 and len(gauges.read("a")) == 1


# ---- the trail ----


def verdict(passed: bool) -> Verdict:
    return Verdict(passed, (RuleVerdict("length", RuleState.PASS if passed else RuleState.FAIL),))


def test_the_trail_holds_every_attempt_of_the_turn_and_nothing_of_others(tmp_path: Path) -> None:
    log, rules = AuditLog(tmp_path), RuleSet("short", sha256="abc")
    log.write(rules, "output", "same", verdict(True), attempt=1, model="m")  # an older turn with the same text
    log.write(rules, "output", "too long", verdict(False), attempt=1, model="m")
    log.write(RuleSet("other", sha256="x"), "output", "else", verdict(True), attempt=1, model="m")
    log.write(rules, "output", "same", verdict(True), attempt=2, model="m")
    log.write(rules, "output", "next turn", verdict(True), attempt=1, model="m")
    with log.path.open("ab") as file:
        file.write(b'{"torn": \n')
    trail = read_trail(tmp_path, "same")
    assert [(r.attempt, r.passed, r.rules) for r in trail] == [
        (1, False, (("length", "fail"),)),
        (2, True, (("length", "pass"),)),
    ]
    assert read_trail(tmp_path, "never said") == () and read_trail(tmp_path / "none", "same") == ()
