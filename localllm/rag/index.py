"""Library: one SQLite file with the documents' text, their chunks, the keyword index and the vectors.

The file is the only truth; everything kept in memory can be made again from it. Each document is written in one
transaction, with its text, its chunks and its keyword entries, so that a process that is killed leaves nothing half
there. Vectors are keyed by the content of the chunk: a moved or copied file costs no embedding.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

from localllm.rag import lease, opening, schema
from localllm.rag.rows import HEADING_SEPARATOR, Chunk, Document, Layout, ModelRow, Root, Status, TextMap, embedded_text
from localllm.rag.segment import fts_text

_DOCUMENT = """
    SELECT d.id, d.root_id, r.path AS root, r.kind, d.relpath, d.format, d.size, d.mtime_ns, d.title, d.n_chars,
           d.n_pages, d.encoding, d.status, d.reason, d.content,
           (SELECT count(*) FROM chunks c WHERE c.document_id = d.id) AS n_chunks
    FROM documents d JOIN roots r ON r.id = d.root_id
"""
_CHUNK = (
    'SELECT id, document_id, ord, start, "end", line, line_end, page, page_end, heading, n_tokens, sha256 FROM chunks'
)
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


class FileRow(NamedTuple):
    """What a library knows of a file."""

    relpath: str
    id: int
    size: int
    mtime_ns: int
    """0 when the file may have changed within the resolution of its clock: it is hashed at the next look."""
    inode: int
    sha256: bytes | None
    status: Status
    reader: str
    chunker: str
    format: str
    reason: str


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a file without reading it, and the hash of its bytes once it was read."""

    size: int
    mtime_ns: int
    inode: int
    sha256: bytes | None = None


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be stored; line, page and heading follow from the text map."""

    start: int
    end: int
    heading: str
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Extract:
    """What a reader made of a file."""

    text: str
    layout: Layout
    format: str
    title: str = ""
    encoding: str = ""
    n_pages: int = 0
    reader: str = ""
    """Name and version of the reader: another version reads the file again."""
    partial: str = ""
    """Why only a part was read; empty when all was."""


class Library:
    """An open library file. Safe to use from several threads of one process; processes share the file through WAL.

    Args:
        path: The file.
        create: Make it when it is not there.

    Raises:
        LibraryNotFound: There is no such file, and none was to be made.
        SchemaTooNew: A newer localllm wrote it.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self.notes: list[str] = []
        """Remarks for the user: a damaged file was set aside."""
        self._lock = threading.RLock()
        try:
            self._db = opening.connect(path, create=create)
            self._db.row_factory = sqlite3.Row
            if self._meta("open", 0) and not lease.held(self._db):
                if faults := opening.intact(self._db):
                    raise sqlite3.DatabaseError(f"malformed: {faults[0]}")
                self.mark_open(False)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise opening.translate(error, path) from error
            self._rebuild()

    @property
    def name(self) -> str:
        """The library's name: the file's, without its suffix."""
        return self.path.stem

    def close(self) -> None:
        """Close the file; safe to call twice."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- reading and writing ----------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, begun at once so that it can't fail half way for want of the write lock.

        Raises:
            LibraryFull: The disk is full; nothing of the transaction stays.
            LibraryBusy: Another process held the file too long.
        """
        with self._lock:
            if self._db.in_transaction:
                yield self._db
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                self._db.rollback()  # does nothing where SQLite has rolled back by itself
                if isinstance(error, sqlite3.Error):
                    raise opening.translate(error, self.path) from error
                raise

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Rows of a SELECT."""
        with self._lock:
            try:
                return self._db.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise opening.translate(error, self.path) from error

    @property
    def version(self) -> tuple[int, int]:
        """Changes whenever chunks or vectors did, by this process or another: validates caches over the file."""
        return int(self._meta("generation", 0)), int(self.query("PRAGMA data_version")[0][0])

    @property
    def generation(self) -> int:
        """Counts the transactions that changed chunks or vectors."""
        return int(self._meta("generation", 0))

    @property
    def uuid(self) -> str:
        """Names this file, also after it was copied."""
        return str(self._meta("uuid", ""))

    def get(self, key: str, default: Any = None) -> Any:
        """A small value kept with the library, as JSON."""
        raw = self._meta("x." + key, None)
        return default if raw is None else json.loads(raw)

    def put(self, key: str, value: Any) -> None:
        """Keep a small value with the library."""
        with self.writing() as db:
            db.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                ("x." + key, json.dumps(value)),
            )

    # ---- roots ------------------------------------------------------------------------------------------------------

    def roots(self) -> list[Root]:
        """Folders and files that the library follows."""
        return [_root(row) for row in self.query("SELECT * FROM roots ORDER BY path")]

    def add_root(
        self, path: Path, kind: Literal["folder", "file"], include: Sequence[str] = (), exclude: Sequence[str] = ()
    ) -> Root:
        """Follow a folder or file; one that is followed already gets the new patterns."""
        with self.writing() as db:
            db.execute(
                "INSERT INTO roots (path, kind, include, exclude, added_at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (path) DO UPDATE SET include = excluded.include, exclude = excluded.exclude",
                (str(path), kind, json.dumps(list(include)), json.dumps(list(exclude)), time.time()),
            )
            row = db.execute("SELECT * FROM roots WHERE path = ?", (str(path),)).fetchone()
        return _root(row)

    def remove_root(self, root_id: int) -> int:
        """Follow a root no more and drop its documents; returns how many."""
        with self.writing() as db:
            ids = [row[0] for row in db.execute("SELECT id FROM documents WHERE root_id = ?", (root_id,))]
            self.delete_documents(ids)
            db.execute("DELETE FROM roots WHERE id = ?", (root_id,))
        return len(ids)

    def root_synced(self, root_id: int, *, offline: bool) -> None:
        """Note the result of a scan."""
        with self.writing() as db:
            if offline:
                db.execute("UPDATE roots SET offline = 1 WHERE id = ?", (root_id,))
            else:
                db.execute("UPDATE roots SET offline = 0, synced_at = ? WHERE id = ?", (time.time(), root_id))

    # ---- documents --------------------------------------------------------------------------------------------------

    def documents(self, *, root_id: int | None = None, status: Status | None = None) -> list[Document]:
        """Documents by path, with the number of their chunks."""
        where: list[str] = ["1"]
        values: list[int | str] = []
        if root_id is not None:
            where, values = [*where, "d.root_id = ?"], [*values, root_id]
        if status is not None:
            where, values = [*where, "d.status = ?"], [*values, status]
        sql = f"{_DOCUMENT} WHERE {' AND '.join(where)} ORDER BY r.path, d.relpath"
        return [_document(row) for row in self.query(sql, values)]

    def document(self, document_id: int) -> Document | None:
        """One document, or None."""
        rows = self.query(f"{_DOCUMENT} WHERE d.id = ?", (document_id,))
        return _document(rows[0]) if rows else None

    def documents_by_id(self, ids: Iterable[int]) -> dict[int, Document]:
        """Several documents by their ids."""
        rows = self._in(f"{_DOCUMENT} WHERE d.id IN ", ids)
        return {row["id"]: _document(row) for row in rows}

    def text(self, content: bytes) -> TextMap:
        """The text of a document by its `Document.content`, with the way back to lines and pages.

        Raises:
            KeyError: There is no such text.
        """
        rows = self.query("SELECT body, layout FROM texts WHERE sha256 = ?", (content,))
        if not rows:
            raise KeyError(content.hex())
        return TextMap(zlib.decompress(rows[0]["body"]).decode(), Layout.unpack(rows[0]["layout"]))

    def store(
        self, root_id: int, relpath: str, facts: FileFacts, extract: Extract, chunks: Sequence[NewChunk], chunker: str,
        check: Callable[[], None] = _nothing,
    ) -> int:  # fmt: skip
        """Write one document whole: text, chunks and keyword entries, in one transaction.

        Args:
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
        name = Path(relpath).name
        with self.writing() as db:
            db.execute(
                "INSERT INTO texts VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (content, zlib.compress(body, 6), extract.layout.pack(), extract.title, len(extract.text)),
            )
            old = self._content_at(root_id, relpath)
            document_id = self._upsert(
                root_id,
                relpath,
                facts,
                "partial" if extract.partial else "ok",
                extract.partial,
                extract,
                content,
                chunker,
            )
            db.execute("DELETE FROM chunks WHERE document_id = ?", (document_id,))
            title = " ".join(dict.fromkeys((extract.title, name)))
            self._insert_chunks(document_id, mapped, title, chunks, check)
            self._release([old])
            self._changed()
        return document_id

    def rechunk(self, changes: Iterable[tuple[int, Sequence[NewChunk]]], chunker: str, activate: int | None) -> None:
        """Replace the chunks of documents whose text stays, all in one transaction.

        Args:
            changes: Ids of documents and their new chunks.
            chunker: Name and settings of the chunker.
            activate: The embedder whose vectors are searched from then on; None leaves it.
        """
        with self.writing() as db:
            for document_id, chunks in changes:
                row = db.execute(
                    "SELECT content, title, relpath FROM documents WHERE id = ?", (document_id,)
                ).fetchone()
                if row is None or row["content"] is None:
                    continue
                db.execute("DELETE FROM chunks WHERE document_id = ?", (document_id,))
                title = " ".join(dict.fromkeys((row["title"], Path(row["relpath"]).name)))
                self._insert_chunks(document_id, self.text(row["content"]), title, chunks)
                db.execute("UPDATE documents SET chunker = ? WHERE id = ?", (chunker, document_id))
            if activate is not None:
                self._set_meta("active_model", activate)
            self._changed()

    def file_rows(self, root_id: int) -> dict[str, FileRow]:
        """What was known of each file of a root, by its path inside it."""
        rows = self.query(
            "SELECT relpath, id, size, mtime_ns, inode, sha256, status, reader, chunker, format, reason "
            "FROM documents WHERE root_id = ?",
            (root_id,),
        )
        return {row[0]: FileRow(*row) for row in rows}

    def same_bytes(self, sha256: bytes) -> list[tuple[int, int, str, str, str]]:
        """(id, root, relpath, reader, chunker) of the documents that were read from exactly these bytes."""
        return [
            tuple(row)
            for row in self.query(
                "SELECT id, root_id, relpath, reader, chunker FROM documents WHERE sha256 = ? AND content IS NOT NULL",
                (sha256,),
            )
        ]

    def store_same(self, root_id: int, relpath: str, facts: FileFacts, like: int) -> int:
        """Store a file whose bytes are those of the document `like`: nothing is read, its chunks are copied."""
        with self.writing() as db:
            old = self._content_at(root_id, relpath)
            row = db.execute("SELECT * FROM documents WHERE id = ?", (like,)).fetchone()
            document_id = db.execute(
                _INSERT_DOCUMENT,
                (root_id, relpath, row["format"], facts.size, facts.mtime_ns, facts.inode, row["sha256"],
                 row["content"], row["title"], row["n_chars"], row["n_pages"], row["encoding"], row["reader"],
                 row["chunker"], row["status"], row["reason"], time.time()),
            ).fetchone()[0]  # fmt: skip
            db.execute("DELETE FROM chunks WHERE document_id = ?", (document_id,))
            name = Path(relpath).name
            title = " ".join(dict.fromkeys((row["title"], name)))
            rows = db.execute("SELECT * FROM chunks WHERE document_id = ? ORDER BY ord", (like,)).fetchall()
            db.executemany(
                _INSERT_CHUNK,
                [
                    (document_id, c["ord"], c["start"], c["end"], c["line"], c["line_end"], c["page"], c["page_end"],
                     c["heading"], c["n_tokens"], c["sha256"], _fts_title(title, c["heading"]), c["fts_text"])
                    for c in rows
                ],
            )  # fmt: skip
            self._release([old])
            self._changed()
        return int(document_id)

    def store_without_text(
        self,
        root_id: int,
        relpath: str,
        facts: FileFacts,
        status: Status,
        reason: str,
        format: str = "",
        reader: str = "",
    ) -> int:
        """Remember a file that has no text here, and why; chunks of an earlier version go."""
        with self.writing() as db:
            old = self._content_at(root_id, relpath)
            extract = Extract("", Layout(), format, reader=reader)
            document_id = self._upsert(root_id, relpath, facts, status, reason, extract, None, "")
            if db.execute("DELETE FROM chunks WHERE document_id = ?", (document_id,)).rowcount:
                self._changed()
            self._release([old])
        return document_id

    def touch(self, document_id: int, facts: FileFacts) -> None:
        """The file has other times but the same bytes."""
        with self.writing() as db:
            db.execute(
                "UPDATE documents SET size = ?, mtime_ns = ?, inode = ? WHERE id = ?",
                (facts.size, facts.mtime_ns, facts.inode, document_id),
            )

    def move(self, document_id: int, root_id: int, relpath: str, facts: FileFacts) -> None:
        """The file has another name or place: its chunks stay, only their titles are written again."""
        with self.writing() as db:
            there = db.execute(
                "SELECT id FROM documents WHERE root_id = ? AND relpath = ? AND id != ?",
                (root_id, relpath, document_id),
            ).fetchall()
            self.delete_documents([row[0] for row in there])
            db.execute(
                "UPDATE documents SET root_id = ?, relpath = ?, size = ?, mtime_ns = ?, inode = ? WHERE id = ?",
                (root_id, relpath, facts.size, facts.mtime_ns, facts.inode, document_id),
            )
            row = db.execute("SELECT title FROM documents WHERE id = ?", (document_id,)).fetchone()
            title = " ".join(dict.fromkeys((row["title"], Path(relpath).name)))
            for chunk in db.execute("SELECT id, heading FROM chunks WHERE document_id = ?", (document_id,)).fetchall():
                new = _fts_title(title, chunk["heading"])
                db.execute("UPDATE chunks SET fts_title = ? WHERE id = ?", (new, chunk["id"]))
            self._changed()

    def delete_documents(self, ids: Sequence[int]) -> None:
        """Drop documents with their chunks; vectors stay until `purge_vectors`: a file that comes back is free."""
        with self.writing() as db:
            for i in range(0, len(ids), _MANY):
                part = ids[i : i + _MANY]
                old = db.execute(
                    f"SELECT DISTINCT content FROM documents WHERE id IN ({_marks(part)})", part
                ).fetchall()
                db.execute(f"DELETE FROM chunks WHERE document_id IN ({_marks(part)})", part)
                db.execute(f"DELETE FROM documents WHERE id IN ({_marks(part)})", part)
                self._release([row[0] for row in old])
            if ids:
                self._changed()

    # ---- chunks -----------------------------------------------------------------------------------------------------

    def chunks(self, ids: Iterable[int]) -> dict[int, Chunk]:
        """Chunks by their ids."""
        return {row["id"]: _chunk(row) for row in self._in(f"{_CHUNK} WHERE id IN ", ids)}

    def chunks_of(self, document_id: int) -> list[Chunk]:
        """A document's chunks in order."""
        return [_chunk(row) for row in self.query(f"{_CHUNK} WHERE document_id = ? ORDER BY ord", (document_id,))]

    def count_chunks(self) -> int:
        """All chunks."""
        return int(self.query("SELECT count(*) FROM chunks")[0][0])

    # ---- vectors ----------------------------------------------------------------------------------------------------

    def model(self, fingerprint: str, *, name: str = "", dim: int = 0, max_tokens: int = 0) -> ModelRow:
        """The row of an embedder, made when it is new."""
        with self.writing() as db:
            db.execute(
                "INSERT INTO models (fingerprint, name, dim, max_tokens, first_seen) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (fingerprint) DO NOTHING",
                (fingerprint, name, dim, max_tokens, time.time()),
            )
            row = db.execute("SELECT * FROM models WHERE fingerprint = ?", (fingerprint,)).fetchone()
        return _model(row)

    def models(self) -> list[ModelRow]:
        """Every embedder that vectors here were made with."""
        return [_model(row) for row in self.query("SELECT * FROM models ORDER BY id")]

    @property
    def active_model(self) -> ModelRow | None:
        """The embedder whose vectors are searched; None while there are none."""
        active = self._meta("active_model", None)
        rows = self.query("SELECT * FROM models WHERE id = ?", (active,)) if active is not None else []
        return _model(rows[0]) if rows else None

    def activate(self, model_id: int) -> None:
        """Search this embedder's vectors from now on: the switch at the end of a re-embedding."""
        with self.writing() as db:
            self._set_meta("active_model", model_id)
            self._changed()
            db.execute("UPDATE models SET first_seen = first_seen WHERE id = ?", (model_id,))

    def missing_vectors(self, model_id: int, limit: int = 256) -> list[tuple[bytes, str]]:
        """Chunks that this embedder has not read yet.

        Returns:
            At most `limit` pairs of a chunk's hash and its embedded text, each hash once.
        """
        rows = self.query(
            'SELECT c.sha256, min(c.id) AS id, c.document_id, c.start, c."end", c.heading, d.content FROM chunks c '
            "JOIN documents d ON d.id = c.document_id "
            "LEFT JOIN embeddings e ON e.model_id = ? AND e.chunk_sha256 = c.sha256 "
            "WHERE e.chunk_sha256 IS NULL GROUP BY c.sha256 ORDER BY id LIMIT ?",
            (model_id, limit),
        )
        texts: dict[bytes, str] = {}
        found = []
        for row in rows:
            content = row["content"]
            if content not in texts:
                texts = {content: self.text(content).text}  # neighbours come from one document: keep one text
            found.append((row["sha256"], embedded_text(row["heading"], texts[content][row["start"] : row["end"]])))
        return found

    def count_missing_vectors(self, model_id: int) -> int:
        """Chunks, by content, that this embedder has not read yet."""
        return int(
            self.query(
                "SELECT count(DISTINCT c.sha256) FROM chunks c LEFT JOIN embeddings e "
                "ON e.model_id = ? AND e.chunk_sha256 = c.sha256 WHERE e.chunk_sha256 IS NULL",
                (model_id,),
            )[0][0]
        )

    def without_vector(self, model_id: int, chunks: Sequence[bytes]) -> list[bytes]:
        """Those of these chunk hashes that this embedder has not read yet, in order."""
        have: set[bytes] = set()
        for i in range(0, len(chunks), _MANY):
            part = chunks[i : i + _MANY]
            sql = f"SELECT chunk_sha256 FROM embeddings WHERE model_id = ? AND chunk_sha256 IN ({_marks(part)})"
            have |= {row[0] for row in self.query(sql, (model_id, *part))}
        return [chunk for chunk in chunks if chunk not in have]

    def put_vectors(self, model_id: int, vectors: Iterable[tuple[bytes, bytes]]) -> None:
        """Store vectors: pairs of a chunk's hash and float16 little-endian numbers."""
        with self.writing() as db:
            db.executemany(
                "INSERT INTO embeddings VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [(model_id, chunk, vector) for chunk, vector in vectors],
            )
            self._changed()

    def vectors(self, model_id: int) -> Iterator[tuple[int, int, bytes]]:
        """(chunk id, document id, float16 blob) of every chunk that has a vector, by chunk id."""
        with self._lock:
            cursor = self._db.execute(
                "SELECT c.id, c.document_id, e.vec FROM chunks c "
                "JOIN embeddings e ON e.model_id = ? AND e.chunk_sha256 = c.sha256 ORDER BY c.id",
                (model_id,),
            )
            while rows := cursor.fetchmany(4096):
                yield from ((row[0], row[1], row[2]) for row in rows)

    def purge_vectors(self, keep_model: int | None = None) -> int:
        """Drop vectors of chunks that are gone, and of other embedders than `keep_model` when it is given."""
        with self.writing() as db:
            n = db.execute("DELETE FROM embeddings WHERE chunk_sha256 NOT IN (SELECT sha256 FROM chunks)").rowcount
            if keep_model is not None:
                n += db.execute("DELETE FROM embeddings WHERE model_id != ?", (keep_model,)).rowcount
                db.execute("DELETE FROM models WHERE id != ?", (keep_model,))
            if n:
                self._changed()
        return n

    def purge_surplus(self) -> int:
        """Drop vectors in use whose chunks are gone, once they are more than those that are searched."""
        active = self.active_model
        if active is None:
            return 0
        stored = self.query("SELECT count(*) FROM embeddings WHERE model_id = ?", (active.id,))[0][0]
        searched = self.query("SELECT count(DISTINCT sha256) FROM chunks")[0][0]
        if stored <= 2 * searched + _MANY:
            return 0
        with self.writing() as db:
            n = db.execute(
                "DELETE FROM embeddings WHERE model_id = ? AND chunk_sha256 NOT IN (SELECT sha256 FROM chunks)",
                (active.id,),
            ).rowcount
        return int(n)

    # ---- health -----------------------------------------------------------------------------------------------------

    def verify(self) -> list[str]:
        """Check the file and what it says of itself; returns the faults, none when all is well."""
        with self._lock:
            faults = opening.intact(self._db)
        for document in self.documents():
            if document.status not in ("ok", "partial"):
                continue
            if document.content is None:
                faults.append(f"{document.source}: no text")
                continue
            mapped = self.text(document.content)
            for chunk in self.chunks_of(document.id):
                piece = mapped.text[chunk.start : chunk.end]
                if not piece or chunk_sha256(chunk.heading, piece) != chunk.sha256:
                    faults.append(f"{document.source}: chunk {chunk.ord} is not the text it claims")
        orphans = self.query(
            "SELECT count(*) FROM texts WHERE sha256 NOT IN (SELECT content FROM documents WHERE content IS NOT NULL)"
        )
        if orphans[0][0]:
            faults.append(f"{orphans[0][0]} texts belong to no document")
        return faults

    def mark_open(self, value: bool) -> None:
        """Set while documents are being written: a file that is found marked is checked when it is opened next."""
        with self.writing():
            self._set_meta("open", int(value))

    def tidy(self) -> None:
        """After a big job: merge the keyword index and shorten the journal, so that the file can be copied alone."""
        with self._lock:
            self._db.execute(f"INSERT INTO {schema.FTS_TABLE}({schema.FTS_TABLE}) VALUES ('optimize')")
            self._db.execute("PRAGMA busy_timeout = 500")  # a reader may hold the journal; the next sync shortens it
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.execute(f"PRAGMA busy_timeout = {int(opening.BUSY_SECONDS * 1000)}")

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _upsert(
        self, root_id: int, relpath: str, facts: FileFacts, status: Status, reason: str, extract: Extract,
        content: bytes | None, chunker: str,
    ) -> int:  # fmt: skip
        row = self._db.execute(
            _INSERT_DOCUMENT,
            (root_id, relpath, extract.format, facts.size, facts.mtime_ns, facts.inode, facts.sha256, content,
             extract.title, len(extract.text), extract.n_pages, extract.encoding, extract.reader, chunker, status,
             reason, time.time()),
        ).fetchone()  # fmt: skip
        return int(row[0])

    def _insert_chunks(
        self, document_id: int, mapped: TextMap, title: str, chunks: Sequence[NewChunk],
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

        self._db.executemany(_INSERT_CHUNK, rows())

    def _content_at(self, root_id: int, relpath: str) -> bytes | None:
        row = self._db.execute(
            "SELECT content FROM documents WHERE root_id = ? AND relpath = ?", (root_id, relpath)
        ).fetchone()
        return None if row is None else row[0]

    def _release(self, contents: Sequence[bytes | None]) -> None:
        """Drop those texts that no document has any more."""
        for content in contents:
            if content is not None:
                self._db.execute(
                    "DELETE FROM texts WHERE sha256 = ? AND NOT EXISTS (SELECT 1 FROM documents WHERE content = ?)",
                    (content, content),
                )

    def _changed(self) -> None:
        self._db.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")

    def _meta(self, key: str, default: Any) -> Any:
        with self._lock:
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else row[0]

    def _set_meta(self, key: str, value: Any) -> None:
        self._db.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
        )

    def _in(self, sql: str, ids: Iterable[int]) -> list[sqlite3.Row]:
        wanted, rows = list(dict.fromkeys(ids)), []
        for i in range(0, len(wanted), _MANY):
            part = wanted[i : i + _MANY]
            rows += self.query(f"{sql} ({_marks(part)})", part)
        return rows

    def _rebuild(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()
        aside, roots = opening.set_aside(self.path)
        self._db = opening.connect(self.path, create=True)
        self._db.row_factory = sqlite3.Row
        for path, kind, include, exclude in roots:
            self.add_root(Path(path), "file" if kind == "file" else "folder", json.loads(include), json.loads(exclude))
        self.notes.append(
            f"The library {self.name} was damaged; it was set aside as {aside.name} and is rebuilt by the next sync."
        )


def chunk_sha256(heading: str, text: str) -> bytes:
    """The key of a chunk's vector: the hash of what is embedded."""
    return sha256(embedded_text(heading, text).encode("utf-8", "surrogatepass")).digest()


def _fts_title(title: str, heading: str) -> str:
    """File name, title and headings for the keyword index, each once: repeated words would drown the text."""
    return fts_text(" ".join([title, *(part for part in heading.split(HEADING_SEPARATOR) if part not in title)]))


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _root(row: sqlite3.Row) -> Root:
    return Root(
        row["id"], Path(row["path"]), row["kind"], tuple(json.loads(row["include"])), tuple(json.loads(row["exclude"])),
        bool(row["offline"]), row["synced_at"],
    )  # fmt: skip


def _document(row: sqlite3.Row) -> Document:
    root = Path(row["root"])
    return Document(
        id=row["id"], root_id=row["root_id"], path=root if row["kind"] == "file" else root / row["relpath"],
        relpath=row["relpath"], format=row["format"], size=row["size"], mtime=row["mtime_ns"] / 1e9, title=row["title"],
        n_chars=row["n_chars"], n_pages=row["n_pages"], encoding=row["encoding"], status=row["status"],
        reason=row["reason"], content=row["content"], n_chunks=row["n_chunks"],
    )  # fmt: skip


def _chunk(row: sqlite3.Row) -> Chunk:
    return Chunk(*tuple(row))


def _model(row: sqlite3.Row) -> ModelRow:
    return ModelRow(row["id"], row["fingerprint"], row["name"], row["dim"], row["max_tokens"])
