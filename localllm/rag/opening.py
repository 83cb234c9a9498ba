"""Opening a library file: pragmas, checks, setting a damaged file aside, and reading one that can't be written to."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from shlex import quote as quote_word
from urllib.parse import quote

from localllm.errors import LibraryBusy, LibraryDamaged, LibraryFull, LibraryNotFound
from localllm.rag import schema
from localllm.rag.progress import Cancelled
from localllm.settings import private_folder

BUSY_SECONDS = 30.0
CACHE_KIB = 16 << 10
"""Of pages that SQLite holds; the system's own cache has the others."""


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
                f"There is no library {path.stem!r}.",
                f"`localllm docs add FOLDER -d {quote_word(path.stem)}` makes one.",
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
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        schema.migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection | None:
    """Open a library that may be read and not written: of another user, or on a medium that can't be written.

    Returns:
        None where that can't be done: SQLite may need to write beside a file that was not closed properly.
    """
    quoted, journal = quote(str(path.absolute())), path.with_name(path.name + "-wal")
    # Without its journal's shared memory the file can be read only as one that nobody changes, as it is on such media.
    unfinished = journal.exists() and journal.stat().st_size > 0
    for options in ("mode=ro", "mode=ro&immutable=1")[: 1 if unfinished else 2]:
        connection = sqlite3.connect(
            f"file:{quoted}?{options}", uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            schema.refuse_newer(version)
            if version == schema.SCHEMA_VERSION:
                connection.execute("SELECT count(*) FROM roots").fetchone()
                connection.execute("PRAGMA temp_store = MEMORY")
                return connection
        except sqlite3.Error:
            pass
        except BaseException:
            connection.close()
            raise
        connection.close()
    return None


def page_faults(connection: sqlite3.Connection) -> list[str]:
    """What is wrong with the file's pages; empty when nothing is."""
    return [str(row[0]) for row in connection.execute("PRAGMA quick_check") if row[0] != "ok"]


def row_faults(connection: sqlite3.Connection, *, repair: bool = True) -> list[str]:
    """What is wrong with the rows of sound pages; empty when nothing is.

    Args:
        connection: An open library.
        repair: Check the keyword index too, and build it anew when it alone is out of step; that writes.
    """
    faults = [f"foreign key of {row[0]} row {row[1]}" for row in connection.execute("PRAGMA foreign_key_check")]
    if repair:
        try:
            connection.execute(
                f"INSERT INTO {schema.FTS_TABLE}({schema.FTS_TABLE}, rank) VALUES ('integrity-check', 1)"
            )
        except sqlite3.OperationalError:
            raise  # busy, or a full disk: that says nothing of the index
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
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as damaged:
            roots = [tuple(row) for row in damaged.execute("SELECT path, kind, include, exclude FROM roots")]
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
    if "interrupted" in text:
        return Cancelled()
    if "full" in text:
        free = shutil.disk_usage(path.parent).free / 1e6
        return LibraryFull(
            f"The disk is full: {path} could not grow ({free:,.0f} MB are free there).",
            "Free some space; what was indexed before stays, and the next sync goes on.",
        )
    if "locked" in text or "busy" in text:
        return LibraryBusy(f"{path} is being written by another process.", "Try again when it is done.")
    if "readonly" in text or "unable to open" in text:
        what = "written to" if "readonly" in text else "opened"
        return LibraryBusy(f"{path} can't be {what}.", "Check the permissions of the file and its folder.")
    if "disk I/O" in text:
        return LibraryFull(
            f"The disk does not take or give what {path} needs: {text}.",
            "Check that it is plugged in and that no quota is reached; what was indexed before stays.",
        )
    if damaged(error):
        return LibraryDamaged(f"{path} is damaged: {text}.", "It is set aside and rebuilt when it is opened next.")
    return LibraryDamaged(f"{path}: {text}.", "`localllm docs verify` checks the file.")


def may_write(path: Path) -> bool:
    """Whether the system lets us write to a file."""
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def unwritable(error: sqlite3.Error) -> bool:
    """Whether the file is there, and may not be written to."""
    return "readonly" in str(error) or "unable to open" in str(error)


def damaged(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is at fault."""
    return isinstance(error, sqlite3.DatabaseError) and ("malformed" in str(error) or "not a" in str(error))


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
