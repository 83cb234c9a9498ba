"""`localllm ask` with rules: verdicts, exit code 3, repairs that a pipe never sees, and a schema on the real model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from tests.models import CHAT, need
from tests.test_cli_ask import ANSWER, ROOT, ask, document, environment, history

RULES = """
[ruleset]
name = "short"
version = "1"

[[rule]]
id = "nobad"
type = "forbid"
words = ["bad"]
on_fail = "repair"
enforce = "check"
"""


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "short.toml"
    path.write_text(RULES)
    return str(path)


def test_an_answer_that_follows_the_rules_exits_0_with_its_verdict(tmp_path: Path, rules: str) -> None:
    done = ask(tmp_path, "q", "-r", rules, "--json", answers=["good"])
    value = document(done, ANSWER)
    assert done.returncode == 0 and value["verdict"]["passed"]
    assert [(r["id"], r["verdict"]) for r in value["verdict"]["rules"]] == [("nobad", "pass")]


def test_a_rule_that_stays_broken_exits_3_and_says_where(tmp_path: Path, rules: str) -> None:
    done = ask(tmp_path, "q", "-r", rules, "--json", answers=["good, then bad"])
    value = document(done, ANSWER)
    rule = value["verdict"]["rules"][0]
    assert done.returncode == 3 and not value["verdict"]["passed"] and rule["verdict"] == "fail"
    assert value["text"][rule["span"]["start"] : rule["span"]["end"]] == "bad"
    plain = ask(tmp_path, "q", "-r", rules, answers=["good, then bad"])
    assert plain.returncode == 3 and b"rule nobad: fail" in plain.stderr


def test_a_pipe_gets_the_repaired_answer_alone(tmp_path: Path, rules: str) -> None:
    done = ask(tmp_path, "q", "-r", rules, answers=["good, then bad things", " better."])
    assert (done.returncode, done.stdout) == (0, b"good, then better.\n")
    assert b"nobad" in done.stderr
    with history(tmp_path) as kept:
        answer = kept.path(1)[1]
        assert answer.content == "good, then better." and answer.verdict is not None and answer.verdict.passed


def test_a_wrong_rule_set_is_one_line_and_nothing_is_stored(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[[rule]]\nid = 1")
    for name in ("no-such-set", str(tmp_path / "broken.toml")):
        done = ask(tmp_path, "q", "-r", name)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    for name in ("no-such.json", str(tmp_path / "broken.toml")):
        done = ask(tmp_path, "q", "--schema", name)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    with history(tmp_path) as kept:
        assert kept.chats() == []


@pytest.mark.model
def test_the_model_follows_a_schema(tmp_path: Path) -> None:
    need(CHAT)
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["red", "green", "blue"]}, "share": {"type": "integer", "maximum": 9}},
        "required": ["name", "share"],
        "additionalProperties": False,
    }
    (tmp_path / "colour.json").write_text(json.dumps(schema))
    command = [sys.executable, "-m", "localllm_tui", "ask", "One colour, please.", "-n", "64", "--json"]
    done = subprocess.run(
        [*command, "--schema", str(tmp_path / "colour.json")],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment(tmp_path),
    )
    value = document(done, ANSWER)
    jsonschema.validate(json.loads(value["text"]), schema)
    assert done.returncode == 0 and value["verdict"]["passed"]
