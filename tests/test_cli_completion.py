"""Completion in the shell: commands, options, and the names of models, libraries, chats, presets and rule sets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from localllm.history import History
from localllm.presets import Preset, save_preset
from localllm.settings import Paths
from tests.test_cli_startup import HEAVY

ROOT = Path(__file__).parent.parent
ODD = "Trip, 'Rome' & $HOME (é)"


def environment(home: Path, *words: str, shell: str = "bash") -> dict[str, str]:
    return {
        **os.environ,
        "LOCALLLM_HOME": str(home),
        "_LOCALLLM_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "\n".join(("localllm", *words)),
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words)),
    }


def offered(home: Path, *words: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "localllm_tui"],
        capture_output=True,
        text=True,
        env=environment(home, *words),
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with History(tmp_path / "history.db") as history:
        for title in ("Pump manual", "Pumps", ODD):
            history.create_chat(title)
    for folder, name in (("libraries", "work.db"), ("rules", "support-letter.toml")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
    save_preset(Preset("brief one", {"seed": 1}), Paths(tmp_path, tmp_path / "config.toml", tmp_path))
    return tmp_path


def test_commands_and_options_are_offered(home: Path) -> None:
    assert "ask" in offered(home, "a") and "chats" in offered(home, "c")
    assert "--temperature" in offered(home, "ask", "--te")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("chats", "show", "pump\\ "), ["Pump\\ manual"]),
        (("ask", "--chat", "pumps"), ["Pumps"]),
        (("ask", "-d", ""), ["work"]),
        (("docs", "list", "-d", "w"), ["work"]),
        (("ask", "--preset", ""), ["brief\\ one"]),
        (("ask", "-r", "support"), ["support-answer", "support-letter"]),
        (("rules", "check", "support-l"), ["support-letter"]),
        (("ask", "--draft", "n"), ["none"]),
        (("models", "pull", "sta"), ["starter"]),
    ],
)
def test_names_are_offered(home: Path, words: tuple[str, ...], names: list[str]) -> None:
    assert offered(home, *words) == names


def test_where_no_rule_set_begins_so_the_shell_offers_files(home: Path) -> None:
    assert offered(home, "ask", "-r", "./my-rules") == ["./my-rules"]


def test_a_damaged_history_offers_nothing(home: Path) -> None:
    (home / "history.db").write_bytes(b"junk" * 4096)
    assert offered(home, "ask", "--chat", "T") == []


@pytest.mark.parametrize(
    "words",
    [
        ("ask", "-m", ""),
        ("ask", "-d", ""),
        ("ask", "-r", ""),
        ("ask", "--preset", ""),
        ("ask", "--chat", ""),
        ("chats", "show", ""),
        ("rules", "check", ""),
        ("models", "info", ""),
        ("models", "pull", ""),
    ],
    ids=" ".join,
)
def test_a_press_of_tab_imports_nothing_heavy(home: Path, words: tuple[str, ...]) -> None:
    code = """
import io, json, sys
from localllm_tui.__main__ import main
out, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO())
sys.argv = ["localllm"]
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=out)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment(home, *words),
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
    )
    modules = json.loads(done.stdout)
    assert done.stderr == "" and [name for name in HEAVY if name in modules] == []
    assert not [m for m in modules if m.startswith(("localllm.rules", "localllm.rag", "localllm.engine"))]


# ---- the scripts ----------------------------------------------------------------------------------------------------


def script(home: Path, shell: str) -> str:
    env = {**os.environ, "LOCALLLM_HOME": str(home), "_LOCALLLM_COMPLETE": f"{shell}_source"}
    done = subprocess.run(
        [sys.executable, "-m", "localllm_tui"], capture_output=True, text=True, env=env, cwd=ROOT, check=True
    )
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_gets_its_script(home: Path, shell: str) -> None:
    assert f"_LOCALLLM_COMPLETE={shell}_complete" in script(home, shell)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_quote_by_themselves_and_get_names_as_they_are(home: Path, shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "localllm_tui"],
        capture_output=True,
        text=True,
        env=environment(home, "chats", "show", "Trip", shell=shell),
        cwd=ROOT,
    )
    assert ODD in done.stdout and done.stderr == ""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
@pytest.mark.parametrize(
    ("typed", "inserted"),
    [
        ("Pump\\ m", "Pump manual"),
        ("'Pump m", "Pump manual"),
        ("Trip", ODD),
    ],
)
def test_what_bash_inserts_is_one_word_again(home: Path, typed: str, inserted: str) -> None:
    """Source the script in a real bash, complete, put the reply where the word was, and let bash read that."""
    program = home / "localllm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m localllm_tui "$@"\n')
    program.chmod(0o700)
    bash = f"""
{script(home, "bash")}
compopt() {{ :; }}
COMP_WORDS=(localllm chats show "$TYPED"); COMP_CWORD=3
_localllm_completion "$PROGRAM"
[ ${{#COMPREPLY[@]}} = 1 ] || {{ printf '%s|' "${{COMPREPLY[@]}}"; exit 1; }}
reply=${{COMPREPLY[0]}}
case $TYPED in "'"*) reply="'$reply'" ;; esac
eval "set -- $reply"
printf '%s\\n' "$#" "$1"
"""
    env = {**os.environ, "LOCALLLM_HOME": str(home), "TYPED": typed, "PROGRAM": str(program)}
    done = subprocess.run(["bash", "--norc", "-c", bash], capture_output=True, text=True, env=env, cwd=ROOT)
    assert done.stdout == f"1\n{inserted}\n", done.stderr
