"""`localllm ask` in real processes with a scripted engine: what goes where, and which exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from localllm.events import (
    Citation,
    ContextUse,
    Finished,
    FinishReason,
    Passage,
    RuleState,
    RuleVerdict,
    Span,
    Speculation,
    Stats,
    SupportState,
    Verdict,
)
from localllm.history import ChatOptions, History, MessageState

ROOT = Path(__file__).parent.parent


def environment(home: Path, **engine: Any) -> dict[str, str]:
    keep = {k: v for k, v in os.environ.items() if not k.startswith("LOCALLLM_")}
    return {**keep, "LOCALLLM_HOME": str(home), "FAKE_ENGINE": json.dumps(engine)}


def ask(home: Path, *args: str, stdin: bytes = b"", **engine: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tests.fake_program", "ask", *args]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=ROOT, env=environment(home, **engine))


def history(home: Path) -> History:
    return History(home / "history.db")


# ---- what goes where ------------------------------------------------------------------------------------------------


def test_the_answer_alone_goes_to_standard_output(tmp_path: Path) -> None:
    done = ask(tmp_path, "Why?", answers=["Because.\nWell."])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Because.\nWell.\n", b"")


def test_question_and_answer_are_kept_and_can_be_continued(tmp_path: Path) -> None:
    ask(tmp_path, "one", answers=["first"])
    ask(tmp_path, "-c", "two", answers=["second"])
    ask(tmp_path, "three", "--chat", "1", answers=["third"])
    ask(tmp_path, "other", answers=["fourth"])
    with history(tmp_path) as kept:
        assert [m.content for m in kept.path(1)] == ["one", "first", "two", "second", "three", "third"]
        assert [m.content for m in kept.path(2)] == ["other", "fourth"]


def test_several_questions_at_once_are_all_kept(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.fake_program", "ask", f"question {n}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
            env=environment(tmp_path, answers=[f"answer {n}"]),
        )
        for n in range(3)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    with history(tmp_path) as kept:
        talks = sorted([m.content for m in kept.path(chat.id)] for chat in kept.chats())
    assert talks == [[f"question {n}", f"answer {n}"] for n in range(3)]


def test_a_temporary_question_leaves_nothing_behind(tmp_path: Path) -> None:
    assert ask(tmp_path / "home", "secret", "--temporary", answers=["ok"]).stdout == b"ok\n"
    assert not (tmp_path / "home").exists()


def test_a_piped_text_follows_the_prompt(tmp_path: Path) -> None:
    ask(tmp_path, "Summarise this.", stdin="Ein längerer Text.\r\n".encode())
    ask(tmp_path, stdin=b"\xef\xbb\xbfOnly this.\n\n")
    with history(tmp_path) as kept:
        assert kept.path(1)[0].content == "Summarise this.\n\nEin längerer Text."
        assert kept.path(2)[0].content == "Only this."


def test_figures_go_to_standard_error(tmp_path: Path) -> None:
    done = ask(tmp_path, "Why?", "--stats", answers=["Because."])
    assert done.stdout == b"Because.\n"
    for part in (b"Fake-1B", b"8 tokens", b"tokens/s", b"context", b"first token"):
        assert part in done.stderr


def test_the_prompt_can_be_shown_as_the_model_sees_it(tmp_path: Path) -> None:
    done = ask(tmp_path, "Why?", "--system", "Be brief.", "--show-prompt", answers=["Because."])
    assert done.stdout == b"Because.\n"
    assert b"<system>Be brief.</system>\n<user>Why?</user>\n<assistant>" in done.stderr


def test_what_was_left_out_is_said_on_standard_error_and_not_with_quiet(tmp_path: Path) -> None:
    ask(tmp_path, "x" * 60, n_ctx=400)
    runs = [ask(tmp_path, "-c", "x" * 60, n_ctx=400) for _ in range(3)]
    assert runs[0].stderr == b"" and b"oldest messages were left out" in runs[-1].stderr
    assert ask(tmp_path, "-c", "-q", "x" * 60, n_ctx=400).stderr == b""


def test_flags_reach_the_engine(tmp_path: Path) -> None:
    code = """
