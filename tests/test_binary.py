"""The packaged program answers and opens the app with no Python on the path. Skips where `make binary` was not run."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "dist" / "localllm" / "localllm"
MODEL = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not PROGRAM.exists(), reason="no packaged program; `make binary` builds one"),
    pytest.mark.skipif(not MODEL.exists(), reason="no starter model; `make starter` gets it"),
]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        "HOME": str(tmp_path),
        "LOCALLLM_HOME": str(tmp_path / "data"),
        "LOCALLLM_MODEL": str(MODEL),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
    }


def test_it_answers_a_question(env: dict[str, str]) -> None:
    done = subprocess.run(
        [str(PROGRAM), "ask", "What is rain?", "-t", "0", "-n", "16"],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) > 5


def test_it_reads_documents_in_a_process_of_its_own(env: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "pump.md").write_text("# Pump\nThe seal is QX-2291.\n", "utf-8")
    for arguments in (["docs", "add", str(folder)], ["docs", "search", "QX-2291"]):
        done = subprocess.run(
            [str(PROGRAM), *arguments], env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "pump.md" in done.stdout


@pytest.mark.terminal
@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_it_opens_the_app_and_leaves_the_terminal_as_it_was(env: dict[str, str], tmp_path: Path) -> None:
    tmux, rc = ["tmux", "-L", "localllm-binary", "-f", "/dev/null"], tmp_path / "rc"
    settings = " ".join(f"{k}={v}" for k, v in env.items())
    command = f"env -i {settings} {PROGRAM}; echo $? > {rc}; sleep 30"
    subprocess.run([*tmux, "new", "-d", "-x", "100", "-y", "30", command], check=True)
    try:
        wait_for(lambda: "Ask anything" in screen(tmux), "the prompt line")
        subprocess.run([*tmux, "send-keys", "C-q"], check=True)
        wait_for(rc.exists, "the end of the program")
        assert rc.read_text("utf-8").strip() == "0"
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


def screen(tmux: list[str]) -> str:
    return subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True).stdout


def wait_for(condition: object, what: str) -> None:
    assert callable(condition)
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"waited 30 s for {what}")
