"""The lease: one process at a time indexes a library, while any number of others read it."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from localllm.errors import LibraryBusy, RetrievalError
from localllm.rag.opening import process_start

if TYPE_CHECKING:
    from localllm.rag.index import Library

HEARTBEAT_SECONDS = 5.0
_OURS: set[str] = set()
"""Tokens that this process holds now."""
STALE_SECONDS = 60.0
"""A lease from another computer is void after this long without a heartbeat; from this one when its process is gone."""


@contextmanager
def hold(library: Library) -> Iterator[Lease]:
    """Hold the lease for the body of a `with`.

    Raises:
        LibraryBusy: Another process holds it and is alive.
    """
    lease = Lease(library)
    lease.take()
    try:
        yield lease
    finally:
        lease.release()


class Lease:
    """The right to write documents; renewed by `beat`."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._token = uuid.uuid4().hex
        self._beaten = 0.0

    def take(self) -> None:
        """Take it from nobody, or from a process that is gone."""
        _OURS.add(self._token)  # before the row is there: another thread would take it for one of a dead process
        try:
            self._insert()
        except BaseException:
            _OURS.discard(self._token)
            raise
        self._beaten = time.monotonic()

    def _insert(self) -> None:
        with self._library.writing() as db:
            row = db.execute("SELECT token, host, pid, process_start, heartbeat FROM lease").fetchone()
            if row is not None and _alive(row):
                raise LibraryBusy(
                    f"Another process (number {row['pid']} on {row['host']}) is indexing this library.",
                    "Wait until it is done, or stop it.",
                )
            db.execute("DELETE FROM lease")
            pid = os.getpid()
            db.execute(
                "INSERT INTO lease VALUES (1, ?, ?, ?, ?, ?)",
                (self._token, socket.gethostname(), pid, process_start(pid) or "", time.time()),
            )

    def beat(self) -> None:
        """Say that we are alive; costs nothing when called often.

        Raises:
            LibraryBusy: The lease was lost: another computer took this process for dead.
        """
        if time.monotonic() - self._beaten < HEARTBEAT_SECONDS:
            return
        with self._library.writing() as db:
            kept = db.execute("UPDATE lease SET heartbeat = ? WHERE token = ?", (time.time(), self._token)).rowcount
        if not kept:
            raise LibraryBusy(
                "Another process took over the indexing of this library while this one stood still.",
                "Its work stays; sync again when it is done.",
            )
        self._beaten = time.monotonic()

    def release(self) -> None:
        """Give it back; no error when it was lost."""
        _OURS.discard(self._token)
        with suppress(RetrievalError), self._library.writing() as db:  # a full disk must not hide the first error
            db.execute("DELETE FROM lease WHERE token = ?", (self._token,))


def held(db: sqlite3.Connection) -> bool:
    """Whether a living process is indexing."""
    row = db.execute("SELECT token, host, pid, process_start, heartbeat FROM lease").fetchone()
    return row is not None and _alive(row)


def indexer(library: Library) -> int | None:
    """Id of the process that is indexing, if one is."""
    rows = library.query("SELECT token, host, pid, process_start, heartbeat FROM lease")
    return int(rows[0]["pid"]) if rows and _alive(rows[0]) else None


def _alive(row: sqlite3.Row) -> bool:
    if row["host"] != socket.gethostname():
        return bool(time.time() - row["heartbeat"] < STALE_SECONDS)
    if row["pid"] == os.getpid():
        return row["token"] in _OURS  # another thread of ours, or one whose release the disk was too full for
    return bool(process_start(row["pid"]) == row["process_start"])
