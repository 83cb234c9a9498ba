"""Bad input through the real command: one clear line, the right exit code, never a traceback.

The command runs from a copy of the sources, so that no model of the checkout is in its way.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STARTER = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the two packages without any model."""
    root = tmp_path_factory.mktemp("sources")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "localllm", root / "localllm", ignore=ignore)
    shutil.copytree(ROOT / "tui" / "localllm_tui", root / "localllm_tui", ignore=ignore)
    return root


@pytest.fixture
def env(sources: Path, tmp_path: Path) -> dict[str, str]:
    keep = {k: v for k, v in os.environ.items() if not k.startswith("LOCALLLM_")}
    return {**keep, "LOCALLLM_HOME": str(tmp_path / "home"), "PYTHONPATH": str(sources)}


@pytest.fixture
def run(env: dict[str, str], sources: Path) -> Run:
    def call(*args: str, stdin: str | bytes = b"", **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "localllm_tui", *args],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env={**env, **more},
            cwd=sources,
            timeout=60,
        )
        return subprocess.CompletedProcess(args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return call


def one_line(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("localllm: "), done.stderr
    for part in parts:
        assert part in lines[0], done.stderr


# ---- models ---------------------------------------------------------------------------------------------------------


def test_no_model_says_how_to_get_the_starter(run: Run, env: dict[str, str]) -> None:
    one_line(run("ask", "Why?"), 1, "no model on this computer", "localllm models pull starter")
    assert not (Path(env["LOCALLLM_HOME"]) / "history.db").exists()


def test_a_model_that_is_not_here_is_named(run: Run) -> None:
    one_line(run("ask", "Why?", "-m", "no-such-model"), 1, "no-such-model")


def test_a_path_that_does_not_exist_is_named(run: Run, tmp_path: Path) -> None:
    one_line(run("ask", "Why?", "-m", str(tmp_path / "gone.gguf")), 1, "gone.gguf")


def test_a_folder_is_no_model(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    one_line(run("ask", "Why?", "-m", str(tmp_path / "folder.gguf")), 1, "folder.gguf")


def test_a_file_that_is_not_gguf_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("Once upon a time there was a file that was no model at all.")
    one_line(run("ask", "Why?", "-m", str(tmp_path / "text.gguf")), 1, "text.gguf")


def test_an_empty_file_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    one_line(run("ask", "Why?", "-m", str(tmp_path / "empty.gguf")), 1, "empty.gguf")


@pytest.mark.parametrize(("n_tensors", "n_pairs"), [(1 << 60, 1), (1, 1 << 60), ((1 << 64) - 1, (1 << 64) - 1)])
def test_a_header_with_absurd_counts_is_refused_at_once(run: Run, tmp_path: Path, n_tensors: int, n_pairs: int) -> None:
    path = tmp_path / "absurd.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_pairs) + b"\0" * 4096)
    one_line(run("ask", "Why?", "-m", str(path)), 1, "absurd.gguf")


@pytest.mark.model
@pytest.mark.parametrize("n", range(12))
def test_a_file_cut_short_is_refused(run: Run, tmp_path: Path, n: int) -> None:
    if not STARTER.exists():
        pytest.skip(f"{STARTER.name} is not here (make starter)")
    size = STARTER.stat().st_size
    cuts = (3, 7, 23, 24, 200, 5_000, 100_000, 1_000_000, 1_800_000, size // 4, size // 2, size - 1)
    path = tmp_path / "cut.gguf"
    with STARTER.open("rb") as source, path.open("wb") as target:
        target.write(source.read(cuts[n]))
    one_line(run("ask", "Why?", "-m", str(path)), 1, "cut.gguf")


# ---- settings and folders -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("seed = 1\ntemperature = = 2\n", ("config.toml", "line 2")),
        ("# note\n\ntemperature = 99\n", ("config.toml, line 3", "at most 10")),
        ("warp = 9\n", ("config.toml, line 1", "'warp'")),
        ('seed = "many"\n', ("config.toml, line 1", "whole number")),
    ],
)
def test_a_broken_settings_file_names_file_and_line(
    run: Run, env: dict[str, str], text: str, parts: tuple[str, ...]
) -> None:
    home = Path(env["LOCALLLM_HOME"])
    home.mkdir()
    (home / "config.toml").write_text(text)
    one_line(run("ask", "Why?"), 1, *parts)


def test_a_settings_file_that_is_not_text_says_so(run: Run, env: dict[str, str]) -> None:
    home = Path(env["LOCALLLM_HOME"])
    home.mkdir()
    (home / "config.toml").write_bytes(b"\xff\xfe\x00binary")
    one_line(run("ask", "Why?"), 1, "config.toml")


def test_a_bad_variable_is_named(run: Run) -> None:
    one_line(run("ask", "Why?", LOCALLLM_TEMPERATURE="hot"), 1, "LOCALLLM_TEMPERATURE")


def test_a_data_folder_that_cant_be_written_to_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("chats", "list", LOCALLLM_HOME=str(tmp_path / "file" / "home"))
    one_line(done, 1, "can't be written to", "LOCALLLM_HOME")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_data_folder_says_so(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "locked"
    home.mkdir(mode=0o500)
    one_line(run("chats", "list", LOCALLLM_HOME=str(home)), 1, "can't be written to")


def test_a_damaged_history_names_the_file_and_the_way_out(run: Run, env: dict[str, str]) -> None:
    home = Path(env["LOCALLLM_HOME"])
    home.mkdir()
    (home / "history.db").write_bytes(b"junk" * 4096)
    one_line(run("chats", "list"), 1, "history.db is damaged", "localllm chats set-aside")
    assert run("chats", "set-aside").returncode == 0
    assert run("chats", "list").returncode == 0
    assert (home / "history.set-aside-1.db").read_bytes() == b"junk" * 4096


# ---- input and terminal ---------------------------------------------------------------------------------------------


def test_standard_input_that_is_not_utf8_is_refused(run: Run) -> None:
    one_line(run("ask", "Summarise.", stdin=b"caf\xe9 au lait"), 1, "not UTF-8", "byte 3")


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are Unicode there")
def test_a_prompt_that_is_not_utf8_is_refused(env: dict[str, str]) -> None:
    command = [os.fsencode(sys.executable), b"-m", b"localllm_tui", b"ask", b"caf\xe9"]
    done = subprocess.run(command, capture_output=True, env=env, cwd=env["PYTHONPATH"], stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and b"The prompt is not UTF-8" in done.stderr and b"Traceback" not in done.stderr


def test_nothing_asked_is_wrong_usage(run: Run) -> None:
    done = run("ask")
    assert done.returncode == 2 and "Nothing was asked" in done.stderr and done.stdout == ""


def test_without_a_terminal_the_program_prints_help_and_exits_2(run: Run) -> None:
    done = run()
    assert done.returncode == 2 and done.stdout == "" and "Commands:" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_is_full_is_one_line(env: dict[str, str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "localllm_tui", "doctor", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            env=env,
            cwd=env["PYTHONPATH"],
        )
    assert (done.returncode, done.stderr) == (1, b"localllm: No space left on device.\n")


@pytest.mark.parametrize("args", [["no-such-command"], ["ask", "--no-such-flag"], ["ask", "q", "-t", "warm"]])
def test_wrong_usage_exits_2(run: Run, args: list[str]) -> None:
    done = run(*args)
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr


def test_errors_are_json_when_json_is_asked_for(run: Run) -> None:
    done = run("ask", "Why?", "--json")
    error = json.loads(done.stdout)["error"]
    assert error["kind"] == "model_not_found" and "pull starter" in error["hint"]
    assert done.returncode == 1 and done.stderr == ""


@pytest.mark.parametrize("delay", [0.03, 0.05, 0.08, 0.12, 0.2])
def test_ctrl_c_while_the_program_starts_shows_no_traceback_of_ours(env: dict[str, str], delay: float) -> None:
    # It waits for standard input in the end; before that it imports. Python itself reports an interrupt that comes
    # before our first line runs.
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "localllm_tui", "ask"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=env["PYTHONPATH"],
        text=True,
    )
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    if "localllm.cli" in err:
        # An interrupt inside exec() makes CPython end by the signal itself, which a shell reports as 130 too.
        assert process.returncode in (130, -signal.SIGINT) and "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal there")
def test_ctrl_c_while_waiting_for_input_exits_130(env: dict[str, str]) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"half a question")
    process = subprocess.Popen(
        [sys.executable, "-m", "localllm_tui", "ask"],
        stdin=read_end,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=env["PYTHONPATH"],
        text=True,
    )
    while unread(read_end) and process.poll() is None:  # once it has taken this, it waits for the rest
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    os.close(read_end)
    os.close(write_end)
    assert (process.returncode, out, err.strip()) == (130, "", "")


def unread(pipe: int) -> int:
    """Bytes in a pipe that nobody has taken yet."""
    import fcntl
    import termios

    (n,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, struct.pack("i", 0)))
    return int(n)