import json, sys, tests.fake_program as p
from tests.fakes import FakeEngine
seen = []
class Spy(FakeEngine):
    def stream(self, request, cancel=None):
        seen.append(request)
        return super().stream(request, cancel)
def open_engine(settings, paths, on_progress=None, spec=None):
    seen.append(settings)
    return Spy()
import localllm.open
localllm.open.open_engine = open_engine
rc = p.main(args=sys.argv[1:])
s, r = seen
print(json.dumps([s.model, s.draft, s.ctx, s.n_gpu_layers, r.max_tokens, r.speculation, r.sampling.temperature,
                  r.sampling.top_k, r.sampling.top_p, r.sampling.min_p, r.sampling.seed, r.messages[0].content]))
"""
    args = ["ask", "q", "-m", "m", "--draft", "none", "--system", "sys", "-n", "5", "-t", "0.25", "--top-k", "3"]
    args += ["--top-p", "0.5", "--min-p", "0.125", "--seed", "9", "--ctx", "128", "--gpu-layers", "7"]
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        cwd=ROOT,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == ["m", "none", 128, 7, 5, "none", 0.25, 3, 0.5, 0.125, 9, "sys"]


def test_a_continued_chat_keeps_its_own_settings_and_flags_win_over_them(tmp_path: Path) -> None:
    with history(tmp_path) as kept:
        kept.create_chat("Mine", system="Be long.", options=ChatOptions(settings={"max_tokens": 6}))
    answers = ["0123456789"]
    assert ask(tmp_path, "q", "--chat", "Mine", answers=answers).stdout == b"0123\n"
    assert ask(tmp_path, "q", "--chat", "Mine", "-n", "8", answers=answers).stdout == b"01234567\n"
    shown = ask(tmp_path, "q", "-c", "--system", "Be brief.", "--show-prompt", answers=answers).stderr
    assert b"Be brief." in shown and b"Be long." not in shown
    with history(tmp_path) as kept:
        assert kept.chat("Mine").system == "Be brief." and kept.chat("Mine").model == "Fake-1B.Q4_0"


# ---- JSON -----------------------------------------------------------------------------------------------------------

STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "number", "minimum": 0}


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


PLACE = {"source": STRING, "page": {"type": ["integer", "null"]}, "line": INTEGER}
SPAN = closed(start=INTEGER, end=INTEGER)
SCALAR = {"type": ["string", "number", "null"]}
ANSWER = closed(
    text=STRING,
    finish_reason={"enum": ["stop", "length", "cancelled", "rule", "refused"]},
    model=STRING,
    draft={"type": ["string", "null"]},
    usage=closed(prompt_tokens=INTEGER, cached_tokens=INTEGER, completion_tokens=INTEGER),
    timing=closed(load_seconds=NUMBER, first_token_seconds=NUMBER, decode_tokens_per_second=NUMBER),
    speculation=closed(
        drafted=INTEGER,
        accepted=INTEGER,
        acceptance_rate=NUMBER,
        target_steps=INTEGER,
        plain_steps=INTEGER,
        speedup=NUMBER,
    ),
    context=closed(
        n_ctx=INTEGER, dropped_messages=INTEGER, passages=INTEGER, assembly={"enum": ["exact", "warm", "instant"]}
    ),
    citations={
        "type": "array",
        "items": closed(
            n=INTEGER,
            **PLACE,
            start=INTEGER,
            end=INTEGER,
            quote=STRING,
            state={"enum": ["verified", "near", "not_found"]},
        ),
    },
    unsupported={"type": "array", "items": SPAN},
    nearest={"type": "array", "items": closed(**PLACE, score=NUMBER, text=STRING)},
    verdict=closed(
        passed={"type": "boolean"},
        rules={
            "type": "array",
            "items": closed(
                id=STRING,
                verdict={"enum": ["pass", "fixed", "repaired", "warn", "fail", "truncated", "not_evaluated"]},
                measured=SCALAR,
                required=SCALAR,
                span={"anyOf": [SPAN, {"type": "null"}]},
            ),
        },
    ),
)
ERROR = closed(error=closed(kind=STRING, message=STRING, hint=STRING))


def document(done: subprocess.CompletedProcess[bytes], schema: dict[str, Any]) -> Any:
    value = json.loads(done.stdout)
    jsonschema.validate(value, schema)
    return value


def test_json_is_one_document_of_the_promised_shape(tmp_path: Path) -> None:
    done = ask(tmp_path, "Why?", "--json", "-t", "0", answers=["Because."])
    value = document(done, ANSWER)
    assert (value["text"], value["finish_reason"], value["model"]) == ("Because.", "stop", "Fake-1B.Q4_0")
    assert value["usage"]["completion_tokens"] == 8 and value["verdict"] == {"passed": True, "rules": []}
    assert done.stderr == b""


def test_every_part_of_an_answer_has_its_place_in_the_document() -> None:
    from localllm.cli.answer_json import answer_json

    passage = Passage(1, "pump.md", "Pump", "Service", 3, 9, 100, 140, 0.8, "Replace the seal.")
    rule = RuleVerdict("len", RuleState.FAIL, 213, "at most 200", Span(3, 4), "too long")
    finished = Finished(
        FinishReason.RULE,
        "text [1]",
        Stats(10, 5, 21, 0.5, 0.1, 2.0, 4096, Speculation(8, 6, 14, 10, 1.3, "ngram")),
        "m",
        "ngram",
        ContextUse(4096, 10, 2, 5, "warm"),
        (Citation(1, "pump.md", None, 9, 100, 140, "Replace", SupportState.NEAR),),
        (Span(0, 4),),
        (passage,),
        Verdict(False, (rule,)),
    )
    value = json.loads(json.dumps(answer_json(finished)))
    jsonschema.validate(value, ANSWER)
    assert value["timing"]["decode_tokens_per_second"] == 10.0
    assert value["speculation"]["acceptance_rate"] == 0.75
    assert value["citations"][0]["state"] == "near" and value["nearest"][0]["page"] == 3
    assert value["context"] == {"n_ctx": 4096, "dropped_messages": 2, "passages": 5, "assembly": "warm"}
    assert value["verdict"]["rules"][0]["span"] == {"start": 3, "end": 4}


@pytest.mark.parametrize(
    ("args", "engine", "kind", "code"),
    [
        (["x" * 500], {"n_ctx": 100}, "context_overflow", 1),
        (["q"], {"fails": "load"}, "model_load_failed", 1),
        (["q"], {"dies_after": 2}, "engine_died", 1),
        (["q"], {"fails": "bug"}, "internal_error", 1),
        (["q", "--chat", "nothing"], {}, "chat_not_found", 1),
        (["q", "-c"], {}, "chat_not_found", 1),
        ([], {}, "usage", 2),
        (["q", "-t", "99"], {}, "usage", 2),
        (["q", "--no-such-flag"], {}, "usage", 2),
    ],
)
def test_failures_are_one_document_or_one_line(
    tmp_path: Path, args: list[str], engine: dict[str, Any], kind: str, code: int
) -> None:
    done = ask(tmp_path, *args, "--json", **engine)
    assert document(done, ERROR)["error"]["kind"] == kind and done.returncode == code
    plain = ask(tmp_path, *args, **engine)
    lines = plain.stderr.decode().splitlines()
    assert plain.returncode == code and "Traceback" not in plain.stderr.decode()
    assert lines[-1].startswith("localllm: ") or kind == "usage"
    assert len([line for line in lines if line.startswith("localllm: ")]) == (0 if kind == "usage" else 1)


def test_verbose_shows_where_it_failed(tmp_path: Path) -> None:
    done = ask(tmp_path, "q", "-v", fails="bug")
    assert done.returncode == 1 and b"Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(b"localllm: Something went wrong")


# ---- ends -----------------------------------------------------------------------------------------------------------


def interrupted(home: Path, wait_for: bytes, *args: str, signals: int = 1, **engine: Any) -> tuple[int, bytes, bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fake_program", "ask", *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(home, **engine),
    )
    assert process.stdout is not None
    seen = b""
    while wait_for not in seen:
        piece = process.stdout.read1(64)  # type: ignore[attr-defined]
        assert piece, process.stderr.read() if process.stderr else b""
        seen += piece
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    return process.returncode, seen + out, err


def test_ctrl_c_ends_the_answer_keeps_it_and_exits_130(tmp_path: Path) -> None:
    words = " ".join(f"word{i}" for i in range(500))
    code, out, err = interrupted(tmp_path, b"word3", "count", answers=[words], seconds_per_token=0.02)
    assert code == 130 and b"Traceback" not in err
    with history(tmp_path) as kept:
        question, answer = kept.path(1)
        assert question.content == "count"
        assert (answer.state, answer.reason) == (MessageState.STOPPED, "cancelled")
        assert "word3" in answer.content and words.startswith(answer.content)
        assert out.decode().rstrip("\n") == answer.content


def test_ctrl_c_with_json_still_gives_the_document(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fake_program", "ask", "q", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment(tmp_path, answers=["x" * 4000], seconds_per_token=0.02),
    )
    wait_until_streaming(tmp_path)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out)["finish_reason"] == "cancelled"


def wait_until_streaming(home: Path) -> None:
    import time

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (home / "history.db").exists():
            with history(home) as kept:
                if kept.chats() and len(kept.path(1)) == 2:
                    return
        time.sleep(0.05)
    raise AssertionError("no answer was begun")


def test_ctrl_c_while_the_model_loads_exits_130_and_keeps_the_question(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fake_program", "ask", "still loading"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment(tmp_path, load_seconds=20),
    )
    wait_until_streaming(tmp_path)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130 and b"Traceback" not in err
    with history(tmp_path) as kept:
        assert [(m.content, m.state) for m in kept.path(1)] == [
            ("still loading", MessageState.COMPLETE),
            ("", MessageState.STOPPED),
        ]


def test_a_reader_that_leaves_early_is_no_error_for_the_history(tmp_path: Path) -> None:
    words = " ".join(f"word{i}" for i in range(400))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fake_program", "ask", "count"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment(tmp_path, answers=[words], seconds_per_token=0.002),
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(20)
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(30) == 1 and err == b""
    process.stderr.close()
    with history(tmp_path) as kept:
        answer = kept.path(1)[1]
        assert answer.state is MessageState.STOPPED and words.startswith(answer.content) and answer.content


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_a_terminal_sees_the_answer_as_it_grows_and_no_control_sequence_of_the_model(tmp_path: Path) -> None:
    import pty

    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fake_program", "ask", "q"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=ROOT,
        env=environment(tmp_path, answers=["one \x1b[31mtwo\x07 three"], seconds_per_token=0.1),
    )
    os.close(slave)
    pieces: list[bytes] = []
    try:
        while piece := os.read(master, 1024):
            pieces.append(piece)
    except OSError:
        pass  # Linux reports the end of a terminal so
    os.close(master)
    assert process.wait(30) == 0
    shown = b"".join(pieces)
    assert shown.replace(b"\r\x1b[2K", b"") == b"one [31mtwo three\r\n"
    assert len(pieces) > 2


def test_control_sequences_of_the_model_reach_a_pipe_but_no_terminal() -> None:
    import io

    from localllm.cli.reply import TextReply
    from localllm.cli.session import Session
    from localllm.events import Token

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    real, sys.stdout = sys.stdout, Terminal()
    try:
        TextReply(Session(quiet=True), revisable=False, stats=False).follow(Token("a\x1b[2J\x9bb\x07\tc\n"))
        assert sys.stdout.getvalue() == "a[2Jb\tc\n"
    finally:
        sys.stdout = real
