"""Watching follows changes by notices or by looking, and ends when it is told to."""

from __future__ import annotations

import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from localllm.rag import lease
from localllm.rag.index import Library
from localllm.rag.progress import Summary
from localllm.rag.watch import watch

NOTICES = pytest.param(True, marks=pytest.mark.skipif(find_spec("watchfiles") is None, reason="needs watchfiles"))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.md").write_text("first")
    made = Library(tmp_path / "l.db", create=True)
    made.add_root(tmp_path / "folder", "folder")
    return made


@pytest.mark.parametrize("notices", [False, NOTICES])
def test_a_change_is_followed_and_cancel_ends_it(
    library: Library, tmp_path: Path, notices: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localllm.rag.watch.QUIET_SECONDS", 0.1)
    monkeypatch.setattr("localllm.rag.watch._REST", 0.1)
    cancel, added = threading.Event(), 0
    for event in watch(library, None, cancel, look_seconds=0.1, notices=notices):
        if isinstance(event, Summary):
            added += event.added
            if added == 1:
                # written a moment later, when the folders are being watched
                threading.Timer(0.5, (tmp_path / "folder" / "b.md").write_text, ("second",)).start()
            elif added == 2:
                cancel.set()
    assert [d.relpath for d in library.documents()] == ["a.md", "b.md"]


def test_while_another_process_indexes_it_waits(library: Library) -> None:
    cancel = threading.Event()
    with Library(library.path) as other, lease.hold(other):
        threading.Timer(0.5, cancel.set).start()
        assert list(watch(library, None, cancel, look_seconds=0.1, notices=False)) == []
    assert library.documents() == []
