"""The app in a real terminal (tmux) on the starter model: every step is read off the screen.

Nothing here waits for a time: each step waits for words on the screen, and long enough for a machine that is busy.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.models import CHAT, EMBEDDER, need

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.terminal,
    pytest.mark.model,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
    pytest.mark.skipif(not CHAT.exists(), reason="the starter model is missing (make starter)"),
]


PATIENCE = 120.0
"""Seconds for one step; on an idle machine each takes one or two."""
NARROW = (80, 24)
DOCUMENT = """# The pump QX-2291

The pump QX-2291 moves 40 litres of water per minute. Its motor is cooled by air.

## Noise

When the pump rattles, tighten the two screws on the left side.
"""
SHORT = """[ruleset]
name = "short"
version = "1"

[[rule]]
id = "length"
type = "words"
max = 3
enforce = "check"
severity = "warning"
on_fail = "warn"

[[rule]]
id = "number"
type = "keywords"
words = ["QX-2291"]
enforce = "check"
on_fail = "reject"
"""


class Terminal:
    """A tmux server of its own, with one window and a shell in it."""

    def __init__(self, folder: Path, width: int, height: int) -> None:
        self.socket = folder / "tmux.sock"
        self.home = folder / "home"
        self.work = folder / "work"
        self.work.mkdir(exist_ok=True)
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("TMUX", "LOCALLLM_"))}
        environ = {k: v for k, v in environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "NO_COLOR")}
        self.environ = environ | {"LOCALLLM_HOME": str(self.home), "TERM": "xterm-256color"}
        size = ("-x", str(width), "-y", str(height))
        self.tmux("-f", os.devnull, "new-session", "-d", *size, "-c", str(self.work), "/bin/sh", "+m")
        self.run("PS1='ready> '; clear")
        self.until(lambda: "ready>" in self.text(), "a shell")

    def tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self.socket), *arguments]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=PATIENCE).stdout

    def text(self) -> str:
        return self.tmux("capture-pane", "-p")

    def styled(self) -> str:
        """The screen with its colours and styles."""
        return self.tmux("capture-pane", "-p", "-e")

    def keys(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)

    def run(self, command: str) -> None:
        """A line for the shell."""
        self.type(command)
        self.keys("Enter")

    def until(self, true: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
        for _ in range(int(seconds / 0.1)):  # looks are counted: a machine that stood still for a while is no failure
            if true():
                return
            time.sleep(0.1)
        raise AssertionError(f"{what} did not happen; the terminal shows:\n{self.text()}")

    def sees(self, *words: str) -> None:
        self.until(lambda: all(each in self.text() for each in words), repr(words))

    def misses(self, words: str) -> None:
        """The words go away."""
        self.until(lambda: words not in self.text(), f"{words!r} going away")

    # ---- the app ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start the app and wait for its model."""
        self.run(f"stty -g > {self.work}/before; {shlex.quote(sys.executable)} -m localllm_tui")
        self.sees("A private assistant.", "is ready.")

    def ask(self, question: str) -> None:
        """Send a prompt and wait for the whole answer."""
        self.type(question)
        self.until(lambda: question[-12:] in self.text(), "the prompt")
        self.keys("Enter")
        self.answered()

    def answered(self) -> None:
        """The prompt was sent, and its answer has ended."""

        def over() -> bool:
            text = self.text()
            return "Ask anything." in text and idle(text) and len(last_answer(text)) > 1

        self.until(over, "an answer")

    def quit(self) -> None:
        """Leave; the terminal is as it was, and nothing of the program is left."""
        self.keys("C-q")
        self.sees("ready>")
        self.until(lambda: not self.processes(), "the end of every process")
        flags = "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{keypad_cursor_flag} #{pane_in_mode}"
        self.until(lambda: self.tmux("display-message", "-p", flags).strip() == "0 1 0 0 0", "the plain screen")
        self.run(f"stty -g | cmp - {self.work}/before && echo al''ive")
        self.sees("alive")

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


