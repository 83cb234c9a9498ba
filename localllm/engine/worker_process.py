"""WorkerProcess: one run of the worker, the pipes to it, and the thread that reads what it answers."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localllm.engine.protocol import EngineInfo, EngineSpec
from localllm.engine.spawn import cause_of_death, end_of, start_process
from localllm.engine.wire import Sender, receive, unpack_error
from localllm.errors import EngineDied

_CLOSE = 5.0
"""Seconds that a worker may take to save its sessions and end."""


class WorkerProcess:
    """One worker process, from its start to its end. All methods may be called from any thread.

    Args:
        spec: What it loads.
        log_path: Where its native output goes.
        on_progress: Called with 0 to 1 while it loads, from the reading thread.
    """

    def __init__(self, spec: EngineSpec, log_path: Path, on_progress: Callable[[float], None]) -> None:
        self._on_progress = on_progress
        self._popen = start_process(log_path)
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self.pid = self._popen.pid
        self.settled = threading.Event()
        """It is ready, or never will be."""
        self.info: EngineInfo | None = None
        self.failure: Exception | None = None
        self.fraction = 0.0
        self.ended = False
        self._log_path = log_path
        self._queues: dict[int, queue.SimpleQueue[Any]] = {}
        self._lock = threading.Lock()
        # A descriptor of its own: whoever sends after the end finds it closed, never the number of another file.
        self._sender = Sender(os.dup(self._popen.stdin.fileno()))
        self._popen.stdin.close()
        self._reader = threading.Thread(target=self._read, name="worker-replies", daemon=True)
        self._reader.start()
        with contextlib.suppress(OSError):
            self._sender.send(("load", 0, spec))

    def _read(self) -> None:
        assert self._popen.stdout is not None
        try:
            for kind, number, value in receive(self._popen.stdout.fileno()):
                if kind == "progress":
                    self.fraction = value
                    self._on_progress(value)
                elif kind == "ready":
                    self.info = value
                    self.settled.set()
                elif kind == "failed":
                    self.failure = unpack_error(value)
                    self.settled.set()
                elif (replies := self._queues.get(number)) is not None:
                    replies.put((kind, value))
        finally:
            self._bury()  # whatever ended the reading: nobody is left waiting

    def _bury(self) -> None:
        """Nothing more will be read: whoever waits is told why."""
        code = end_of(self._popen)
        with self._lock:
            self.ended = True
            if self.failure is None:
                self.failure = EngineDied(
                    f"The model's process ended unexpectedly: {cause_of_death(code)}.",
                    f"The text so far is kept; ask again to start it anew. Details: {self._log_path}",
                )
            for replies in self._queues.values():
                replies.put(("died", None))
        self.settled.set()

    def ask(self, number: int, message: tuple[Any, ...]) -> queue.SimpleQueue[Any]:
        """Send a request; its replies come through the queue."""
        replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._lock:
            self._queues[number] = replies
            if self.ended:
                replies.put(("died", None))
                return replies
        with contextlib.suppress(OSError):  # the reading thread learns of the end and says so
            self._sender.send(message)
        return replies

    def forget(self, number: int) -> None:
        """No replies to this request are wanted any more."""
        with self._lock:  # the reading thread may be going through them
            self._queues.pop(number, None)

    def cancel(self, number: int) -> None:
        """Ask the worker to stop what it does for a request."""
        with contextlib.suppress(OSError):
            self._sender.send(("cancel", number))

    def kill(self, why: str) -> None:
        """End the process at once; `why` is what those who wait are told."""
        with self._lock:
            self.failure = self.failure or EngineDied(why, f"Ask again to start it anew. Details: {self._log_path}")
        self._popen.kill()

    def close(self) -> None:
        """Let the process save and end; kill it where it does not."""
        with contextlib.suppress(OSError):
            self._sender.send(("close", 0))
        try:
            self._popen.wait(timeout=_CLOSE if self.info is not None else 0.5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._reader.join(timeout=2)
        self._sender.close()
        if self._popen.stdout is not None:
            with contextlib.suppress(OSError):
                self._popen.stdout.close()
