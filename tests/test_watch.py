"""Watching follows changes by notices or by looking, and ends when it is told to.

Nothing here waits for a time: what is written is written at an event, and time itself is a script where it matters.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from localllm.errors import LibraryBusy
from localllm.rag import lease
from localllm.rag import watch as module
from localllm.rag.index import Library
from localllm.rag.progress import RootOffline, Summary, SyncEvent
from localllm.rag.watch import LOOK_SECONDS, Notices, watch

NEEDS_NOTICES = pytest.mark.skipif(find_spec("watchfiles") is None, reason="needs watchfiles")
BOTH = pytest.mark.parametrize("notices", [False, pytest.param(True, marks=NEEDS_NOTICES)])


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.md").write_text("first")
    made = Library(tmp_path / "l.db", create=True)
    made.add_root(tmp_path / "folder", "folder")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(module, "_REST", 0.1)


def summaries(library: Library, *steps: Callable[[], object], notices: bool) -> list[Summary]:
    """Watch; do each step right after the sync before it, while it still holds the floor; end after the last one."""
    cancel, left, found = threading.Event(), list(steps), list[Summary]()
    guard = threading.Timer(500, cancel.set)  # for a watch that waits in vain
    guard.start()
    offline: list[str] = []
    for event in watch(library, None, cancel, look_seconds=0.1, notices=notices):
        if not isinstance(event, Summary) or event.cancelled:
            continue
        if event.added or event.changed or event.removed or event.offline != offline:
            offline = event.offline
            found.append(event)
            if not left:
                cancel.set()
            else:
                left.pop(0)()
    guard.cancel()
    return found


@BOTH
def test_a_change_at_the_end_of_a_sync_is_followed_and_cancel_ends_it(library: Library, notices: bool) -> None:
    """The notices begin before the sync, so that nothing is waited for in vain."""
    folder = library.roots()[0].path

    def write() -> None:
        (folder / "b.md").write_text("second")
        (folder / "c.md").write_text("third")

    found = summaries(library, write, notices=notices)
    assert [s.added for s in found] == [1, 2]
    assert [d.relpath for d in library.documents()] == ["a.md", "b.md", "c.md"]


@BOTH
def test_a_folder_that_goes_and_comes_back_is_noticed(library: Library, notices: bool) -> None:
    folder = library.roots()[0].path
    away = folder.with_name("unplugged")

    def back() -> None:
        (away / "b.md").write_text("written elsewhere")
        away.rename(folder)

    found = summaries(library, lambda: folder.rename(away), back, notices=notices)
    assert [(s.added, len(s.offline)) for s in found] == [(1, 0), (0, 1), (1, 0)]


@BOTH
def test_another_folder_at_the_same_place_is_noticed(library: Library, notices: bool) -> None:
    """As a drive that is mounted anew: notices of the old one tell nothing of it."""
    folder = library.roots()[0].path

    def swap() -> None:
        folder.rename(folder.with_name("old"))
        folder.mkdir()
        (folder / "other.md").write_text("other")

    found = summaries(library, swap, lambda: (folder / "more.md").write_text("more"), notices=notices)
    assert [(s.added, s.removed) for s in found] == [(1, 0), (1, 1), (1, 0)]


@BOTH
def test_a_folder_that_is_added_meanwhile_is_watched_too(library: Library, tmp_path: Path, notices: bool) -> None:
    def add() -> None:
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "o.md").write_text("other")
        with Library(library.path) as process:
            process.add_root(tmp_path / "other", "folder")

    found = summaries(library, add, lambda: (tmp_path / "other" / "p.md").write_text("p"), notices=notices)
    assert [s.added for s in found] == [1, 1, 1]


@BOTH
def test_while_another_process_indexes_it_waits_and_then_does_its_work(
    library: Library, notices: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Library(library.path)
    holder = lease.Lease(other)
    holder.take()
    tries: list[int] = []
    sync = vars(module)["sync"]

    def counted(*arguments: object, **options: object) -> Iterator[SyncEvent]:
        tries.append(1)
        if len(tries) == 3:
            holder.release()
        yield from sync(*arguments, **options)

    monkeypatch.setattr(module, "sync", counted)
    assert [s.added for s in summaries(library, notices=notices)] == [1]
    assert len(tries) == 3
    other.close()


def test_a_missing_folder_is_said_and_watching_goes_on(library: Library) -> None:
    folder = library.roots()[0].path
    folder.rename(folder.with_name("unplugged"))
    cancel = threading.Event()
    events: list[SyncEvent] = []
    for event in watch(library, None, cancel, look_seconds=0.05):
        events.append(event)
        if sum(isinstance(e, Summary) for e in events) == 2:
            cancel.set()
    assert RootOffline(str(folder)) in events


class Script:
    """Notices and a clock that a test writes: at each poll a fifth of a second passes."""

    def __init__(self, notices: Notices, monkeypatch: pytest.MonkeyPatch, told: Callable[[float], bool]) -> None:
        self.time, self.notices, self.told = 1000.0, notices, told
        notices._changes = iter(())  # type: ignore[assignment]
        monkeypatch.setattr(notices, "poll", self.poll)
        monkeypatch.setattr(notices, "close", lambda: None)
        monkeypatch.setattr(module, "_now", lambda: self.time)
        monkeypatch.setattr(module, "QUIET_SECONDS", 2.0)

    def poll(self) -> bool:
        self.time += 0.2
        return self.told(self.time - 1000)

    def waited(self) -> float:
        began = self.time
        self.notices.wait(threading.Event(), LOOK_SECONDS)
        return round(self.time - began, 1)


def script(library: Library, monkeypatch: pytest.MonkeyPatch, told: Callable[[float], bool]) -> Script:
    notices = Notices(library)
    notices._roots = notices._there()
    return Script(notices, monkeypatch, told)


def test_changes_are_gathered_until_it_is_quiet(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    assert script(library, monkeypatch, lambda t: 3 < t < 4).waited() == pytest.approx(5.8, abs=0.3)


def test_a_file_that_changes_all_the_time_is_not_waited_for(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    assert script(library, monkeypatch, lambda _: True).waited() == pytest.approx(20.2, abs=0.3)


def test_without_a_notice_everything_is_looked_at_now_and_then(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script(library, monkeypatch, lambda _: False).waited() == pytest.approx(600, abs=0.3)


def test_after_each_sync_nothing_is_done_for_ten_times_as_long(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, pauses, cancel = iter([0.5, 3.0, 1000.0]), list[float](), threading.Event()
    monkeypatch.setattr(module, "_REST", 10.0)
    monkeypatch.setattr(module, "sync", lambda *_, **__: iter([Summary(seconds=next(seconds))]))
    monkeypatch.setattr(Notices, "wait", lambda *_: None)

    def pause(wanted: float, _: object) -> None:
        pauses.append(wanted)
        if len(pauses) == 3:
            cancel.set()

    monkeypatch.setattr(module, "_pause", pause)
    list(watch(library, None, cancel, notices=False))
    assert pauses == [5.0, 30.0, 600.0]


def test_a_library_that_is_busy_is_tried_again_without_a_change(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, cancel = itertools.count(), threading.Event()

    def busy(*_: object, **__: object) -> Iterator[SyncEvent]:
        if next(count) == 3:
            cancel.set()
        raise LibraryBusy("another process")

    monkeypatch.setattr(module, "sync", busy)
    monkeypatch.setattr(Notices, "wait", lambda *_: pytest.fail("waited for a change"))
    assert list(watch(library, None, cancel, look_seconds=0.01)) == []


@NEEDS_NOTICES
def test_the_library_s_own_file_is_no_change(library: Library, tmp_path: Path) -> None:
    library.add_root(tmp_path, "folder")
    notices = Notices(library)
    notices.follow()
    library.put("x", 1)
    assert not any(notices.poll() for _ in range(5))
    (tmp_path / "folder" / "b.md").write_text("x")
    for _ in range(1000):
        if notices.poll():
            break
    else:
        pytest.fail("no notice came")
    notices.close()


@NEEDS_NOTICES
def test_notices_that_end_are_asked_for_again(library: Library) -> None:
    notices = Notices(library)
    notices.follow()
    assert notices._changes is not None
    notices._changes.close()
    assert notices.poll()
    assert vars(notices)["_changes"] is None
    notices.follow()
    assert vars(notices)["_changes"] is not None
    notices.close()
