"""Writing to a disk that may be full: checked before, explained after, and files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from pathlib import Path

from localllm.errors import DownloadError, NotEnoughSpace

SPARE_BYTES = 64 << 20
"""Left free on the disk."""


def install(part: Path, target: Path) -> None:
    """Give a complete file its final name, in one step that a power cut can't split."""
    part.chmod(0o600)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
    if hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):
            folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def ensure_space(folder: Path, n_bytes: int) -> None:
    """Check that so much can be written.

    Raises:
        NotEnoughSpace: With what is missing.
    """
    free = shutil.disk_usage(folder).free
    if free < n_bytes + SPARE_BYTES:
        raise NotEnoughSpace(
            f"{folder} has {megabytes(free)} free, and {megabytes(n_bytes + SPARE_BYTES)} are needed.",
            "Free some space, or choose another folder with --to; what has arrived is kept.",
        )


class disk_errors:  # noqa: N801  reads like a statement
    """Turns failures of the disk into errors for people."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            if error.errno in (ENOSPC, EDQUOT):
                hint = "Free some space and run it again: what has arrived is kept."
                raise NotEnoughSpace(f"The disk of {self.target.parent} is full.", hint) from error
            raise DownloadError(f"{self.target} can't be written: {error.strerror or error}.") from error


def megabytes(n: int) -> str:
    """As downloads are sized: in millions of bytes."""
    return f"{n / 1_000_000:,.1f} MB"
