"""The vectors in a library file, keyed by the content of the chunk: a moved or copied file costs no embedding.

These functions are methods of `Library`; they stand here because vectors are a noun of their own.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from localllm.rag.meta import count_change, set_value
from localllm.rag.rows import ModelRow, embedded_text

if TYPE_CHECKING:
    from localllm.rag.index import Library

_MANY = 500
"""Hashes per query; SQLite allows at least 999."""
_UNUSED = "chunk_sha256 NOT IN (SELECT sha256 FROM chunks)"


def model(library: Library, fingerprint: str, *, name: str = "", dim: int = 0, max_tokens: int = 0) -> ModelRow:
    """The row of an embedder, made when it is new."""
    with library.writing() as db:
        db.execute(
            "INSERT INTO models (fingerprint, name, dim, max_tokens, first_seen) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (fingerprint) DO NOTHING",
            (fingerprint, name, dim, max_tokens, time.time()),
        )
        row = db.execute("SELECT * FROM models WHERE fingerprint = ?", (fingerprint,)).fetchone()
    return _model(row)


def models(library: Library) -> list[ModelRow]:
    """Every embedder that vectors here were made with."""
    return [_model(row) for row in library.query("SELECT * FROM models ORDER BY id")]


def active_model(library: Library) -> ModelRow | None:
    """The embedder whose vectors are searched; None while there are none."""
    active = library.value("active_model", None)
    rows = library.query("SELECT * FROM models WHERE id = ?", (active,)) if active is not None else []
    return _model(rows[0]) if rows else None


def activate(library: Library, model_id: int) -> None:
    """Search this embedder's vectors from now on: the switch at the end of a re-embedding."""
    with library.writing() as db:
        set_value(db, "active_model", model_id)
        count_change(db)


def missing_vectors(library: Library, model_id: int, limit: int, after: int = 0) -> tuple[list[tuple[bytes, str]], int]:
    """Chunks that this embedder has not read yet, in the order of their ids.

    Args:
        library: Read.
        model_id: Row of the embedder.
        limit: Chunks at most.
        after: Only chunks with a greater id.

    Returns:
        Pairs of a chunk's hash and its embedded text, each hash once; and the id to go on after: a whole library
        is gone through once.
    """
    rows = library.query(
        'SELECT c.id, c.sha256, c.start, c."end", c.heading, d.content FROM chunks c '
        "JOIN documents d ON d.id = c.document_id WHERE c.id > ? AND NOT EXISTS "
        "(SELECT 1 FROM embeddings e WHERE e.model_id = ? AND e.chunk_sha256 = c.sha256) ORDER BY c.id LIMIT ?",
        (after, model_id, limit),
    )
    texts: dict[bytes, str] = {}
    found: dict[bytes, str] = {}
    for row in rows:
        content = row["content"]
        if content not in texts:
            texts = {content: library.text(content).text}  # neighbours come from one document: keep one text
        found[row["sha256"]] = embedded_text(row["heading"], texts[content][row["start"] : row["end"]])
    return list(found.items()), rows[-1]["id"] if rows else after


def count_missing_vectors(library: Library, model_id: int) -> int:
    """Chunks, by content, that this embedder has not read yet."""
    return int(
        library.query(
            "SELECT count(DISTINCT c.sha256) FROM chunks c LEFT JOIN embeddings e "
            "ON e.model_id = ? AND e.chunk_sha256 = c.sha256 WHERE e.chunk_sha256 IS NULL",
            (model_id,),
        )[0][0]
    )


def without_vector(library: Library, model_id: int, chunks: Sequence[bytes]) -> list[bytes]:
    """Those of these chunk hashes that this embedder has not read yet, in order."""
    have: set[bytes] = set()
    for i in range(0, len(chunks), _MANY):
        part = chunks[i : i + _MANY]
        sql = (
            f"SELECT chunk_sha256 FROM embeddings WHERE model_id = ? AND chunk_sha256 IN ({','.join('?' * len(part))})"
        )
        have |= {row[0] for row in library.query(sql, (model_id, *part))}
    return [chunk for chunk in chunks if chunk not in have]


def put_vectors(library: Library, model_id: int, vectors: Iterable[tuple[bytes, bytes]]) -> None:
    """Store vectors: pairs of a chunk's hash and float16 little-endian numbers."""
    with library.writing() as db:
        db.executemany(
            "INSERT INTO embeddings VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(model_id, chunk, vector) for chunk, vector in vectors],
        )
        count_change(db)


def vectors(library: Library, model_id: int) -> Iterator[tuple[int, bytes]]:
    """(chunk id, float16 blob) of every chunk that has a vector, by chunk id."""
    # CROSS JOIN: chunks go first, in their order. Left to itself SQLite sorts all the vectors in memory.
    rows = library.stream(
        "SELECT c.id, e.vec FROM chunks c CROSS JOIN embeddings e "
        "ON e.model_id = ? AND e.chunk_sha256 = c.sha256 ORDER BY c.id",
        (model_id,),
    )
    yield from ((row[0], row[1]) for row in rows)


def purge_vectors(library: Library, keep_model: int | None = None) -> int:
    """Drop vectors of chunks that are gone, and of other embedders than `keep_model` when it is given."""
    with library.writing() as db:
        n = db.execute(f"DELETE FROM embeddings WHERE {_UNUSED}").rowcount
        if keep_model is not None:
            n += db.execute("DELETE FROM embeddings WHERE model_id != ?", (keep_model,)).rowcount
            db.execute("DELETE FROM models WHERE id != ?", (keep_model,))
        if n:
            count_change(db)
    return n


def purge_surplus(library: Library) -> int:
    """Drop vectors in use whose chunks are gone, once they are more than those that are searched."""
    active = library.active_model
    if active is None:
        return 0
    stored = library.query("SELECT count(*) FROM embeddings WHERE model_id = ?", (active.id,))[0][0]
    searched = library.query("SELECT count(DISTINCT sha256) FROM chunks")[0][0]
    if stored <= 2 * searched + _MANY:
        return 0
    with library.writing() as db:
        n = db.execute(f"DELETE FROM embeddings WHERE model_id = ? AND {_UNUSED}", (active.id,)).rowcount
    return int(n)


def _model(row: sqlite3.Row) -> ModelRow:
    return ModelRow(row["id"], row["fingerprint"], row["name"], row["dim"], row["max_tokens"])
