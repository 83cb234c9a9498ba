"""The chat without a screen: the same chats and answers as in the app, and not one control sequence."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import localllm.open
from localllm.assistant import Assistant
from localllm.cli.plain import PlainChat, plain_wanted
from localllm.cli.plain_reply import PlainReply
from localllm.cli.session import Session
from localllm.engine.protocol import EngineSpec
from localllm.errors import ModelNotFound
from localllm.events import Finished, FinishReason, Repairing, Stats, Token
from localllm.history import History, MessageState
from localllm.presets import Preset, save_preset
from localllm.settings import Paths, Settings
from tests.fakes import FakeEngine
from tests.test_cli_ask import environment

ROOT = Path(__file__).parent.parent
Chat = Callable[..., str]


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path / "history.db") as kept:
        yield kept


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path / "config.toml", tmp_path)


@pytest.fixture
def chat(history: History, paths: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Chat:
    """Types lines into a chat of its own on a scripted engine, and returns what was said."""

    def engine_spec(settings: Settings, where: Paths, *, documents: bool = True) -> EngineSpec:
        if settings.model == "nope":
            raise ModelNotFound("There is no model 'nope' on this computer.")
        return EngineSpec(Path(settings.model or "fake.gguf"))

    monkeypatch.setattr(localllm.open, "engine_spec", engine_spec)

    def run(*lines: str, answers: tuple[str, ...] = ("First.", "Second.", "Third."), **engine: Any) -> str:
        typed = iter(lines)
        fake = FakeEngine(answers, **engine)
        monkeypatch.setattr(localllm.open, "open_engine", lambda *a, **k: fake)
        assistant = Assistant(fake, history=history)
        talk = PlainChat(assistant, Settings(), paths, read=lambda prompt: next(typed, None))
        assert talk.run() == 0
        return capsys.readouterr().out

    return run


def test_a_question_is_answered_and_kept(chat: Chat, history: History) -> None:
    out = chat("Why?", "And?", "/quit", "never read")
    assert "Answer: First.\n" in out and "Answer: Second.\n" in out and "Third" not in out
    assert [m.content for m in history.path(1)] == ["Why?", "First.", "And?", "Second."]


def test_the_end_of_input_leaves_and_empty_lines_ask_nothing(chat: Chat, history: History) -> None:
    chat("", "   ")
    assert history.chats() == []


def test_chats_are_listed_searched_opened_and_read(chat: Chat, history: History) -> None:
    chat("About pumps", "/new", "About trains")
    out = chat("/chats", "/chats pumps", "/open 1", "/show", "More?", answers=("Later.",))
    assert "1. About pumps, 2 messages" in out and out.count("About trains") == 2  # greeting and list
    assert "You: About pumps\nAnswer: First.\n" in out
    assert [m.content for m in history.path(1)] == ["About pumps", "First.", "More?", "Later."]


def test_an_answer_is_given_again_beside_the_old_one(chat: Chat, history: History) -> None:
    assert "Answer: Second." in chat("Why?", "/regenerate")
    assert [m.content for m in history.path(1)] == ["Why?", "Second."]
    assert len(history.siblings(history.path(1)[-1].id)) == 2


def test_a_cut_off_answer_goes_on(chat: Chat, history: History, paths: Paths) -> None:
    save_preset(Preset("short", {"max_tokens": 8}), paths)
    chat("/preset short", "Why?", "/continue", answers=("one two three", "more"))
    assert [m.content for m in history.path(1)] == ["Why?", "one two more"]


def test_a_preset_begins_a_chat(chat: Chat, history: History, paths: Paths) -> None:
    save_preset(Preset("short", {"max_tokens": 5, "system": "Be brief."}, "Few words"), paths)
    out = chat("/preset", "/preset short", "Why?", answers=("0123456789",))
    assert "short: Few words" in out and "Answer: 0123\n" in out and "cut off" in out and "/continue" in out
    kept = history.chat(1)
    assert (kept.system, kept.options.preset, kept.options.settings) == ("Be brief.", "short", {"max_tokens": 5})


def test_a_question_may_have_several_lines(chat: Chat, history: History) -> None:
    chat("/lines", "One", "", "  two", ".")
    assert history.path(1)[0].content == "One\n\n  two"


def test_what_fails_is_one_line_and_the_chat_goes_on(chat: Chat, history: History) -> None:
    out = chat("/open nothing", "/model nope", "/preset x", "/nonsense", "x" * 9000, "Why?", "/docs y")
    errors = [line for line in out.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 4 and "Answer: First." in out and "There is no command /nonsense" in out
    assert "Traceback" not in out


def test_commands_on_an_empty_chat_say_so(chat: Chat, history: History) -> None:
    out = chat("/regenerate", "/continue", "/show", "/chats", "/open", "/preset")
    assert out.count("Nothing was asked in this chat yet.") == 3 and history.chats() == []


def test_documents_and_rules_of_a_chat_are_changed_and_taken_back(chat: Chat, history: History) -> None:
    out = chat("/rules", "/rules support-answer", "Why?", "/rules none", "/docs none", "/docs")
    assert "rule set support-answer" in out and "No documents are asked." in out
    options = history.chat(1).options
    assert (options.docs, options.rules) == ("", "") and dict(options.settings) == {"rules": "", "docs": ""}


def test_another_model_answers_from_the_next_question(chat: Chat) -> None:
    out = chat("Why?", "/model", "/model other.gguf", "Why?")
    assert "Fake-1B.Q4_0 answers." in out and "other.gguf answers from now on" in out and "Answer: Second." in out


def test_help_names_every_command(chat: Chat) -> None:
    from localllm.cli.plain_commands import COMMANDS

    out = chat("/help")
    assert [name for name in COMMANDS if f"/{name}" not in out] == ["exit"]


def test_nothing_that_a_terminal_would_obey_is_written(chat: Chat, history: History) -> None:
    history.create_chat("bad \x1b]0;title\x07")
    out = chat("/chats", "Why?", "/show", answers=("a\x1b[2Jb\x9b31mc\rd\x07\x08e",))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out) and "a[2Jb31mcde" in out


# ---- the answer as it comes -----------------------------------------------------------------------------------------


def test_words_are_written_whole_and_each_once(capsys: pytest.CaptureFixture[str]) -> None:
    reply = PlainReply(Session())
    seen = []
    for piece in ("Hel", "lo wo", "rld, ", "a" * 50, "b"):
        reply.follow(Token(piece))
        seen.append(capsys.readouterr().out)
    assert seen == ["", "Answer: Hello ", "world, ", "a" * 50, ""]
    reply.follow(Finished(FinishReason.STOP, "Hello world, " + "a" * 50 + "b", Stats()))
    assert capsys.readouterr().out == "b\n"


def test_a_repaired_answer_is_said_again_from_its_start(capsys: pytest.CaptureFixture[str]) -> None:
    reply = PlainReply(Session())
    for event in (Token("Bad end"), Repairing("length", 1, "Bad "), Token("no, good.")):
        reply.follow(event)
    reply.follow(Finished(FinishReason.STOP, "Bad no, good.", Stats()))
    assert capsys.readouterr().out == (
        "Answer: Bad end\nRule length is broken, attempt 2. The answer from its start:\nAnswer: Bad no, good.\n"
    )


def test_the_text_of_the_end_wins(capsys: pytest.CaptureFixture[str]) -> None:
    reply = PlainReply(Session())
    reply.follow(Token("one two"))
    reply.follow(Finished(FinishReason.STOP, "ONE two", Stats()))
    assert capsys.readouterr().out.endswith("The answer after checks:\nAnswer: ONE two\n")


def test_a_continued_answer_says_only_what_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    reply = PlainReply(Session(), "one ")
    reply.follow(Token("two"))
    reply.follow(Finished(FinishReason.STOP, "one two", Stats()))
    assert capsys.readouterr().out == "Answer: two\n"


# ---- a real terminal ------------------------------------------------------------------------------------------------


def test_when_it_is_wanted() -> None:
    assert plain_wanted(Settings(plain=True), {"TERM": "xterm"}) and plain_wanted(Settings(), {"TERM": "dumb"})
    assert not plain_wanted(Settings(), {"TERM": "xterm-256color"})


PROGRAM = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C comes from the terminal that controls the process
import tests.fake_program as program
from localllm_tui.__main__ import open_app
code = program.main(open_app, [])
print("screen:", "textual" in sys.modules, "code:", code)
"""


