"""Documents written into a library file: each whole, with its chunks and keyword entries, in one transaction.

These functions are methods of `Library`; they stand here because writing a document is a matter of its own.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localllm.rag.meta import count_change, set_value
from localllm.rag.rows import (
    HEADING_SEPARATOR,
    Extract,
    FileFacts,
    FileRow,
    Layout,
    NewChunk,
    Status,
    TextMap,
    chunk_sha256,
)  # fmt: skip
from localllm.rag.segment import fts_text

if TYPE_CHECKING:
    from localllm.rag.index import Library

_INSERT_DOCUMENT = """
    INSERT INTO documents (root_id, relpath, format, size, mtime_ns, inode, sha256, content, title, n_chars, n_pages,
        encoding, reader, chunker, status, reason, indexed_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (root_id, relpath) DO UPDATE SET format = excluded.format, size = excluded.size,
        mtime_ns = excluded.mtime_ns, inode = excluded.inode, sha256 = excluded.sha256, content = excluded.content,
        title = excluded.title, n_chars = excluded.n_chars, n_pages = excluded.n_pages, encoding = excluded.encoding,
        reader = excluded.reader, chunker = excluded.chunker, status = excluded.status, reason = excluded.reason,
        indexed_at = excluded.indexed_at
    RETURNING id
"""
_INSERT_CHUNK = """
    INSERT INTO chunks (document_id, ord, start, "end", line, line_end, page, page_end, heading, n_tokens, sha256,
        fts_title, fts_text)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_MANY = 500
"""Ids per query; SQLite allows at least 999."""


def _nothing() -> None:
    pass


def store(
    library: Library, root_id: int, relpath: str, facts: FileFacts, extract: Extract, chunks: Sequence[NewChunk],
    chunker: str, check: Callable[[], None] = _nothing,
) -> int:  # fmt: skip
    """Write one document whole: text, chunks and keyword entries, in one transaction.

    Args:
        library: Written to.
        root_id: Where it belongs.
        relpath: Its path inside the root.
        facts: Of the file that was read.
        extract: What the reader made of it.
        chunks: Ascending, inside the text.
        chunker: Name and settings of the chunker: another one cuts the text again.
        check: Called before each chunk; what it raises undoes the whole.

    Returns:
        The document's id.
    """
    body = extract.text.encode("utf-8", "surrogatepass")
    content = sha256(body + b"\0" + extract.layout.pack()).digest()
    mapped = TextMap(extract.text, extract.layout)
    with library.writing() as db:
        db.execute(
            "INSERT INTO texts VALUES (?, ?, ?, ?, ?) ON CONFLICT (sha256) DO UPDATE SET body = excluded.body, "
            "layout = excluded.layout",  # the one that is there may be damaged
            (content, zlib.compress(body, 6), extract.layout.pack(), extract.title, len(extract.text)),
        )
        old = _content_at(db, root_id, relpath)
        status: Status = "partial" if extract.partial else "ok"
        document_id = _upsert(db, root_id, relpath, facts, status, extract.partial, extract, content, chunker)
        db.execute("DELETE FROM chunks WHERE document_id = ?", (document_id,))
        title = _title(extract.title, relpath)
        _insert_chunks(db, document_id, mapped, title, chunks, check)
        _release(db, [old])
        count_change(db)
    return document_id


def rechunk(
    library: Library, changes: Iterable[tuple[int, Sequence[NewChunk]]], chunker: str, activate: int | None,
    check: Callable[[], None] = _nothing,
) -> None:  # fmt: skip
    """Replace the chunks of documents whose text stays, all in one transaction.

    Args:
        library: Written to.
        changes: Ids of documents and their new chunks.
        chunker: Name and settings of the chunker.
        activate: The embedder whose vectors are searched from then on; None leaves it.
        check: Called before each chunk; what it raises undoes the whole.
    """
    with library.writing() as db:
        for document_id, chunks in changes:
            row = db.execute("SELECT content, title, relpath FROM documents WHERE id = ?", (document_id,)).fetchone()
            if row is None or row["content"] is None:
                continue
            db.execute("DELETE FROM chunks WHERE document_id = ?", (document_id,))
            title = _title(row["title"], row["relpath"])
            _insert_chunks(db, document_id, library.text(row["content"]), title, chunks, check)
            db.execute("UPDATE documents SET chunker = ? WHERE id = ?", (chunker, document_id))
        if activate is not None:
            set_value(db, "active_model", activate)
        count_change(db)


def file_rows(library: Library, root_id: int) -> dict[str, FileRow]:
    """What was known of each file of a root, by its path inside it."""
    rows = library.query(
        "SELECT relpath, id, size, mtime_ns, inode, sha256, status, reader, chunker, format, reason "
        "FROM documents WHERE root_id = ?",
        (root_id,),
    )
    return {row[0]: FileRow(*row) for row in rows}


def same_bytes(library: Library, sha256: bytes) -> list[tuple[int, int, str, str, str]]:
    """(id, root, relpath, reader, chunker) of the documents that were read from exactly these bytes."""
    return [
        tuple(row)
        for row in library.query(
            "SELECT id, root_id, relpath, reader, chunker FROM documents WHERE sha256 = ? AND content IS NOT NULL",
            (sha256,),
        )
    ]


def store_same(library: Library, root_id: int, relpath: str, facts: FileFacts, like: int) -> int:
    """Store a file whose bytes are those of the document `like`: nothing is read, its chunks are copied."""
    with library.writing() as db:
        old = _content_at(db, root_id, relpath)
        row = db.execute("SELECT * FROM documents WHERE id = ?", (like,)).fetchone()
        document_id = db.execute(
            _INSERT_DOCUMENT,
            (root_id, relpath, row["format"], facts.size, facts.mtime_ns, facts.inode, row["sha256"],
             row["content"], row["title"], row["n_chars"], row["n_pages"], row["encoding"], row["reader"],
             row["chunker"], row["status"], row["reason"], time.time()),
        ).fetchone()[0]  # fmt: skip
        db.execute("DELETE FROM chunks WHERE document_id = ?", (document_id,))
        title = _title(row["title"], relpath)
        rows = db.execute("SELECT * FROM chunks WHERE document_id = ? ORDER BY ord", (like,)).fetchall()
        db.executemany(
            _INSERT_CHUNK,
            [
                (document_id, c["ord"], c["start"], c["end"], c["line"], c["line_end"], c["page"], c["page_end"],
                 c["heading"], c["n_tokens"], c["sha256"], _fts_title(title, c["heading"]), c["fts_text"])
                for c in rows
            ],
        )  # fmt: skip
        _release(db, [old])
        count_change(db)
    return int(document_id)


def store_without_text(
    library: Library,
    root_id: int,
    relpath: str,
    facts: FileFacts,
    status: Status,
    reason: str,
    format: str = "",
    reader: str = "",
) -> int:
    """Remember a file that has no text here, and why; chunks of an earlier version go."""
    with library.writing() as db:
        old = _content_at(db, root_id, relpath)
        extract = Extract("", Layout(), format, reader=reader)
        document_id = _upsert(db, root_id, relpath, facts, status, reason, extract, None, "")
        if db.execute("DELETE FROM chunks WHERE document_id = ?", (document_id,)).rowcount:
            count_change(db)
        _release(db, [old])
    return document_id


def touch(library: Library, document_id: int, facts: FileFacts) -> None:
    """The file has other times but the same bytes."""
    with library.writing() as db:
        db.execute(
            "UPDATE documents SET size = ?, mtime_ns = ?, inode = ? WHERE id = ?",
            (facts.size, facts.mtime_ns, facts.inode, document_id),
        )


def read_again(library: Library, ids: Sequence[int]) -> None:
    """Forget what was known of these documents' files, so that the next sync reads them; until then they stay."""
    with library.writing() as db:
        db.executemany(
            "UPDATE documents SET sha256 = NULL, mtime_ns = 0, reader = '' WHERE id = ?", [(i,) for i in ids]
        )


def move(library: Library, document_id: int, root_id: int, relpath: str, facts: FileFacts) -> None:
    """The file has another name or place: its chunks stay, only their titles are written again."""
    with library.writing() as db:
        there = db.execute(
            "SELECT id FROM documents WHERE root_id = ? AND relpath = ? AND id != ?",
            (root_id, relpath, document_id),
        ).fetchall()
        delete_documents(library, [row[0] for row in there])
        db.execute(
            "UPDATE documents SET root_id = ?, relpath = ?, size = ?, mtime_ns = ?, inode = ? WHERE id = ?",
            (root_id, relpath, facts.size, facts.mtime_ns, facts.inode, document_id),
        )
        row = db.execute("SELECT title FROM documents WHERE id = ?", (document_id,)).fetchone()
        title = _title(row["title"], relpath)
        for chunk in db.execute("SELECT id, heading FROM chunks WHERE document_id = ?", (document_id,)).fetchall():
            new = _fts_title(title, chunk["heading"])
            db.execute("UPDATE chunks SET fts_title = ? WHERE id = ?", (new, chunk["id"]))
        count_change(db)


def delete_documents(library: Library, ids: Sequence[int]) -> None:
    """Drop documents with their chunks; vectors stay until `purge_vectors`: a file that comes back is free."""
    with library.writing() as db:
        for i in range(0, len(ids), _MANY):
            part = ids[i : i + _MANY]
            marks = ",".join("?" * len(part))
            old = db.execute(f"SELECT DISTINCT content FROM documents WHERE id IN ({marks})", part).fetchall()
            db.execute(f"DELETE FROM chunks WHERE document_id IN ({marks})", part)
            db.execute(f"DELETE FROM documents WHERE id IN ({marks})", part)
            _release(db, [row[0] for row in old])
        if ids:
            count_change(db)


def _upsert(
    db: sqlite3.Connection, root_id: int, relpath: str, facts: FileFacts, status: Status, reason: str, extract: Extract,
    content: bytes | None, chunker: str,
) -> int:  # fmt: skip
    row = db.execute(
        _INSERT_DOCUMENT,
        (root_id, relpath, extract.format, facts.size, facts.mtime_ns, facts.inode, facts.sha256, content,
         extract.title, len(extract.text), extract.n_pages, extract.encoding, extract.reader, chunker, status,
         reason, time.time()),
    ).fetchone()  # fmt: skip
    return int(row[0])


def _insert_chunks(
    db: sqlite3.Connection, document_id: int, mapped: TextMap, title: str, chunks: Sequence[NewChunk],
    check: Callable[[], None] = _nothing,
) -> None:  # fmt: skip
    def rows() -> Iterator[tuple[Any, ...]]:
        for number, chunk in enumerate(chunks):
            check()
            text, last = mapped.text[chunk.start : chunk.end], max(chunk.start, chunk.end - 1)
            yield (
                document_id, number, chunk.start, chunk.end, mapped.line(chunk.start), mapped.line(last),
                mapped.page(chunk.start), mapped.page(last), chunk.heading, chunk.n_tokens,
                chunk_sha256(chunk.heading, text), _fts_title(title, chunk.heading), fts_text(text),
            )  # fmt: skip

    db.executemany(_INSERT_CHUNK, rows())


def _content_at(db: sqlite3.Connection, root_id: int, relpath: str) -> bytes | None:
    row = db.execute("SELECT content FROM documents WHERE root_id = ? AND relpath = ?", (root_id, relpath)).fetchone()
    return None if row is None else row[0]


def _release(db: sqlite3.Connection, contents: Sequence[bytes | None]) -> None:
    """Drop those texts that no document has any more."""
    for content in contents:
        if content is not None:
            db.execute(
                "DELETE FROM texts WHERE sha256 = ? AND NOT EXISTS (SELECT 1 FROM documents WHERE content = ?)",
                (content, content),
            )


def _title(title: str, relpath: str) -> str:
    """A document's title and file name for the keyword index, each once."""
    return " ".join(dict.fromkeys((title, Path(relpath).name)))


def _fts_title(title: str, heading: str) -> str:
    """File name, title and headings for the keyword index, each once: repeated words would drown the text."""
    return fts_text(" ".join([title, *(part for part in heading.split(HEADING_SEPARATOR) if part not in title)]))
