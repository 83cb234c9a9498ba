"""One process at a time writes a file: a lock that the system drops when the process ends, however it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from localllm.errors import DownloadError


@contextmanager
def only_one(target: Path) -> Iterator[None]:
    """Hold the lock of `target` (a file ``<target>.lock`` beside it), which is removed afterwards.

    Raises:
        DownloadError: Another process holds it.
    """
    lock = target.with_name(target.name + ".lock")
    descriptor = _open_locked(lock, target)
    try:
        yield
    finally:
        if sys.platform != "win32":  # unlinking first: a new process makes a new file, so nobody waits for this one
            with suppress(OSError):
                lock.unlink()
        os.close(descriptor)
        if sys.platform == "win32":
            with suppress(OSError):
                lock.unlink()


def _open_locked(lock: Path, target: Path) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise DownloadError(
                f"Another localllm is fetching {target.name} right now.", "Wait until it is done."
            ) from error
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        os.close(descriptor)  # its holder has just removed it


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