class Terminal:
    """The program on a pseudo terminal."""

    def __init__(self, home: Path, variables: dict[str, str], **engine: Any) -> None:
        env = {**environment(home, **engine), **variables}
        self.fd, end = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=end,
            stdout=end,
            stderr=end,
            env=env,
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(end)
        self.seen = b""

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def until(self, wanted: bytes, count: int = 1) -> None:
        end = time.monotonic() + 60
        while self.seen.count(wanted) < count:
            assert time.monotonic() < end, self.seen
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.fd, 4096)
                except OSError:  # Linux reports the end of a pseudo terminal so
                    break
        assert self.seen.count(wanted) >= count, self.seen

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo terminals")
@pytest.mark.parametrize("variables", [{"TERM": "xterm-256color", "LOCALLLM_PLAIN": "1"}, {"TERM": "dumb"}])
def test_in_a_real_terminal_ctrl_c_stops_an_answer_and_ctrl_d_leaves(tmp_path: Path, variables: dict[str, str]) -> None:
    words = " ".join(f"word{i}" for i in range(2000))
    terminal = Terminal(tmp_path, variables, answers=[words, "Short."], seconds_per_token=0.02)
    try:
        terminal.until(b"You: ")
        terminal.type(b"count\n")
        terminal.until(b"word3 ")
        terminal.type(b"\x03")
        terminal.until(b"Stopped")
        terminal.until(b"You: ", 2)
        terminal.type(b"\x03")
        terminal.until(b"Type /quit")
        terminal.type("größer?\n".encode())
        terminal.until(b"Answer: Short.")
        terminal.until(b"You: ", 4)
        terminal.type(b"\x04")
        terminal.until(b"code: 0")
    finally:
        terminal.close()
    assert b"screen: False" in terminal.seen and b"\x1b" not in terminal.seen
    with History(tmp_path / "history.db") as kept:
        question, stopped, second, answer = kept.path(1)
    assert (stopped.state, stopped.content.startswith("word0 word1")) == (MessageState.STOPPED, True)
    assert (question.content, second.content, answer.content) == ("count", "größer?", "Short.")


def test_without_a_terminal_there_is_help_and_exit_code_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "localllm_tui"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env={**environment(tmp_path), "LOCALLLM_PLAIN": "1"},
    )
    assert done.returncode == 2 and b"Usage" in done.stderr
