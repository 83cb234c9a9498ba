"""The database file: how it is opened, its tables, and the steps from one version to the next.

Migrations follow sqlite-utils: every step and its record share one transaction. They run under ``BEGIN IMMEDIATE``, so
that two programs that start at once don't both create the tables.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from sqlite_utils import Database, Migrations

from localllm.errors import HistoryError
from localllm.settings import private_folder

migrations = Migrations("localllm-history")

BUSY_SECONDS = 10.0
"""How long a write waits for another program's."""


@migrations()
def m001_chats_and_messages(db: Database) -> None:
    """Chats, and the tree of messages of each."""
    db.execute("""
        CREATE TABLE chats (
            id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL DEFAULT '',
            created REAL NOT NULL, updated REAL NOT NULL,
            model TEXT NOT NULL DEFAULT '', system TEXT NOT NULL DEFAULT '', options TEXT,
            leaf_id INTEGER REFERENCES messages(id) ON DELETE SET NULL,
            draft_text TEXT NOT NULL DEFAULT '', deleted REAL)""")
    db.execute("""
        CREATE TABLE messages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            chat_id INTEGER NOT NULL REFERENCES chats(id) ON DELETE CASCADE,
            parent_id INTEGER REFERENCES messages(id) ON DELETE CASCADE,
            role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
            content TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('complete', 'streaming', 'stopped', 'error')),
            created REAL NOT NULL, reason TEXT NOT NULL DEFAULT '',
            model TEXT NOT NULL DEFAULT '', draft TEXT NOT NULL DEFAULT '', owner TEXT NOT NULL DEFAULT '',
            stats TEXT, citations TEXT, unsupported TEXT, passages TEXT, verdict TEXT, notes TEXT)""")
    db.execute("CREATE INDEX messages_by_chat ON messages (chat_id, parent_id)")
    db.execute("CREATE INDEX messages_by_parent ON messages (parent_id)")
    db.execute("CREATE INDEX chats_by_update ON chats (updated)")


@migrations()
def m002_full_text(db: Database) -> None:
    """Full-text indexes over titles and messages, kept by triggers.

    A message that is still being written is not indexed: it would be indexed anew every second.
    """
    tokens = "tokenize = 'unicode61 remove_diacritics 2'"
    db.execute(f"CREATE VIRTUAL TABLE chats_fts USING fts5 (title, content = 'chats', content_rowid = 'id', {tokens})")
    db.execute(
        f"CREATE VIRTUAL TABLE messages_fts USING fts5 (content, content = 'messages', content_rowid = 'id', {tokens})"
    )
    add_chat = "INSERT INTO chats_fts (rowid, title) VALUES (new.id, new.title);"
    drop_chat = "INSERT INTO chats_fts (chats_fts, rowid, title) VALUES ('delete', old.id, old.title);"
    add = "INSERT INTO messages_fts (rowid, content) VALUES (new.id, new.content);"
    drop = "INSERT INTO messages_fts (messages_fts, rowid, content) VALUES ('delete', old.id, old.content);"
    done_new, done_old = "new.state <> 'streaming'", "old.state <> 'streaming'"
    for name, event, condition, action in (
        ("chats_added", "AFTER INSERT ON chats", "1", add_chat),
        ("chats_dropped", "AFTER DELETE ON chats", "1", drop_chat),
        ("chats_renamed", "AFTER UPDATE OF title ON chats", "1", drop_chat + add_chat),
        ("messages_added", "AFTER INSERT ON messages", done_new, add),
        ("messages_dropped", "AFTER DELETE ON messages", done_old, drop),
        ("messages_changed_old", "BEFORE UPDATE OF content, state ON messages", done_old, drop),
        ("messages_changed_new", "AFTER UPDATE OF content, state ON messages", done_new, add),
    ):
        db.execute(f"CREATE TRIGGER {name} {event} WHEN {condition} BEGIN {action} END")


def connect(path: Path | None) -> Database:
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
        db = Database(conn, execute_plugins=False)
        if path is not None:
            _wal(db)
        conn.execute("PRAGMA foreign_keys = ON")
        # Commits survive a killed program; only a power cut may lose the last second.
        conn.execute("PRAGMA synchronous = NORMAL")
        _refuse_newer(db, path)
        if migrations.pending(db):
            conn.execute("BEGIN IMMEDIATE")
            with conn:
                migrations.apply(db)
        return db
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


def _wal(db: Database) -> None:
    """Readers and one writer side by side. Switching takes a lock for which SQLite does not wait by itself."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.enable_wal()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _refuse_newer(db: Database, path: Path | None) -> None:
    known = {step.name for step in migrations._migrations}
    unknown = [step.name for step in migrations.applied(db) if step.name not in known]
    if unknown:
        raise HistoryError(f"{path} was written by a newer localllm ({unknown[-1]}).", "Update localllm to open it.")
