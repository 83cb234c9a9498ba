"""The open history file: one lock, one connection, and transactions that other programs may wait for."""

from __future__ import annotations

import os
import secrets
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from localllm.errors import HistoryError
from localllm.history.schema import as_history_error, connect

OWNER = f"{os.getpid()}:{secrets.token_hex(4)}"
"""This run of the program. The number alone would not do: containers give every run the same one."""


class HistoryFile:
    """The connection beneath `History`.

    Args:
        file: The SQLite file, made if need be; None keeps everything in memory and stores nothing.

    Raises:
        HistoryError: The file can't be opened, is damaged, or was written by a newer version.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self._lock = threading.RLock()
        self._conn = connect(file)
        self._conn.row_factory = sqlite3.Row
        self._closed = False
        try:
            self._mark_orphans()
        except BaseException:
            self.close()
            raise

    @property
    def temporary(self) -> bool:
        """Nothing is stored: the chats end with this object."""
        return self.file is None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise HistoryError("The history was closed.")
            try:
                yield self._conn
            except sqlite3.Error as error:
                raise as_history_error(error, self.file) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, begun as a writer: one that began as a reader could not wait for another program."""
        with self._reading() as conn:
            if conn.in_transaction:
                yield conn
                return
            conn.execute("BEGIN IMMEDIATE")
            try:
                yield conn
                conn.commit()
            except BaseException:
                conn.rollback()
                raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What the block changes is kept as a whole, or not at all where it fails."""
        with self._writing():
            yield

    def _mark_orphans(self) -> None:
        """Answers whose program ended while it wrote them are kept, marked as stopped."""
        with self._reading() as conn:
            rows = conn.execute("SELECT DISTINCT owner FROM messages WHERE state = 'streaming'").fetchall()
        for owner in (row["owner"] for row in rows):
            if owner != OWNER and not _is_running(owner):
                with self._writing() as conn:
                    conn.execute(
                        "UPDATE messages SET state = 'stopped', reason = 'interrupted'"
                        " WHERE state = 'streaming' AND owner = ?",
                        (owner,),
                    )

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._conn.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_running(owner: str) -> bool:
    """Whether another run of the program still exists."""
    number = owner.partition(":")[0]
    pid = int(number) if number.isdecimal() else 0
    if pid in (0, os.getpid()):
        return False
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
        if handle:
            kernel.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
