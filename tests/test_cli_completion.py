"""Completion in the shell: commands, options, and the names of models, libraries and chats."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localllm.history import History


def offered(home: Path, *words: str) -> list[str]:
    env = {
        **os.environ,
        "LOCALLLM_HOME": str(home),
        "_LOCALLLM_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("localllm", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "localllm_tui"], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with History(tmp_path / "history.db") as history:
        history.create_chat("Pump manual")
        history.create_chat("Trip")
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "work.db").touch()
    return tmp_path


def test_commands_and_options_are_offered(home: Path) -> None:
    assert "ask" in offered(home, "a") and "chats" in offered(home, "c")
    assert "--temperature" in offered(home, "ask", "--te")


def test_names_are_offered(home: Path) -> None:
    assert offered(home, "chats", "show", "pu") == ["Pump manual"]
    assert offered(home, "ask", "--chat", "T") == ["Trip"]
    assert offered(home, "ask", "-d", "") == ["work"]


def test_a_damaged_history_offers_nothing(home: Path) -> None:
    (home / "history.db").write_bytes(b"junk" * 4096)
    assert offered(home, "ask", "--chat", "T") == []


def test_the_shell_gets_its_script(home: Path) -> None:
    env = {**os.environ, "LOCALLLM_HOME": str(home), "_LOCALLLM_COMPLETE": "bash_source"}
    done = subprocess.run([sys.executable, "-m", "localllm_tui"], capture_output=True, text=True, env=env)
    assert "_LOCALLLM_COMPLETE=bash_complete" in done.stdout