Open = Callable[..., Terminal]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a terminal; the home of the program is there where it has settings."""
    terminals = []

    def open_terminal(width: int = 110, height: int = 32, settings: str = "temperature = 0.0\n") -> Terminal:
        if settings:
            (tmp_path / "home").mkdir(mode=0o700)
            (tmp_path / "home" / "config.toml").write_text(settings)
        terminals.append(Terminal(tmp_path, width, height))
        return terminals[0]

    try:
        yield open_terminal
    finally:
        for terminal in terminals:
            terminal.close()


def idle(text: str) -> bool:
    """No answer is being written on this screen."""
    return "Enter send" in text and "answering" not in text and "stopping" not in text


def last_answer(text: str) -> str:
    """The last answer on this screen; a model's name stands over every answer and in the status line."""
    parts = re.split("SmolLM2-135M-Instruct|Second-Model", text)
    if len(parts) < 3:
        return ""
    return parts[-2].split("─────")[0].replace("│", "").replace("▌", "").strip()


def test_an_empty_home_gives_a_first_answer_after_three_keys(opened: Open) -> None:
    terminal = opened(*NARROW, settings="")
    terminal.open()
    terminal.keys("H", "i", "Enter")
    terminal.until(lambda: len(last_answer(terminal.text())) > 1, "an answer")
    terminal.keys("Escape")
    terminal.until(lambda: idle(terminal.text()), "the end of the answer")
    terminal.quit()


def test_the_whole_way_through_a_chat(opened: Open) -> None:
    terminal = opened(settings="temperature = 0.0\nmax_tokens = 240\n")
    terminal.open()
    terminal.sees("SmolLM2-135M-Instruct Q4_1")
    terminal.ask("Explain in three sentences why the sky is blue.")
    terminal.sees("Rayleigh", "tok/s")

    terminal.type("Write a very long story about a dragon.")
    terminal.keys("Enter")
    terminal.sees("Esc stop")
    terminal.until(lambda: len(about_the_dragon(terminal).split()) > 8, "the answer growing")
    terminal.keys("Escape")
    terminal.sees("Stopped. The text is kept.")
    kept = about_the_dragon(terminal).split()[:5]

    terminal.keys("M-e")
    terminal.sees("Editing your question")
    terminal.keys("C-u")
    terminal.type("Name one colour.")
    terminal.keys("Enter")
    terminal.sees("‹ 2/2 ›")
    terminal.answered()
    terminal.misses("dragon")

    terminal.keys("BTab")
    terminal.sees("y copy")
    terminal.keys("Up")
    terminal.until(lambda: "y copy" in terminal.text().split("SmolLM2-135M-Instruct")[-3], "focus on the question")
    terminal.keys("[")
    terminal.sees("‹ 1/2 ›", "Stopped. The text is kept.", "about a dragon.")
    assert about_the_dragon(terminal).split()[:5] == kept
    terminal.keys("Escape")
    terminal.misses("y copy")

    terminal.keys("M-y")
    terminal.sees("Copied")
    assert terminal.tmux("show-buffer").split()[:5] == kept, "the clipboard of this terminal holds the answer"
    terminal.type("/export markdown")
    terminal.sees("/export markdown")
    terminal.keys("Enter")
    terminal.sees("Exported to")
    (file,) = terminal.work.glob("*.md")
    assert "dragon" in file.read_text("utf-8")

    terminal.keys("C-n")
    terminal.sees("A private assistant.")
    terminal.keys("C-f")
    terminal.type("rayleigh")
    terminal.until(lambda: "ayleigh" in terminal.text().split("rayleigh", 1)[-1], "the chat found")
    terminal.keys("Enter")
    terminal.until(lambda: "Rayleigh scattering" in terminal.text() and "A private" not in terminal.text(), "the chat")

    terminal.keys("F1")
    terminal.sees("Send the prompt")
    terminal.keys("Escape")
    terminal.misses("Send the prompt")
    terminal.quit()


def about_the_dragon(terminal: Terminal) -> str:
    """The answer below this question, and not the one above it."""
    _, question, below = terminal.text().rpartition("about a dragon.")
    return last_answer(below) if question else ""


