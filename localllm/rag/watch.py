"""Watching: syncs as files change, by the system's own notices where `watchfiles` is installed, else by looking.

Notices are gathered from before each sync on, so that what changes while it runs, or while it rests, is followed right
after. A file that changes all the time, such as a log, does not keep the machine busy: after each sync nothing is done
for ten times as long as it took.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.errors import LibraryBusy
from localllm.rag.index import Library
from localllm.rag.progress import Summary, SyncEvent
from localllm.rag.reader_process import ReaderProcess
from localllm.rag.sync import sync

if TYPE_CHECKING:
    from watchfiles import Change

    from localllm.engine.protocol import Cancel, Embedder

QUIET_SECONDS = 2.0
"""A sync begins when nothing has changed for this long: editors write a file in several steps."""
LOOK_SECONDS = 5.0
"""Between two looks at the folders where the system gives no notice, and at which of them are there where it does."""
_LONGEST_GATHERING = 20.0
"""It begins after this long although changes go on."""
_REST = 10.0
_LONGEST_REST = 600.0
"""Also between two looks at everything where notices are given: they can be lost, and network drives give none."""
_STEP = 0.2


def watch(
    library: Library,
    embedder: Embedder | None,
    cancel: Cancel,
    *,
    look_seconds: float = LOOK_SECONDS,
    notices: bool = True,
) -> Iterator[SyncEvent]:
    """Sync now and after every change, until `cancel` is set.

    Args:
        library: Its roots are watched; those that come back, as a drive that is plugged in, are noticed.
        embedder: As for `sync`.
        cancel: Ends it within half a second.
        look_seconds: Between two looks without notices, or while another process indexes the library.
        notices: Use `watchfiles` where it is installed.
    """
    with ReaderProcess() as reader, closing(Notices(library)) as told:
        while not cancel.is_set():
            if notices:
                told.follow()
            rest = look_seconds  # while another process does the work
            busy = False
            try:
                for event in sync(library, embedder, cancel=cancel, reader=reader):
                    yield event
                    if isinstance(event, Summary):
                        rest = min(_LONGEST_REST, _REST * event.seconds)
            except LibraryBusy:
                busy = True
            reader.close()  # waiting costs no memory
            _pause(rest, cancel)
            if not busy:
                told.wait(cancel, look_seconds)


class Notices:
    """The system's notices of changes to a library's roots; where there are none, time is what tells."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._roots: list[tuple[Path, int, int]] = []
        self._changes: Generator[set[tuple[Change, str]], None, None] | None = None

    def follow(self) -> None:
        """Gather notices of the roots that are there now; those that came since the last `wait` are kept."""
        roots = self._there()
        if roots == self._roots and self._changes is not None:
            return
        self.close()
        self._roots = roots
        if not roots:
            return
        try:
            from watchfiles import watch as changes
        except ImportError:
            return
        step = int(_STEP * 1000)
        found = changes(
            *(path for path, _, _ in roots), watch_filter=None, debounce=step, rust_timeout=step,
            yield_on_timeout=True, ignore_permission_denied=True,
        )  # fmt: skip
        try:
            next(found)  # it begins with the first question
        except (OSError, RuntimeError, StopIteration):
            return  # more folders than the system watches, or one that has just gone
        self._changes = found

    def wait(self, cancel: Cancel, look_seconds: float) -> None:
        """Return after a change, when other roots are there than before, or when it is time to look."""
        if self._changes is None:
            _pause(look_seconds, cancel)
            return
        began = looked = _now()
        first, last = math.inf, math.inf
        while not cancel.is_set():
            told = self.poll()
            now = _now()
            if told:
                first, last = min(first, now), now
            if now - last >= QUIET_SECONDS or now - first >= _LONGEST_GATHERING:
                return
            if now - began >= _LONGEST_REST:
                return
            if now - looked >= look_seconds:
                looked = now
                if self._there() != self._roots:
                    return

    def poll(self) -> bool:
        """Wait a moment for notices; whether there were any."""
        if self._changes is None:
            time.sleep(_STEP)
            return False
        try:
            changes = next(self._changes)
        except (OSError, RuntimeError, StopIteration):
            self._changes = None  # as without notices, until the next sync asks for them again
            return True
        # The library itself may lie in a folder that it follows, and each sync writes to it.
        own = {str(self._library.path) + suffix for suffix in ("", "-wal", "-shm", "-journal")}
        return any(path not in own for _, path in changes)

    def close(self) -> None:
        """Gather no more; safe to call twice."""
        if self._changes is not None:
            self._changes.close()
            self._changes = None
        self._roots = []

    def _there(self) -> list[tuple[Path, int, int]]:
        """The roots that exist, each with what names its folder: another drive may be mounted at the same place."""
        found = []
        for root in self._library.roots():
            try:
                info = root.path.stat()
            except OSError:
                continue
            found.append((root.path, info.st_dev, info.st_ino if root.kind == "folder" else 0))
        return found


def _now() -> float:
    return time.monotonic()


def _pause(seconds: float, cancel: Cancel) -> None:
    end = _now() + seconds
    while not cancel.is_set() and (left := end - _now()) > 0:
        time.sleep(min(left, _STEP))
