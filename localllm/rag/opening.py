"""Opening a library file: pragmas, a check after an unclean end, and setting a damaged file aside."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from localllm.errors import LibraryBusy, LibraryDamaged, LibraryFull, LibraryNotFound
from localllm.rag import schema
from localllm.settings import private_folder

BUSY_SECONDS = 30.0


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open a library file at the current schema.

    Args:
        path: The file; its folder is made when `create` is set.
        create: Make a missing file.

    Raises:
        LibraryNotFound: There is no such file, and none was to be made.
        SchemaTooNew: A newer localllm wrote it.
        sqlite3.DatabaseError: The file is damaged or no library.
    """
    if not path.exists():
        if not create:
            raise LibraryNotFound(
                f"There is no library {path.stem!r}.", f"`localllm docs add FOLDER -d {path.stem}` makes one."
            )
        private_folder(path.parent)
        path.touch(mode=0o600)
    # One connection may serve the sync thread and the screen: the library takes a lock of its own around each use.
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA page_size = {schema.PAGE_SIZE}")
        # WAL needs shared memory, which network drives lack; the rollback journal works everywhere.
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -65536")
        schema.migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def intact(connection: sqlite3.Connection) -> list[str]:
    """What is wrong with the file; empty when nothing is. The keyword index is rebuilt when it alone is out of step."""
    faults = [str(row[0]) for row in connection.execute("PRAGMA quick_check") if row[0] != "ok"]
    if faults:
        return faults
    faults = [f"foreign key of {row[0]} row {row[1]}" for row in connection.execute("PRAGMA foreign_key_check")]
    try:
        connection.execute(f"INSERT INTO {schema.FTS_TABLE}({schema.FTS_TABLE}, rank) VALUES ('integrity-check', 1)")
    except sqlite3.DatabaseError:
        connection.execute(f"INSERT INTO {schema.FTS_TABLE}({schema.FTS_TABLE}) VALUES ('rebuild')")
    return faults


def set_aside(path: Path) -> tuple[Path, list[tuple[str, str, str, str]]]:
    """Rename a damaged file, with its journal, and save what can be read of its roots.

    Returns:
        The new path, and (path, kind, include, exclude) of every root that could be read.
    """
    roots: list[tuple[str, str, str, str]] = []
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as damaged:
            roots = [tuple(row) for row in damaged.execute("SELECT path, kind, include, exclude FROM roots")]
        damaged.close()
    except sqlite3.Error:
        roots = []  # nothing to save: the user adds the folders again
    stamp = time.strftime("%Y%m%d-%H%M%S")
    target = path.with_name(f"{path.stem}.damaged-{stamp}.db")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.stem}.damaged-{stamp}-{number}.db")
    for suffix in ("-wal", "-shm", "-journal"):
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.replace(target.with_name(target.name + suffix))
    path.replace(target)
    return target, roots


def translate(error: sqlite3.Error, path: Path) -> Exception:
    """SQLite's error as one of ours, for ``raise ... from error``; the one place where this is decided."""
    text = str(error)
    if "full" in text:
        return LibraryFull(
            f"The disk is full: {path} could not grow.", "Free some space; what was indexed before stays."
        )
    if "locked" in text or "busy" in text:
        return LibraryBusy(f"{path} is being written by another process.", "Try again when it is done.")
    if isinstance(error, sqlite3.OperationalError) and "readonly" in text:
        return LibraryBusy(f"{path} can't be written to.", "Check the permissions of the file and its folder.")
    if isinstance(error, sqlite3.DatabaseError) and ("malformed" in text or "not a" in text):
        return LibraryDamaged(f"{path} is damaged: {text}.", "It is set aside and rebuilt at the next start.")
    return LibraryDamaged(f"{path}: {text}.", "`localllm docs verify` checks the file.")


def process_start(pid: int) -> str | None:
    """Something that changes when a process id is used again; None when no such process runs."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            return None
        return fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it runs, as another user
    return "running"
