"""`localllm rules`: check, lint and list, for people and for scripts."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from localllm.cli import main

Run = Callable[..., tuple[int, str, str]]
RULES = '[ruleset]\nname = "mine"\n[[rule]]\nid = "short"\ntype = "words"\nmax = 3\n[[rule]]\nid = "calm"\ntype = "punctuation"\nforbid = "!"\n'  # noqa: E501


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))

    def call(*args: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = main(args=["rules", *args])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def rules(tmp_path: Path) -> str:
    (tmp_path / "mine.toml").write_text(RULES)
    return str(tmp_path / "mine.toml")


def test_a_text_that_follows_the_rules_is_done_and_one_that_does_not_is_code_3(run: Run, rules: str) -> None:
    assert run("check", rules, stdin="All is well\n")[0] == 0
    code, out, err = run("check", rules, stdin="All is very well!\n")
    assert code == 3
    assert out == ""
    assert "short: fail" in err
    assert "0 of 2 rules followed" in err


def test_json_holds_the_whole_verdict(run: Run, rules: str) -> None:
    code, out, _ = run("check", rules, "--json", stdin="Well!\n")
    verdict = json.loads(out)
    assert code == 3
    assert verdict["passed"] is False
    assert [r["verdict"] for r in verdict["rules"]] == ["pass", "fail"]
    assert verdict["rules"][1]["span"] == {"start": 4, "end": 5}


def test_fix_prints_the_mended_text(run: Run, rules: str) -> None:
    code, out, _ = run("check", rules, "--fix", stdin="All is well!\n")
    assert (code, out) == (0, "All is well\n")


def test_a_schema_alone_can_be_checked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "object", "required": ["a"], "not": {"required": ["b"]}}')
    schema = ["check", "-", "--schema", str(tmp_path / "s.json")]
    assert run(*schema, stdin='{"a": 1}')[0] == 0
    assert run(*schema, stdin='{"a": 1, "b": 2}')[0] == 3


def test_fixture_folders_are_tests_for_rule_sets(run: Run, rules: str, tmp_path: Path) -> None:
    for name, text in {"pass/a.txt": "Fine", "fail/b.short.txt": "One two three four", "fail/c.txt": "No!"}.items():
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert run("check", rules, str(tmp_path / "texts"))[0] == 0
    (tmp_path / "texts" / "fail" / "d.calm.txt").write_text("Quiet\n")
    code, out, _ = run("check", rules, str(tmp_path / "texts"), "--json")
    assert code == 3
    assert [f["file"] for f in json.loads(out)["files"] if not f["as_expected"]] == [str(Path("fail/d.calm.txt"))]


def test_lint_says_what_becomes_of_each_rule_and_each_keyword(run: Run, rules: str, tmp_path: Path) -> None:
    code, out, _ = run("lint", rules)
    assert code == 0
    assert "short (words): enforced while decoding" in out
    (tmp_path / "s.json").write_text('{"type": "array", "uniqueItems": true, "format": "color"}')
    code, out, _ = run("lint", "-", "--schema", str(tmp_path / "s.json"), "--json")
    report = {row["keyword"]: row["where"] for row in json.loads(out)["report"]}
    assert report["type"] == "decode"
    assert report["uniqueItems"] == "check"
    assert report["format"] == "check"


def test_lint_ends_with_code_3_where_no_text_can_meet_the_rules(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('[[rule]]\ntype="words"\nmin=9\n[[rule]]\ntype="words"\nmax=3\n')
    code, out, _ = run("lint", str(tmp_path / "x.toml"))
    assert code == 3
    assert "no number of words meets both" in out


def test_list_shows_ready_and_own_sets_and_the_types(run: Run, tmp_path: Path) -> None:
    own = tmp_path / "home" / "rules"
    own.mkdir(parents=True)
    (own / "house.toml").write_text(RULES)
    (own / "broken.toml").write_text("[[rule]]\ntype = 'nothing'")
    sets = {row["name"]: row for row in json.loads(run("list", "--json")[1])["sets"]}
    assert {"support-answer", "json-extraction", "house", "broken"} <= set(sets)
    assert "nothing" in sets["broken"]["error"]
    types = {row["name"] for row in json.loads(run("list", "--types", "--json")[1])["types"]}
    assert {"words", "json_schema", "pii", "punctuation:no_comma"} <= types


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["check", "absent-set"], "no rule set 'absent-set'"),
        (["check", "RULES", "absent.txt"], "absent.txt can't be read"),
        (["check", "support-answer", "--schema", "absent.json"], "can't be read"),
    ],
)
def test_what_is_not_there_is_one_line(run: Run, rules: str, args: list[str], says: str) -> None:
    code, _, err = run(*[rules if a == "RULES" else a for a in args])
    assert code == 1
    assert says in err
    assert err.count("\n") == 1


def test_python_rules_need_leave(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r.py").write_text("def check(text):\n    return True\n")
    (tmp_path / "r.toml").write_text('[[rule]]\ntype = "python"\nfile = "r.py"\n')
    assert run("check", str(tmp_path / "r.toml"), stdin="x")[0] == 3
    assert run("check", str(tmp_path / "r.toml"), "--allow-code", stdin="x")[0] == 0


def test_the_json_verdict_has_the_shape_that_ask_has_and_the_reasons_are_messages(run: Run) -> None:
    code, out, err = run("check", "json-extraction", "--json", stdin='{"title": 3}')
    assert code == 3
    verdict = json.loads(out)
    assert set(verdict) == {"passed", "rules"}
    assert set(verdict["rules"][0]) == {"id", "verdict", "measured", "required", "span"}
    assert "shape: fail" in err
