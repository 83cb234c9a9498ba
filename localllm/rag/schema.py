"""The tables of a library file, and how older files become newer ones.

Two rules keep the keyword index true: rows of ``chunks`` are never written with INSERT OR REPLACE (its delete does not
fire triggers, which leaves stale entries in FTS5), and every write is one transaction.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from typing import TYPE_CHECKING

from localllm.errors import SchemaTooNew
from localllm.rag.segment import TOKENIZE

if TYPE_CHECKING:
    from sqlite_utils import Database

APPLICATION_ID = 0x4C4C4D31
"""``LLM1``: marks the file as a localllm library."""
SCHEMA_VERSION = 1
PAGE_SIZE = 8192
"""Bytes; keeps float16 vectors of up to 768 numbers inside their page."""
FTS_TABLE = "chunks_fts"

_TABLES = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE roots (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('folder', 'file')),
    include TEXT NOT NULL DEFAULT '[]',
    exclude TEXT NOT NULL DEFAULT '[]',
    offline INTEGER NOT NULL DEFAULT 0,
    added_at REAL NOT NULL,
    synced_at REAL
);

CREATE TABLE texts (
    sha256 BLOB PRIMARY KEY,
    body BLOB NOT NULL,
    layout BLOB NOT NULL,
    title TEXT NOT NULL,
    n_chars INTEGER NOT NULL
);

CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    root_id INTEGER NOT NULL REFERENCES roots ON DELETE CASCADE,
    relpath TEXT NOT NULL,
    format TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL DEFAULT 0,
    mtime_ns INTEGER NOT NULL DEFAULT 0,
    inode INTEGER NOT NULL DEFAULT 0,
    sha256 BLOB,
    content BLOB REFERENCES texts,
    title TEXT NOT NULL DEFAULT '',
    n_chars INTEGER NOT NULL DEFAULT 0,
    n_pages INTEGER NOT NULL DEFAULT 0,
    encoding TEXT NOT NULL DEFAULT '',
    reader TEXT NOT NULL DEFAULT '',
    chunker TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL CHECK (status IN ('ok', 'partial', 'pending', 'skipped', 'error', 'ignored')),
    reason TEXT NOT NULL DEFAULT '',
    indexed_at REAL NOT NULL,
    UNIQUE (root_id, relpath)
);
CREATE INDEX documents_content ON documents (content);
CREATE INDEX documents_sha256 ON documents (sha256);

CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    document_id INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    ord INTEGER NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    line INTEGER NOT NULL,
    line_end INTEGER NOT NULL,
    page INTEGER,
    page_end INTEGER,
    heading TEXT NOT NULL,
    n_tokens INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    fts_title TEXT NOT NULL,
    fts_text TEXT NOT NULL,
    UNIQUE (document_id, ord)
);
CREATE INDEX chunks_sha256 ON chunks (sha256);

CREATE VIRTUAL TABLE {FTS_TABLE} USING fts5(
    fts_title, fts_text, content='chunks', content_rowid='id', tokenize="{TOKENIZE}"
);
CREATE TRIGGER chunks_fts_insert AFTER INSERT ON chunks BEGIN
    INSERT INTO {FTS_TABLE}(rowid, fts_title, fts_text) VALUES (new.id, new.fts_title, new.fts_text);
END;
CREATE TRIGGER chunks_fts_delete AFTER DELETE ON chunks BEGIN
    INSERT INTO {FTS_TABLE}({FTS_TABLE}, rowid, fts_title, fts_text)
    VALUES ('delete', old.id, old.fts_title, old.fts_text);
END;
CREATE TRIGGER chunks_fts_update AFTER UPDATE OF id, fts_title, fts_text ON chunks BEGIN
    INSERT INTO {FTS_TABLE}({FTS_TABLE}, rowid, fts_title, fts_text)
    VALUES ('delete', old.id, old.fts_title, old.fts_text);
    INSERT INTO {FTS_TABLE}(rowid, fts_title, fts_text) VALUES (new.id, new.fts_title, new.fts_text);
END;

CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    dim INTEGER NOT NULL,
    max_tokens INTEGER NOT NULL,
    first_seen REAL NOT NULL
);

CREATE TABLE embeddings (
    model_id INTEGER NOT NULL REFERENCES models ON DELETE CASCADE,
    chunk_sha256 BLOB NOT NULL,
    vec BLOB NOT NULL,
    PRIMARY KEY (model_id, chunk_sha256)
) WITHOUT ROWID;

CREATE TABLE lease (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    token TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    process_start TEXT NOT NULL,
    heartbeat REAL NOT NULL
);
"""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring an open file to the current schema; a file that is current costs two PRAGMAs.

    Raises:
        SchemaTooNew: A newer localllm wrote the file; nothing is changed.
        sqlite3.DatabaseError: It is not a library file.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    refuse_newer(version)
    if version == SCHEMA_VERSION and application == APPLICATION_ID:
        return
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] and application != APPLICATION_ID:
        raise sqlite3.DatabaseError("file is not a localllm library")
    from sqlite_utils import Database

    connection.execute("BEGIN IMMEDIATE")
    try:
        _migrations().apply(Database(connection, recursive_triggers=False))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def refuse_newer(version: int) -> None:
    """Raise `SchemaTooNew` for a version that this localllm does not know."""
    if version > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"The library was written by a newer localllm (schema {version}, this one knows {SCHEMA_VERSION}).",
            "Update localllm, or choose another library with -d.",
        )


def _migrations() -> Migrations:
    from sqlite_utils import Migrations

    migrations = Migrations("localllm.library")

    @migrations()
    def m001_tables(db: Database) -> None:
        for statement in statements(_TABLES):
            db.execute(statement)
        for key, value in (("uuid", uuid.uuid4().hex), ("generation", 0), ("created", time.time())):
            db.execute("INSERT INTO meta VALUES (?, ?)", (key, value))

    return migrations


def statements(script: str) -> list[str]:
    """Split a script into statements (`executescript` would commit the open transaction)."""
    found, part = [], ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            found.append(part)
            part = ""
    return found


if TYPE_CHECKING:
    from sqlite_utils import Migrations
