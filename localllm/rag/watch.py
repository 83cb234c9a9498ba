"""Watching: syncs as files change, by the system's own notices where `watchfiles` is installed, else by looking.

A file that changes all the time, such as a log, does not keep the machine busy: after each sync that did something,
nothing is done for ten times as long as it took.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from localllm.errors import LibraryBusy
from localllm.rag.index import Library
from localllm.rag.progress import Summary, SyncEvent
from localllm.rag.reader_process import ReaderProcess
from localllm.rag.sync import sync

if TYPE_CHECKING:
    from localllm.engine.protocol import Cancel, Embedder

QUIET_SECONDS = 2.0
"""Changes are gathered for this long: editors write a file in several steps."""
LOOK_SECONDS = 5.0
"""Between two looks at the folders where the system gives no notice."""
_REST = 10.0
_LONGEST_REST = 600.0


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
        library: Its roots are watched.
        embedder: As for `sync`.
        cancel: Ends it within half a second.
        look_seconds: Between two looks without notices.
        notices: Use `watchfiles` where it is installed; folders on network drives give no notices.
    """
    with ReaderProcess() as reader:
        while not cancel.is_set():
            rest = 0.0
            try:
                for event in sync(library, embedder, cancel=cancel, reader=reader):
                    yield event
                    if isinstance(event, Summary) and (event.chunks or event.embedded):
                        rest = min(_LONGEST_REST, _REST * event.seconds)
            except LibraryBusy:
                rest = look_seconds  # another process does the work
            reader.close()  # waiting costs no memory
            _pause(rest, cancel)
            _wait_for_change(library, cancel, look_seconds, notices)


def _wait_for_change(library: Library, cancel: Cancel, look_seconds: float, notices: bool) -> None:
    """Return after a change, or when it is time to look."""
    paths = [root.path for root in library.roots() if root.path.exists()]
    if notices and paths:
        try:
            from watchfiles import watch as changes
        except ImportError:
            pass
        else:
            quiet = int(QUIET_SECONDS * 1000)
            for changed in changes(*paths, debounce=quiet, rust_timeout=200, yield_on_timeout=True):
                if changed or cancel.is_set():
                    return
            return
    _pause(look_seconds, cancel)


def _pause(seconds: float, cancel: Cancel) -> None:
    end = time.monotonic() + seconds
    while not cancel.is_set() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
