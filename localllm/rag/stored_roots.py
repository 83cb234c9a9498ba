"""The folders and files that a library follows.

These functions are methods of `Library`; they stand here because roots are a noun of their own.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from localllm.rag.rows import Root

if TYPE_CHECKING:
    from localllm.rag.index import Library


def roots(library: Library) -> list[Root]:
    """Folders and files that the library follows."""
    return [_root(row) for row in library.query("SELECT * FROM roots ORDER BY path")]


def add_root(
    library: Library,
    path: Path,
    kind: Literal["folder", "file"],
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Root:
    """Follow a folder or file; one that is followed already gets the new patterns."""
    with library.writing() as db:
        db.execute(
            "INSERT INTO roots (path, kind, include, exclude, added_at) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (path) DO UPDATE SET include = excluded.include, exclude = excluded.exclude",
            (str(path), kind, json.dumps(list(include)), json.dumps(list(exclude)), time.time()),
        )
        row = db.execute("SELECT * FROM roots WHERE path = ?", (str(path),)).fetchone()
    return _root(row)


def remove_root(library: Library, root_id: int) -> int:
    """Follow a root no more and drop its documents; returns how many."""
    with library.writing() as db:
        ids = [row[0] for row in db.execute("SELECT id FROM documents WHERE root_id = ?", (root_id,))]
        library.delete_documents(ids)
        db.execute("DELETE FROM roots WHERE id = ?", (root_id,))
    return len(ids)


def root_synced(library: Library, root_id: int, *, offline: bool) -> None:
    """Note the result of a scan."""
    with library.writing() as db:
        if offline:
            db.execute("UPDATE roots SET offline = 1 WHERE id = ?", (root_id,))
        else:
            db.execute("UPDATE roots SET offline = 0, synced_at = ? WHERE id = ?", (time.time(), root_id))


def _root(row: sqlite3.Row) -> Root:
    return Root(
        row["id"], Path(row["path"]), row["kind"], tuple(json.loads(row["include"])), tuple(json.loads(row["exclude"])),
        bool(row["offline"]), row["synced_at"],
    )  # fmt: skip
