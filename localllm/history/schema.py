"""The database file: how it is opened, how it is brought to this version's tables, and what is said when it can't.

The steps are sqlite-utils migrations: every step and its record share one transaction. They run under ``BEGIN
IMMEDIATE``, so that two programs that start at once don't both create the tables.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from localllm.errors import HistoryError
from localllm.settings import private_folder

STEPS = ("m001_chats_and_messages", "m002_full_text")
"""The steps in `migrations`, oldest first."""
BUSY_SECONDS = 10.0
"""How long a write waits for another program's."""


def connect(path: Path | None) -> sqlite3.Connection:
    """Open the file, make it if need be, and bring it to this version's schema.

    Args:
        path: The file; None keeps everything in memory.

    Raises:
        HistoryError: It can't be opened, is no database, is damaged, or was written by a newer version.
    """
    if path is not None:
        private_folder(path.parent)
        _make_private(path)
    try:
        conn = sqlite3.connect(path or ":memory:", timeout=BUSY_SECONDS, check_same_thread=False)
    except sqlite3.Error as error:
        raise HistoryError(f"{path} can't be opened: {error}.", "Set LOCALLLM_HOME to a folder of your own.") from error
    try:
        if path is not None:
            _wal(conn)
        conn.execute("PRAGMA foreign_keys = ON")
        conn.execute("PRAGMA secure_delete = ON")
        # Commits survive a killed program; only a power cut may lose the last second.
        conn.execute("PRAGMA synchronous = NORMAL")
        done = _steps_done(conn)
        if unknown := [step for step in done if step not in STEPS]:
            raise HistoryError(
                f"{path} was written by a newer localllm ({unknown[-1]}).", "Update localllm to open it."
            )
        if len(done) < len(STEPS):
            _migrate(conn)
        return conn
    except BaseException as error:
        conn.close()
        if isinstance(error, sqlite3.Error):
            raise as_history_error(error, path) from error
        raise


def as_history_error(error: sqlite3.Error, path: Path | None) -> HistoryError:
    """SQLite's complaint as one line that names the file and the way out."""
    name = str(path or "The history in memory")
    text = str(error)
    if isinstance(error, sqlite3.OperationalError):
        if "locked" in text or "busy" in text:
            return HistoryError(f"{name} is in use by another program.", "Try again in a moment.")
        if "readonly" in text or "unable to open" in text:
            return HistoryError(f"{name} can't be written to.", "Set LOCALLLM_HOME to a folder of your own.")
        if "full" in text:
            return HistoryError(f"{name} can't be written: the disk is full.", "Make room and try again.")
    return HistoryError(
        f"{name} is damaged or is no history file ({text}).",
        "`localllm chats set-aside` moves it away and starts a new history.",
    )


def set_aside(path: Path) -> Path:
    """Move a damaged history and its companions out of the way, and return its new path. Nothing is deleted.

    Raises:
        HistoryError: There is no such file, or it can't be moved.
    """
    n = 1
    while (target := path.with_name(f"{path.stem}.set-aside-{n}{path.suffix}")).exists():
        n += 1
    try:
        path.rename(target)
        for companion in ("-wal", "-shm"):
            if (beside := path.with_name(path.name + companion)).exists():
                beside.rename(target.with_name(target.name + companion))
    except OSError as error:
        raise HistoryError(f"{path} can't be moved: {error.strerror or error}.") from error
    return target


def _make_private(path: Path) -> None:
    """Create the file with mode 0600: SQLite gives its companions the mode of the main file."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise HistoryError(
            f"{path} can't be written to: {error.strerror or error}.", "Set LOCALLLM_HOME to a folder of your own."
        ) from error


def _wal(conn: sqlite3.Connection) -> None:
    """Readers and one writer side by side. Switching takes a lock for which SQLite does not wait by itself."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            conn.execute("PRAGMA journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _steps_done(conn: sqlite3.Connection) -> list[str]:
    if not conn.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
        return []
    rows = conn.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = 'localllm-history' ORDER BY id")
    return [row[0] for row in rows]


def _migrate(conn: sqlite3.Connection) -> None:
    from sqlite_utils import Database

    from localllm.history.migrations import migrations

    db = Database(conn, execute_plugins=False)
    conn.execute("BEGIN IMMEDIATE")
    with conn:
        migrations.apply(db)
