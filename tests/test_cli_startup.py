"""The command line starts quickly because it imports little: what is loaded is counted, not timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from localllm.cli.main import COMMANDS

HEAVY = ("llama_cpp", "numpy", "textual", "rich", "httpx", "sqlite_utils", "jsonschema", "llguidance", "asyncio", "ssl")
CODE = """
import contextlib, io, json, sys
from localllm_tui.__main__ import main
sys.argv = ["localllm", *sys.argv[1:]]
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    code = main()
print(json.dumps([code, sorted(sys.modules)]))
"""


def loaded(home: Path, *args: str) -> tuple[int, set[str]]:
    env = {**os.environ, "LOCALLLM_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *args], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    code, modules = json.loads(done.stdout)
    return code, set(modules)


def heavy(modules: set[str]) -> list[str]:
    return [name for name in HEAVY if name in modules]


@pytest.mark.parametrize("args", [["--help"], ["--version"], [], ["no-such-command"]])
def test_help_imports_nothing_heavy_and_no_command(tmp_path: Path, args: list[str]) -> None:
    _, modules = loaded(tmp_path, *args)
    assert heavy(modules) == []
    assert {m for m in modules if m.startswith("localllm.cli.")} <= {"localllm.cli.main", "localllm.cli.session"}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_imports_nothing_heavy(tmp_path: Path, command: str) -> None:
    if find_spec(f"localllm.cli.{COMMANDS[command][0]}") is None:
        pytest.skip(f"{command} is not there yet")
    code, modules = loaded(tmp_path, command, "--help")
    assert code == 0 and heavy(modules) == []


def test_help_loads_few_modules_more_than_click(tmp_path: Path) -> None:
    code = "import sys, click; print(len(sys.modules))"
    bare = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    _, modules = loaded(tmp_path, "--help")
    assert len(modules) <= 1.3 * bare


def test_reading_an_existing_history_needs_no_heavy_module(tmp_path: Path) -> None:
    loaded(tmp_path, "chats", "list")  # makes the tables
    code, modules = loaded(tmp_path, "chats", "list")
    assert code == 0 and heavy(modules) == []
