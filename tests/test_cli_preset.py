"""`localllm ask --preset`: what the preset sets, what wins over it, and what the chat keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localllm.history import ChatOptions, History
from localllm.presets import Preset, save_preset
from localllm.settings import Paths
from tests.test_cli_ask import ask

ANSWER = ["0123456789"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    paths = Paths(tmp_path, tmp_path / "config.toml", tmp_path)
    save_preset(Preset("brief", {"system": "Be brief.", "max_tokens": 6, "temperature": 0.25}), paths)
    save_preset(Preset("free", {"max_tokens": 0}), paths)
    return tmp_path


def test_a_preset_answers_and_a_flag_wins_over_it(home: Path) -> None:
    assert ask(home, "q", "--preset", "brief", answers=ANSWER).stdout == b"0123\n"
    assert ask(home, "q", "-p", "brief", "-n", "8", answers=ANSWER).stdout == b"01234567\n"


def test_a_preset_wins_over_the_settings(home: Path) -> None:
    (home / "config.toml").write_text("max_tokens = 8\nsystem = 'Be long.'\n")
    done = ask(home, "q", "-p", "brief", "--show-prompt", answers=ANSWER)
    assert done.stdout == b"0123\n" and b"<system>Be brief.</system>" in done.stderr


def test_the_chat_goes_on_as_it_was_begun(home: Path) -> None:
    ask(home, "q", "-p", "brief", answers=ANSWER)
    done = ask(home, "-c", "more", "--show-prompt", answers=ANSWER)
    assert done.stdout == b"0123\n" and b"<system>Be brief.</system>" in done.stderr
    with History(home / "history.db") as kept:
        chat = kept.chats()[0]
        assert chat.options == ChatOptions(preset="brief", settings={"max_tokens": 6, "temperature": 0.25})


def test_a_chat_can_go_on_with_another_preset(home: Path) -> None:
    ask(home, "q", "-p", "brief", answers=ANSWER)
    assert ask(home, "-c", "more", "-p", "free", answers=ANSWER).stdout == b"0123456789\n"
    with History(home / "history.db") as kept:
        chat = kept.chats()[0]
        assert (chat.options.preset, chat.system) == ("free", "Be brief.")


def test_a_wrong_preset_stores_nothing(home: Path) -> None:
    (home / "presets" / "bad.toml").write_text("\ntop_p = 9\n")
    for name, kind, part in (("x", "preset_not_found", "brief"), ("bad", "settings_error", "line 2: top_p")):
        done = ask(home, "q", "-p", name, "--json", answers=ANSWER)
        error = json.loads(done.stdout)["error"]
        assert (done.returncode, error["kind"]) == (1, kind) and part in error["message"] + error["hint"]
    assert not (home / "history.db").exists()
