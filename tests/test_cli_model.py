"""The real command with the starter model: answers, interrupts at any moment, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localllm.history import History, MessageState

ROOT = Path(__file__).parent.parent
STARTER = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not STARTER.exists(), reason=f"{STARTER.name} is not here (make starter)"),
]
QUESTION = "Explain in three sentences why the sky is blue."


def start(home: Path, *args: str) -> subprocess.Popen[bytes]:
    """The command in a process group of its own, as a terminal would run it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("LOCALLLM_")}
    return subprocess.Popen(
        [sys.executable, "-m", "localllm_tui", "ask", *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**env, "LOCALLLM_HOME": str(home)},
        start_new_session=True,
    )


def finish(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def left_behind(group: int) -> bool:
    """Whether a process of the group is still there a moment later: the worker ends with its parent."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True


def test_the_model_answers_and_the_same_question_gives_the_same_answer(tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        code, out, err = finish(start(tmp_path, QUESTION, "-t", "0", "-n", "48", "--json"))
        assert (code, err) == (0, b"")
        value = json.loads(out)
        assert 0 < value["usage"]["completion_tokens"] <= 48 and value["finish_reason"] in ("stop", "length")
        assert value["model"] == "SmolLM2-135M-Instruct.Q4_1" and value["timing"]["first_token_seconds"] > 0
        texts.append(value["text"])
    assert texts[0] == texts[1] and "sky" in texts[0]


def test_a_prompt_longer_than_the_window_says_both_numbers(tmp_path: Path) -> None:
    code, out, err = finish(start(tmp_path, "word " * 600, "--ctx", "256"))
    assert code == 1 and out == b"" and b"256" in err and b"tokens" in err and len(err.splitlines()) == 1


def test_a_chat_goes_on_from_its_saved_state(tmp_path: Path) -> None:
    finish(start(tmp_path, "My name is Ada.", "-t", "0", "-n", "8"))
    code, out, _ = finish(start(tmp_path, "-c", "What is my name?", "-t", "0", "-n", "8", "--json"))
    assert code == 0 and json.loads(out)["usage"]["cached_tokens"] > 0


@pytest.mark.parametrize("delay", [0.1, 0.4, 0.8, 1.6])
def test_ctrl_c_at_any_moment_exits_130_without_a_traceback_and_leaves_no_process(tmp_path: Path, delay: float) -> None:
    process = start(tmp_path, "Count from one to two hundred in words.", "-t", "0", "-n", "2000")
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = finish(process)
    # An interrupt before our first line, or inside exec(), ends Python by the signal: a shell reports 130 as well.
    assert code in (130, -signal.SIGINT) and (b"Traceback" not in err or b"localllm" not in err), err
    assert not left_behind(process.pid)
    if (tmp_path / "history.db").exists():
        with History(tmp_path / "history.db") as history:
            for message in history.path(history.chats()[0].id)[1:] if history.chats() else []:
                assert message.state is MessageState.STOPPED
                assert message.content == out.decode().rstrip("\n") or message.content.startswith(out.decode().rstrip())


def test_a_killed_command_loses_at_most_a_second_of_the_answer_and_its_worker_ends(tmp_path: Path) -> None:
    process = start(tmp_path, "Count from one to two hundred in words.", "-t", "0", "-n", "4000")
    assert process.stdout is not None
    seen = b""
    started = 0.0
    while not started or time.monotonic() - started < 2.5:
        piece = process.stdout.read1(4096)  # type: ignore[attr-defined]
        if not piece:
            break
        seen += piece
        started = started or time.monotonic()
    process.kill()
    rest, _ = process.communicate(timeout=30)
    seen += rest
    assert not left_behind(process.pid)
    with History(tmp_path / "history.db") as history:
        question, answer = history.path(1)
        assert question.content.startswith("Count") and answer.state is not MessageState.STREAMING
        assert answer.content and seen.decode("utf-8", "ignore").startswith(answer.content.rstrip("\n"))
        # Two seconds and a half were seen; what is kept is at most about a second behind.
        assert len(answer.content) > 0.3 * len(seen.decode("utf-8", "ignore"))