def test_a_folder_is_attached_asked_and_cited(opened: Open) -> None:
    need(EMBEDDER)
    terminal = opened(*NARROW, settings="temperature = 0.0\nmax_tokens = 60\n")
    folder = terminal.work / "manuals"
    folder.mkdir()
    (folder / "pump.md").write_text(DOCUMENT)
    (folder / "garden.txt").write_text("The garden is open from nine to five. Dogs must be kept on a lead.\n")
    terminal.open()
    terminal.keys("F4")
    terminal.sees("Documents: default", "Nothing here yet.")
    terminal.keys("a")
    terminal.sees("A folder or file to follow")
    terminal.type("manuals")
    terminal.keys("Enter")
    terminal.sees("Done: 2 added.", "✓ pump.md", "✓ garden.txt")
    assert "keywords alone" not in terminal.text(), "the embedder made vectors"
    terminal.keys("u")
    terminal.misses("Documents: default")
    terminal.sees("docs: default")

    terminal.ask("What should I do when the pump rattles?")
    terminal.sees("[1]", "tighten the two screws")
    terminal.keys("BTab")
    terminal.sees("y copy")
    terminal.keys("Enter")
    terminal.sees("[1] ", "verified", "line 1, score", "Esc close")
    terminal.sees("When the pump rattles, tighten the two screws")
    cited = "When the pump rattles, tighten the two screws on the left side."
    terminal.until(lambda: underlined(terminal) == cited, "the cited words, and no others, underlined")
    terminal.keys("n")
    terminal.sees("garden.txt", "not used in the answer")
    terminal.keys("Escape")
    terminal.misses("not used in the answer")
    terminal.quit()


def underlined(terminal: Terminal) -> str:
    """What the dialog marks, its rows joined."""
    found: list[str] = []
    on = False
    for code, piece in re.findall(r"(?:\x1b\[([\d;:]*)m)?([^\x1b]*)", terminal.styled()):
        for part in re.findall(r"[34]8[;:]5[;:]\d+|[34]8[;:]2(?:[;:]\d+){3}|\d+", code):
            on = True if part == "4" else False if part in ("0", "24") else on
        if on and piece.strip():
            found.append(piece.strip())
    return " ".join(" ".join(found).split())


def test_rules_are_applied_judged_and_repaired_and_a_preset_keeps_them(opened: Open) -> None:
    terminal = opened(settings="temperature = 0.0\nmax_tokens = 400\n")
    (terminal.home / "rules").mkdir(mode=0o700)
    (terminal.home / "rules" / "short.toml").write_text(SHORT)
    terminal.open()
    terminal.keys("F5")
    terminal.sees("What answers in this chat must look like", "commit-message", "short (2 rules, your own)")
    terminal.keys("Down", "Enter")  # one's own sets stand first
    terminal.misses("What answers in this chat must look like")
    terminal.sees("rules: short")
    terminal.type("Explain in three sentences why the sky is blue.")
    terminal.keys("Enter")
    terminal.sees("words", "Esc stop")
    terminal.answered()
    terminal.sees("✗")
    terminal.keys("BTab")
    terminal.sees("y copy")
    terminal.keys("v")
    terminal.sees("Not every rule is kept", "length", "required")
    terminal.keys("Escape")
    terminal.misses("Not every rule is kept")
    terminal.keys("F8")
    terminal.sees("‹ 2/2 ›")
    terminal.keys("Escape")  # from the answer back to the prompt
    terminal.answered()

    terminal.keys("F7")
    terminal.sees("Presets", "There are none yet")
    terminal.keys("s")
    terminal.sees("Name of the preset")
    terminal.type("brief")
    terminal.keys("Enter")
    terminal.sees("Saved to")
    terminal.keys("Escape")
    terminal.misses("Saved to")
    terminal.keys("C-n")
    terminal.sees("A private assistant.")
    terminal.misses("rules: short")
    terminal.type("/preset brief")
    terminal.keys("Enter")
    terminal.sees("uses the preset brief", "rules: short")
    terminal.quit()


