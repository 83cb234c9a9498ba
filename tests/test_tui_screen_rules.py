"""The rule set picker and the verdict on an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import OptionList

from localllm.events import Role, RuleState, RuleVerdict, Span, Verdict
from localllm.history import MessageState, StoredMessage
from localllm.settings import Paths
from localllm_tui.screens.rules import RulesScreen, VerdictScreen, headline, rule_sets, verdict_text
from localllm_tui.widgets.message_head import head_row
from tests.tui_stage import Stage, screen_text, wait_until

ANSWER = "A short answer that is far too long."
VERDICT = Verdict(
    False,
    (
        RuleVerdict("has-heading", RuleState.PASS),
        RuleVerdict("words", RuleState.FAIL, 8, "at most 5", Span(15, 36), "Too many words."),
        RuleVerdict("tone", RuleState.NOT_EVALUATED),
    ),
)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "broken.toml").write_text("this is no toml")
    return Paths(tmp_path, tmp_path / "config.toml", tmp_path)


def test_the_sets_that_come_with_localllm_and_the_users_own_are_listed(paths: Paths) -> None:
    entries = {entry.name: entry for entry in rule_sets(paths)}
    assert "commit-message" in entries and not entries["commit-message"].problem
    assert entries["broken"].problem


async def test_choosing_gives_the_name_and_the_first_line_gives_none(paths: Paths) -> None:
    for wanted, result in (("set-commit-message", "commit-message"), ("none", "")):
        screen = RulesScreen(paths, "meeting-minutes")
        app = Stage(screen)
        async with app.run_test(size=(100, 40)) as pilot:
            listing = screen.query_one(OptionList)
            assert listing.highlighted == listing.get_option_index("set-meeting-minutes")
            listing.highlighted = listing.get_option_index(wanted)
            await pilot.press("enter")
            await wait_until(pilot, lambda app=app: bool(app.results), "the result")  # type: ignore[misc]
        assert app.results == [result]


async def test_leaving_changes_nothing(paths: Paths) -> None:
    app = Stage(RulesScreen(paths))
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("escape")
        await wait_until(pilot, lambda: bool(app.results), "the result")
    assert app.results == [None]


def test_failures_come_first_with_measure_reason_and_span() -> None:
    lines = verdict_text(VERDICT, ANSWER).plain.splitlines()
    assert lines[0].startswith("✗ fail") and "words" in lines[0]
    assert "measured 8, required at most 5" in lines[1]
    assert "Too many words." in lines[2] and "that is far too long." in lines[3]


@pytest.mark.parametrize("state", list(RuleState))
def test_every_state_is_a_word(state: RuleState) -> None:
    text = verdict_text(Verdict(True, (RuleVerdict("r", state),)), "").plain
    assert state.value.replace("_", " ") in text


@pytest.mark.parametrize(
    ("states", "passed", "says"),
    [
        (("pass", "fixed"), True, "Every rule is kept"),
        (("pass", "warn"), True, "One rule is not kept: it only warns"),
        (("warn", "not_evaluated"), True, "2 rules are not kept: they only warn"),
        (("warn", "fail"), False, "Not every rule is kept"),
    ],
)
def test_a_rule_that_only_warns_is_not_called_kept(states: tuple[str, ...], passed: bool, says: str) -> None:
    verdict = Verdict(passed, tuple(RuleVerdict(f"r{n}", RuleState(state)) for n, state in enumerate(states)))
    assert headline(verdict) == says
    message = StoredMessage(1, 1, None, Role.ASSISTANT, "Text.", MessageState.COMPLETE, 0.0, verdict=verdict)
    good = sum(state in ("pass", "fixed") for state in states)
    mark = "✗" if not passed else "✓" if good == len(states) else "!"
    assert f"rules {good}/{len(states)} {mark}" in head_row(message, (1, 1), 60).content.plain


async def test_repair_is_offered_only_where_it_can_be_done() -> None:
    for can_repair, result in ((True, ["repair"]), (False, [])):
        app = Stage(VerdictScreen(VERDICT, ANSWER, can_repair=can_repair))
        async with app.run_test(size=(100, 30)) as pilot:
            await pilot.press("r")
            await pilot.pause()
            assert app.results == result
            assert can_repair or "answer again" not in screen_text(app)
