"""Rule sets: what is read, what is an error, and what a verdict says."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.errors import ConstraintRefused, RuleSyntax
from localllm.events import FinishReason, RuleState
from localllm.rules.lint import lint
from localllm.rules.outcome import Context
from localllm.rules.rulebook import Rulebook, find_ruleset, ready_sets
from localllm.rules.ruleset import parse_ruleset, read_ruleset
from localllm.rules.verdict import judge


def book(rules: str, head: str = "") -> Rulebook:
    return Rulebook.parse(f"[ruleset]\n{head}\n{rules}")


def states(b: Rulebook, text: str, reason: FinishReason = FinishReason.STOP, **context: object) -> dict[str, str]:
    verdict = judge(b.ruleset.rules, text, b.context(**context), reason)
    return {r.id: r.verdict.value for r in verdict.rules}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[rule]]\ntype = 'nonsense'", "no rule type 'nonsense'"),
        ("[[rule]]\ntype = 'words'", "one of min, max, exact"),
        ("[[rule]]\ntype = 'words'\nmin = 5\nmax = 3", "above max"),
        ("[[rule]]\ntype = 'words'\nmin = 'five'", "whole number"),
        ("[[rule]]\ntype = 'words'\nmin = true", "whole number"),
        ("[[rule]]\ntype = 'words'\nmin = -1", "at least 0"),
        ("[[rule]]\ntype = 'words'\nmax = 3\nmaximum = 4", "no field 'maximum'"),
        ("[[rule]]\ntype = 'words'\nmax = 3\nseverity = 'fatal'", "severity must be"),
        ("[[rule]]\ntype = 'words'\nmax = 3\nstage = 'input'", "does not apply to the stage"),
        ("[[rule]]\nid = 'a'\ntype = 'json'\n[[rule]]\nid = 'a'\ntype = 'json'", "two rules 'a'"),
        ("[[rule]]\nid = 'a'", "one of type, all, any, not"),
        ("[[rule]]\nall = []", "list of rules"),
        ("[[rule]]\ntype = 'regex'\npattern = '(a'", "pattern is wrong"),
        ("[[rule]]\ntype = 'grammar'\nsource = 'start: nothing'", "grammar is wrong"),
        ("[[rule]]\ntype = 'expr'\ntest = '__import__(\"os\")'", "not allowed"),
        ("[[rule]]\ntype = 'expr'\ntest = '2 ** 9999999'", "not allowed"),
        ("[[rule]]\ntype = 'json_schema'\nschema = '{\"type\": 7}'", "not a valid JSON Schema"),
        ("[[rule]]\ntype = 'json_schema'\nschema_file = 'absent.json'", "can't be read"),
        ("[ruleset]\nnaem = 'x'\n[[rule]]\ntype = 'json'", "no field 'naem'"),
        ("[ruleset]\nrepair = { attempts = 3 }\n[[rule]]\ntype = 'json'", "no such value"),
        ("[rules]\n", "no section 'rules'"),
        ("[ruleset]\n", "no rule"),
        ("x = 1 2", "line 1"),
    ],
)
def test_whatever_is_unknown_or_wrong_is_an_error_with_a_place(text: str, says: str) -> None:
    with pytest.raises(RuleSyntax) as caught:
        parse_ruleset(text, "my.toml")
    assert says in caught.value.message
    assert caught.value.message.startswith("my.toml")
    assert "\n" not in str(caught.value)


def test_an_error_names_the_line_of_the_rule() -> None:
    with pytest.raises(RuleSyntax, match="line 5, rule 'len'"):
        parse_ruleset("[ruleset]\nname = 'x'\n\n[[rule]]\nid = 'len'\ntype = 'words'")


def test_combinations_conditions_and_pointers() -> None:
    b = book(
        """
