"""Saved chats are a cache: nothing that is wrong with their folder stops an answer, and nothing piles up in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from localllm.engine.cache import Slot, Slots
from localllm.engine.sessions import SessionStore
from tests.fake_backend import FakeBackend, says

STATE = np.arange(64, dtype=np.uint8)


class Sharing(FakeBackend):
    def seq_cp(self, source: int, target: int, start: int = 0, end: int = -1) -> None:
        raise AssertionError("there is only one sequence")


def store_in(folder: Path, max_bytes: int = 1 << 20) -> SessionStore:
    return SessionStore(folder, max_bytes, "model")


def test_what_is_saved_is_found_again(tmp_path: Path) -> None:
    store = store_in(tmp_path / "sessions")
    assert store.save("chat", [1, 2, 3], STATE)
    saved = store.find("chat")
    assert saved is not None
    assert saved.tokens == [1, 2, 3]
    assert np.array_equal(store.read_state(saved), STATE)


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("a file where the folder should be")
    assert not store_in(tmp_path / "sessions").save("chat", [1], STATE)


def test_a_file_that_goes_while_it_is_read_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)
    store.save("chat", [1], STATE)
    saved = store.find("chat")
    assert saved is not None

    def gone(path: Path) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr("localllm.engine.sessions.os.utime", gone)
    assert np.array_equal(store.read_state(saved), STATE)


def test_what_a_killed_worker_left_half_written_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    left, written = tmp_path / "a.1.part", tmp_path / "b.2.part"
    for path in (left, written):
        path.write_bytes(b"half")
    os.utime(left, (time.time() - 90_000, time.time() - 90_000))
    assert store_in(tmp_path).save("chat", [1], STATE)
    assert not left.exists()
    assert written.exists(), "another worker may be writing it now"


@pytest.mark.parametrize(
    ("prompt", "session", "saved"),
    [
        ([1, 2, 3, 4], "", False),  # idle work that goes on in the same chat
        ([1, 2, 9], "", True),  # idle work that throws its end away
        ([1, 2, 3, 4], "mine", False),
        ([1, 2, 3, 4], "another", True),
    ],
)
def test_a_chat_is_saved_when_it_is_left_and_not_while_it_goes_on(prompt: list[int], session: str, saved: bool) -> None:
    slots = Slots()
    (slot,) = slots
    slot.tokens, slot.session = [1, 2, 3], "mine"
    given_up: list[Slot] = []
    assert slots.choose(Sharing(says("")), prompt, session, given_up.append) is slot
    assert bool(given_up) is saved
