"""File facts: size, time, inode and hash of a file, by which a sync knows whether it must be read."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from localllm.rag.folders import Found
from localllm.rag.readers.limits import Unreadable
from localllm.rag.rows import FileFacts

_RACY_NS = 2_000_000_000
"""A file changed within this time of the scan may change again with the same time: it is hashed once more next time."""


def facts_of(info: os.stat_result) -> FileFacts:
    """What the system tells of a file, without its hash."""
    return FileFacts(info.st_size, info.st_mtime_ns, info.st_ino)


def hashed(path: Path, follow: bool, check: Callable[[], None]) -> FileFacts | None:
    """Facts and hash of a file; None when it changed meanwhile.

    What was a file when its folder was listed may be a link or a pipe by now: neither is followed or waited for.

    Args:
        path: The file.
        follow: It may be a link.
        check: Called after each megabyte; what it raises ends the work.

    Raises:
        Unreadable: It is no regular file.
        OSError: It can't be opened, or is a link and may not be.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise Unreadable("not a regular file")
        while block := file.read(1 << 20):
            check()
            digest.update(block)
    facts = facts_of(info)
    return replace(facts, sha256=digest.digest()) if facts_of(path.stat(follow_symlinks=follow)) == facts else None


def kept(item: Found, facts: FileFacts) -> FileFacts:
    """The facts to compare with next time; a file that has just been changed gives no time that can be trusted."""
    if time.time_ns() - facts.mtime_ns <= _RACY_NS:
        facts = replace(facts, mtime_ns=0)
    return replace(facts, inode=item.inode)  # as the walk tells it, which on Windows is nothing