[[rule]]
id = "either"
any = [{ type = "json" }, { type = "ends_with", text = "." }]
[[rule]]
id = "neither"
not = { type = "keywords", words = ["lorem"] }
[[rule]]
id = "both"
all = [{ type = "words", min = 1 }, { type = "words", max = 5 }]
[[rule]]
id = "only-if-question"
when = { type = "ends_with", text = "?" }
then = { type = "words", max = 2 }
"""
    )
    assert states(b, "It is fine.") == dict.fromkeys(("either", "neither", "both", "only-if-question"), "pass")
    broken = states(b, "Is this lorem or not lorem, please say?")
    assert set(broken.values()) == {"fail"}
    items = book('[[rule]]\nid = "names"\ntype = "words"\nmax = 1\npointer = "/items/*/name"')
    assert states(items, '{"items": [{"name": "bolt"}]}') == {"names": "pass"}
    assert states(items, '{"items": [{"name": "big bolt"}]}') == {"names": "fail"}
    assert states(items, '{"items": []}') == {"names": "fail"}


def test_a_rule_that_raises_is_a_fail_and_one_that_cant_be_made_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    b = book('[[rule]]\nid = "t"\ntype = "tokens"\nmax = 5')
    verdict = b.check("text")
    assert verdict.rules[0].verdict is RuleState.NOT_EVALUATED
    assert not verdict.passed

    def explode(text: str) -> int:
        raise ZeroDivisionError("boom")

    assert states(b, "text", count_tokens=explode) == {"t": "fail"}


def test_severity_and_on_fail_decide_between_warning_and_failure() -> None:
    b = book(
        '[[rule]]\nid = "a"\ntype = "words"\nmax = 1\nseverity = "warning"\n[[rule]]\nid = "b"\ntype = "words"\nmax = 1'
    )
    assert states(b, "two words") == {"a": "warn", "b": "fail"}
    assert not b.check("two words").passed
    assert book('[[rule]]\ntype = "words"\nmax = 1\non_fail = "warn"').check("two words").passed


def test_an_answer_that_was_cut_off_is_truncated_unless_more_text_cant_mend_it() -> None:
    b = book('[[rule]]\nid = "j"\ntype = "json"\n[[rule]]\nid = "f"\ntype = "forbid"\nwords = ["cat"]')
    assert states(b, '{"a": "cat', FinishReason.LENGTH) == {"j": "truncated", "f": "fail"}
    assert states(b, '{"a": "cat') == {"j": "fail", "f": "fail"}


def test_python_rules_run_only_when_allowed_and_are_ended_in_time(tmp_path: Path) -> None:
    (tmp_path / "r.py").write_text(
        "def check(text):\n    if 'loop' in text:\n        while True: pass\n"
        "    if 'raise' in text:\n        raise ValueError('mine')\n"
        "    return 'too long' if len(text) > 20 else ''\n"
    )
    (tmp_path / "r.toml").write_text('[[rule]]\nid = "p"\ntype = "python"\nfile = "r.py"\ntimeout_ms = 700\n')
    ruleset = read_ruleset(tmp_path / "r.toml")
    closed = Rulebook(ruleset).check("short")
    assert not closed.passed
    assert "--allow-code" in closed.rules[0].reason
    b = Rulebook(ruleset, allow_code=True)
    assert b.check("short").passed
    assert b.check("this is far too long for it").rules[0].reason == "too long"
    assert "ValueError: mine" in b.check("raise").rules[0].reason
    assert "too long" in b.check("loop").rules[0].reason
    assert b.check("short").passed, "a new process serves the next call"


def test_a_pattern_of_exponential_time_is_ended() -> None:
    b = book("[[rule]]\nid = 'r'\ntype = 'regex'\npattern = '(a|aa)+$'\nmatch = 'full'\ntimeout_ms = 300")
    verdict = b.check("a" * 60 + "b")
    assert not verdict.passed
    assert "took too long" in verdict.rules[0].reason


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ('[[rule]]\ntype="words"\nmin=50\n[[rule]]\ntype="words"\nmax=20', "no number of words meets both"),
        ('[[rule]]\ntype="json"\n[[rule]]\ntype="headings"\nrequired=["A"]', "leaves no room"),
        ('[[rule]]\ntype="keywords"\nwords=["seal"]\n[[rule]]\ntype="forbid"\nwords=["Seal"]', "needed and forbidden"),
        ('[[rule]]\ntype="ends_with"\ntext="Bye, all"\n[[rule]]\ntype="punctuation"\nforbid=","', "breaks punctuation"),
        ('[[rule]]\ntype="case"\nstyle="lower"\n[[rule]]\ntype="case"\nstyle="upper"', "two different cases"),
        ('[[rule]]\ntype="starts_with"\ntext="A"\n[[rule]]\ntype="starts_with"\ntext="B"', "two different texts"),
        ('[[rule]]\ntype="json_schema"\nschema=\'{"type":"string","minLength":5,"maxLength":2}\'', "no text can meet"),
        (
            '[[rule]]\ntype="change_case:english_capital"\n[[rule]]\ntype="change_case:english_lowercase"',
            "exclude each",
        ),
    ],
)
def test_lint_finds_what_no_text_can_meet(rules: str, says: str) -> None:
    complaints = lint(parse_ruleset(rules))
    assert any(says in c.message and c.severity == "error" for c in complaints), complaints


def test_lint_compares_lengths_with_the_token_budget() -> None:
    ruleset = parse_ruleset('[[rule]]\nid="len"\ntype="words"\nmin=500')
    assert any("650" in c.message for c in lint(ruleset, max_tokens=256))
    assert lint(ruleset, max_tokens=2000) == []


@pytest.mark.parametrize("name", sorted(ready_sets()))
def test_the_ready_sets_are_read_and_have_nothing_to_complain_about(name: str) -> None:
    ruleset = read_ruleset(find_ruleset(name))
    assert ruleset.description
    assert lint(ruleset) == []
    assert Rulebook(ruleset).compiled().report


def test_a_rule_that_asks_to_be_enforced_and_cant_be_is_refused() -> None:
    with pytest.raises(ConstraintRefused, match="can't be enforced while decoding"):
        book('[[rule]]\nid="p"\ntype="pii"\nenforce="decode"').compiled()


def test_fixes_mend_one_rule_and_break_no_other() -> None:
    b = book(
        '[[rule]]\nid="end"\ntype="ends_with"\ntext="Bye."\n[[rule]]\nid="short"\ntype="chars"\nmax=24\n'
        '[[rule]]\nid="mail"\ntype="pii"\non_fail="fix"'
    )
    text, fixed = b.fix("Ask me@example.org now")
    assert fixed == {"mail"}
    assert text == "Ask <EMAIL_ADDRESS> now"
    assert b.check(text, Context()).rules[1].verdict is RuleState.PASS
