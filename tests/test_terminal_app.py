"""The app in a real terminal (tmux) on the starter model: every step is read off the screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.models import CHAT

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.terminal,
    pytest.mark.model,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
    pytest.mark.skipif(not CHAT.exists(), reason="the starter model is missing (make starter)"),
]


class Terminal:
    """A tmux server of its own, with one window."""

    def __init__(self, folder: Path, width: int = 110, height: int = 32) -> None:
        self.socket = folder / "tmux.sock"
        self.home = folder / "home"
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("TMUX", "LOCALLLM_"))}
        self.environ = environ | {"LOCALLLM_HOME": str(self.home), "TERM": "xterm-256color"}
        self.tmux("-f", os.devnull, "new-session", "-d", "-x", str(width), "-y", str(height), "/bin/sh", "+m")
        self.tmux("send-keys", "PS1='ready> '; clear", "Enter")
        self.until(lambda: "ready>" in self.text(), "a shell")

    def tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), *arguments], env=self.environ, capture_output=True, text=True, timeout=20
        )
        return done.stdout

    def text(self) -> str:
        return self.tmux("capture-pane", "-p")

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def until(self, true: Callable[[], object], what: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if true():
                return
            time.sleep(0.05)
        raise AssertionError(f"{what} did not happen; the terminal shows:\n{self.text()}")

    def sees(self, words: str, seconds: float = 60) -> None:
        self.until(lambda: words in self.text(), repr(words), seconds)

    def processes(self) -> list[str]:
        """Command lines of live processes of this run of the program."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if f"LOCALLLM_HOME={self.home}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if "localllm" in command:
                        found.append(command)
            except OSError:
                continue
        return found

    def close(self) -> None:
        self.tmux("kill-server")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "config.toml").write_text("temperature = 0.0\nmax_tokens = 160\n")
    terminal = Terminal(tmp_path)
    try:
        yield terminal
    finally:
        terminal.close()


def idle(terminal: Terminal) -> bool:
    """No answer is being written."""
    text = terminal.text()
    return "Enter send" in text and "answering" not in text and "stopping" not in text


def last_answer(terminal: Terminal) -> str:
    """The text of the last answer; the model's name stands over every answer and in the status line."""
    part = terminal.text().split("SmolLM2-135M-Instruct")[-2].split("─────")[0]
    return part.replace("│", "").replace("▌", "").strip()


def test_the_whole_way_through_a_chat(terminal: Terminal) -> None:
    terminal.type(f"{sys.executable} -m localllm_tui")
    terminal.keys("Enter")
    terminal.sees("A private assistant.")
    terminal.sees("is ready.")
    terminal.sees("SmolLM2-135M-Instruct Q4_1")

    terminal.type("Explain in three sentences why the sky is blue.")
    terminal.keys("Enter")
    terminal.sees("Rayleigh")
    terminal.until(lambda: idle(terminal), "the end of the answer")
    terminal.sees("tok/s")

    terminal.type("Write a very long story about a dragon.")
    terminal.keys("Enter")
    terminal.sees("Esc stop")
    terminal.until(lambda: len(last_answer(terminal).split()) > 5, "the answer growing")
    terminal.keys("Escape")
    terminal.sees("Stopped. The text is kept.")

    terminal.keys("M-e")
    terminal.sees("Editing your question")
    terminal.keys("C-u")
    terminal.type("Name one colour.")
    terminal.keys("Enter")
    terminal.sees("2/2")
    terminal.until(lambda: idle(terminal), "the end of the new answer")
    assert "dragon" not in terminal.text().split("Enter send")[0].split("│", 1)[-1].split("You")[-1]

    terminal.keys("BTab")
    terminal.sees("y copy")
    terminal.keys("Up")
    terminal.until(lambda: "y copy" in terminal.text().split("SmolLM2-135M-Instruct")[-3], "focus on the question")
    terminal.keys("[")
    terminal.sees("1/2")
    terminal.sees("Stopped. The text is kept.")
    terminal.keys("Escape")
    terminal.until(lambda: "y copy" not in terminal.text(), "focus on the prompt")

    terminal.type("/new")
    terminal.keys("Enter", "Enter")
    terminal.sees("A private assistant.")
    terminal.keys("C-f")
    terminal.type("rayleigh")
    terminal.sees("Explain in three")
    terminal.keys("Enter")
    terminal.until(lambda: "Rayleigh scattering" in terminal.text() and "A private" not in terminal.text(), "the chat")

    terminal.keys("F1")
    terminal.sees("Send the prompt")
    terminal.keys("Escape")
    terminal.until(lambda: "Send the prompt" not in terminal.text(), "help closing")

    terminal.keys("C-q")
    terminal.sees("ready>", 30)
    terminal.until(lambda: not terminal.processes(), "the end of every process", 20)
    terminal.type("stty -a | tr ';' '\\n' | grep -c -w -e '-echo' ; echo alive")
    terminal.keys("Enter")
    terminal.sees("\nalive")
    assert "\n0\nalive" in terminal.text(), "the terminal echoes again"


def test_a_killed_worker_is_told_and_the_next_message_starts_another(terminal: Terminal) -> None:
    terminal.type(f"{sys.executable} -m localllm_tui")
    terminal.keys("Enter")
    terminal.sees("is ready.")
    terminal.type("Write a very long story about the sea.")
    terminal.keys("Enter")
    terminal.until(lambda: "answering" in terminal.text() and "tok/s" in terminal.text(), "the answer growing")
    workers = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _is_worker(entry, terminal.home)]
    assert len(workers) == 1
    os.kill(workers[0], 9)
    terminal.sees("ended unexpectedly")
    terminal.until(lambda: idle(terminal), "readiness")
    terminal.type("Say hello.")
    terminal.keys("Enter")
    terminal.until(lambda: idle(terminal) and len(last_answer(terminal)) > 1, "another answer")
    terminal.keys("C-q")
    terminal.sees("ready>", 30)
    terminal.until(lambda: not terminal.processes(), "the end of every process", 20)


def _is_worker(entry: Path, home: Path) -> bool:
    try:
        environ = (entry / "environ").read_bytes().split(b"\0")
        command = (entry / "cmdline").read_bytes()
    except OSError:
        return False
    return f"LOCALLLM_HOME={home}".encode() in environ and b"localllm.engine.worker" in command
