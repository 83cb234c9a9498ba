"""The single values that a library keeps about itself, in its table ``meta``."""

from __future__ import annotations

import sqlite3
from typing import Any


def value_of(db: sqlite3.Connection, key: str, default: Any = None) -> Any:
    """The value kept under `key`, or `default`."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return default if row is None else row[0]


def set_value(db: sqlite3.Connection, key: str, value: Any) -> None:
    """Keep a value, inside the caller's transaction."""
    db.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value))


def count_change(db: sqlite3.Connection) -> None:
    """Say, inside the transaction that does it, that chunks or vectors change: caches over the file are void."""
    db.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