def test_a_key_is_changed_and_the_model_is_switched_in_mid_chat(opened: Open) -> None:
    terminal = opened(settings=f"temperature = 0.0\nmax_tokens = 30\nmodel = {CHAT.stem!r}\n")
    (terminal.home / "models").mkdir(mode=0o700)
    shutil.copyfile(CHAT, terminal.home / "models" / "Second-Model.Q4_1.gguf")
    terminal.open()
    terminal.type("/rebind")
    terminal.keys("Enter")
    terminal.sees("Keys (default)", "Send the prompt")
    terminal.keys("a")
    terminal.sees("Press the key for it.")
    terminal.keys("F12")
    terminal.sees("Send the prompt: Enter, F12.")
    terminal.keys("Escape")
    terminal.misses("Keys (default)")
    terminal.type("Name one colour.")
    terminal.sees("› Name one colour.")
    terminal.keys("F12")
    terminal.misses("› Name one colour.")
    terminal.answered()

    terminal.keys("F3")
    terminal.sees("Models on this computer", "Second-Model", "✓ fits", "● ")
    names = re.findall(r"(Second-Model|SmolLM2-135M-Instruct)\.Q4_1 ", terminal.text())
    terminal.keys("Home", *["Down"] * names.index("Second-Model"))
    terminal.until(lambda: "Second-Model" in highlighted(terminal), "the second model under the bar")
    terminal.keys("Enter")
    terminal.sees("Second-Model Q4_1")
    terminal.ask("Name another colour.")
    terminal.until(lambda: terminal.text().count("Second-Model") >= 2, "its name over the answer")
    assert "SmolLM2-135M-Instruct" in terminal.text(), "the first answer keeps the name of its model"
    terminal.quit()


def highlighted(terminal: Terminal) -> str:
    """The rows of the list of models whose background is that of the bar: any other than the dialog's."""
    rows = [row for row in terminal.styled().splitlines() if re.search(r"\d MB|Q4_1", row) and "─" not in row]
    backgrounds = [re.findall(r"48;5;\d+|48;2;[\d;]+", row) for row in rows]
    common = max({b for each in backgrounds for b in each}, key=lambda b: sum(b in each for each in backgrounds))
    return "\n".join(row for row, each in zip(rows, backgrounds, strict=True) if set(each) - {common})


@pytest.mark.parametrize("how", ["LOCALLLM_PLAIN=1", "TERM=dumb"])
def test_the_line_mode_answers_and_draws_nothing(how: str, opened: Open) -> None:
    terminal = opened(settings="temperature = 0.0\nmax_tokens = 20\n")
    terminal.run(f"{how} {shlex.quote(sys.executable)} -m localllm_tui")
    terminal.sees("localllm, line by line.", "You:")
    assert terminal.tmux("display-message", "-p", "#{alternate_on}").strip() == "0"
    terminal.type("Name one colour.")
    terminal.keys("Enter")
    terminal.until(lambda: terminal.text().count("You:") == 2, "an answer and another turn")
    terminal.type("/quit")
    terminal.keys("Enter")
    terminal.until(lambda: terminal.text().rstrip().endswith("ready>"), "the shell")
    terminal.until(lambda: not terminal.processes(), "the end of every process")


def test_a_killed_worker_is_told_and_the_next_message_starts_another(opened: Open) -> None:
    terminal = opened(settings="temperature = 0.0\nmax_tokens = 400\n")
    terminal.open()
    terminal.type("Write a very long story about the sea.")
    terminal.keys("Enter")
    terminal.until(lambda: "answering" in terminal.text() and "tok/s" in terminal.text(), "the answer growing")
    workers = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _is_worker(entry, terminal.home)]
    assert len(workers) == 1
    os.kill(workers[0], 9)
    terminal.sees("ended unexpectedly")
    terminal.until(lambda: idle(terminal.text()), "readiness")
    terminal.type("Say hello.")
    terminal.keys("Enter")
    terminal.answered()
    terminal.quit()


def _is_worker(entry: Path, home: Path) -> bool:
    try:
        environ = (entry / "environ").read_bytes().split(b"\0")
        command = (entry / "cmdline").read_bytes()
    except OSError:
        return False
    return f"LOCALLLM_HOME={home}".encode() in environ and b"localllm.engine.worker" in command
