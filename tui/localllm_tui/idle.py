"""What can be done in advance, in a thread of its own, until somebody needs the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable

Work = Callable[[threading.Event], object]
"""Given what cancels it; it must heed that at once, and be harmless when it is cut short."""


class IdleWork:
    """Does one piece of work at a time. At most one more waits: a newer wish takes the place of an older one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next: Work | None = None
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    def wish(self, work: Work) -> None:
        """Do this when what runs now is done; in place of what was wished for before."""
        with self._changed:
            if self._closed:
                return
            self._next = work
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="localllm-idle", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self) -> None:
        """End what runs, and forget what waits. Returns at once."""
        with self._changed:
            self._next = None
            self._cancel.set()

    def close(self, timeout: float = 2.0) -> None:
        """End for good, and wait for the thread, at most so many seconds."""
        with self._changed:
            self._closed = True
            self._next = None
            self._cancel.set()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next is not None or self._closed)
                if self._closed:
                    return
                work, self._next = self._next, None
                cancel = self._cancel = threading.Event()
            assert work is not None
            try:
                work(cancel)
            except Exception:  # nobody asked for it, so nobody is told: the question itself will say what is wrong
                continue
