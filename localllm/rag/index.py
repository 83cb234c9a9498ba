"""Library: one SQLite file with the documents' text, their chunks, the keyword index and the vectors.

The file is the only truth; everything kept in memory can be made again from it. Each document is written in one
transaction, with its text, its chunks and its keyword entries, so that a process that is killed leaves nothing half
there. Vectors are keyed by the content of the chunk: a moved or copied file costs no embedding.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localllm.errors import LibraryDamaged
from localllm.rag import lease, meta, opening, schema, stored_documents, stored_roots, stored_vectors, verification
from localllm.rag.rows import (
    Chunk,
    Document,
    Extract,
    FileFacts,
    Layout,
    ModelRow,
    NewChunk,
    Status,
    TextMap,
)  # fmt: skip

if TYPE_CHECKING:
    from localllm.engine.protocol import Cancel

__all__ = ["Extract", "FileFacts", "Library", "NewChunk"]

_DOCUMENT = """
    SELECT d.id, d.root_id, r.path AS root, r.kind, d.relpath, d.format, d.size, d.mtime_ns, d.title, d.n_chars,
           d.n_pages, d.encoding, d.status, d.reason, d.content,
           (SELECT count(*) FROM chunks c WHERE c.document_id = d.id) AS n_chunks
    FROM documents d JOIN roots r ON r.id = d.root_id
"""
_CHUNK = (
    'SELECT id, document_id, ord, start, "end", line, line_end, page, page_end, heading, n_tokens, sha256 FROM chunks'
)
_MANY = 500
"""Ids per query; SQLite allows at least 999."""
_STEPS = 20_000
"""Of SQLite's machine, between two looks at a cancel: a millisecond or two."""
_MERGE_PAGES = 500
"""Of the keyword index, per step of a merge: some milliseconds."""


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
        self.read_only = False
        """The file can't be written to: it can be searched, and nothing else."""
        self._lock = threading.RLock()
        self._db: sqlite3.Connection
        try:
            self._open(create)
        except sqlite3.OperationalError as error:
            self._close_if_open()
            raise opening.translate(error, path) from error
        except sqlite3.DatabaseError:
            self._rebuild()
        except BaseException:
            self._close_if_open()
            raise

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
    def snapshot(self) -> Iterator[None]:
        """What is read in the body of a `with` is one state of the file, whatever another process writes meanwhile."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self.query("BEGIN")
            try:
                yield
            finally:
                self._db.rollback()

    @contextmanager
    def large_cache(self) -> Iterator[None]:
        """Four times the pages are held in the body of a `with`: for much writing. Given back at its end."""
        self.query(f"PRAGMA cache_size = -{4 * opening.CACHE_KIB}")
        try:
            yield
        finally:
            self.query(f"PRAGMA cache_size = -{opening.CACHE_KIB}")
            self.query("PRAGMA shrink_memory")

    @contextmanager
    def stoppable(self, cancel: Cancel | None) -> Iterator[None]:
        """Long statements in the body of a `with` end when `cancel` is set; those of other threads go on.

        Raises:
            Cancelled: It was set; a transaction that was open is undone.
        """
        ours = threading.get_ident()
        if cancel is None:
            yield
            return
        self._db.set_progress_handler(lambda: threading.get_ident() == ours and cancel.is_set(), _STEPS)
        try:
            yield
        finally:
            self._db.set_progress_handler(None, 0)

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
                    raise self._translated(error) from error
                raise

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Rows of a SELECT."""
        with self._lock:
            try:
                return self._db.execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                raise self._translated(error) from error

    def stream(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[sqlite3.Row]:
        """Rows of a SELECT too many to hold at once; nothing else uses the connection until the last one."""
        with self._lock:
            try:
                cursor = self._db.execute(sql, parameters)
                while rows := cursor.fetchmany(4096):
                    yield from rows
            except sqlite3.Error as error:
                raise self._translated(error) from error

    @property
    def version(self) -> tuple[int, int]:
        """Changes whenever chunks or vectors did, by this process or another: validates caches over the file."""
        return self.generation, int(self.query("PRAGMA data_version")[0][0])

    @property
    def generation(self) -> int:
        """Counts the transactions that changed chunks or vectors."""
        return int(self.value("generation", 0))

    @property
    def uuid(self) -> str:
        """Names this file, also after it was copied."""
        return str(self.value("uuid", ""))

    def value(self, key: str, default: Any = None) -> Any:
        """One of the values that the file keeps about itself."""
        rows = self.query("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else default

    def get(self, key: str, default: Any = None) -> Any:
        """A small value kept with the library, as JSON."""
        raw = self.value("x." + key, None)
        return default if raw is None else json.loads(raw)

    def put(self, key: str, value: Any) -> None:
        """Keep a small value with the library."""
        with self.writing() as db:
            meta.set_value(db, "x." + key, json.dumps(value))

    # ---- roots ------------------------------------------------------------------------------------------------------

    roots = stored_roots.roots
    add_root = stored_roots.add_root
    remove_root = stored_roots.remove_root
    root_synced = stored_roots.root_synced

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
        body = zlib.decompress(rows[0]["body"])
        return TextMap(body.decode("utf-8", "surrogatepass"), Layout.unpack(rows[0]["layout"]))

    # Written by functions of `stored_documents`, each whole.
    store = stored_documents.store
    store_same = stored_documents.store_same
    store_without_text = stored_documents.store_without_text
    rechunk = stored_documents.rechunk
    touch = stored_documents.touch
    read_again = stored_documents.read_again
    move = stored_documents.move
    delete_documents = stored_documents.delete_documents
    file_rows = stored_documents.file_rows
    same_bytes = stored_documents.same_bytes

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

    model = stored_vectors.model
    models = stored_vectors.models
    activate = stored_vectors.activate
    missing_vectors = stored_vectors.missing_vectors
    count_missing_vectors = stored_vectors.count_missing_vectors
    without_vector = stored_vectors.without_vector
    put_vectors = stored_vectors.put_vectors
    vectors = stored_vectors.vectors
    purge_vectors = stored_vectors.purge_vectors
    purge_surplus = stored_vectors.purge_surplus

    @property
    def active_model(self) -> ModelRow | None:
        """The embedder whose vectors are searched; None while there are none."""
        return stored_vectors.active_model(self)

    # ---- health -----------------------------------------------------------------------------------------------------

    verify = verification.verify

    def mark_open(self, value: bool) -> None:
        """Set while documents are being written: a file that is found marked is checked when it is opened next."""
        with self.writing() as db:
            meta.set_value(db, "open", int(value))

    def tidy(self, check: Callable[[], None] = lambda: None) -> None:
        """After a big job: merge the keyword index and shorten the journal, so that the file can be copied alone.

        Args:
            check: Called between two steps of the merge; what it raises leaves the rest for another time.
        """
        pages = -_MERGE_PAGES  # negative: begins a merge of everything, which the following steps go on with
        while True:
            check()
            with self.writing() as db:
                before = db.total_changes
                db.execute(f"INSERT INTO {schema.FTS_TABLE}({schema.FTS_TABLE}, rank) VALUES ('merge', ?)", (pages,))
                if db.total_changes - before < 2:  # as SQLite's manual says: nothing was left to merge
                    break
            pages = _MERGE_PAGES
        self.shorten_journal()

    def shorten_journal(self) -> None:
        """Move everything into the file itself, unless somebody reads: then the next one does it."""
        self.query("PRAGMA busy_timeout = 500")
        try:
            self.query("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self.query(f"PRAGMA busy_timeout = {int(opening.BUSY_SECONDS * 1000)}")

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _in(self, sql: str, ids: Iterable[int]) -> list[sqlite3.Row]:
        wanted, rows = list(dict.fromkeys(ids)), []
        for i in range(0, len(wanted), _MANY):
            part = wanted[i : i + _MANY]
            marks = ",".join("?" * len(part))
            rows += self.query(f"{sql} ({marks})", part)
        return rows

    def _open(self, create: bool) -> None:
        try:
            self._db = opening.connect(self.path, create=create)
            self.read_only = not opening.may_write(self.path)  # SQLite itself finds that out with the first write
        except sqlite3.OperationalError as error:
            found = opening.connect_read_only(self.path) if opening.unwritable(error) else None
            if found is None:
                raise
            self._db, self.read_only = found, True
        self._db.row_factory = sqlite3.Row
        if meta.value_of(self._db, "open", 0) and not self.read_only and not lease.held(self._db):
            if faults := opening.page_faults(self._db) or opening.row_faults(self._db):
                raise sqlite3.DatabaseError(f"malformed: {faults[0]}")
            self.mark_open(False)

    def _close_if_open(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()

    def _translated(self, error: sqlite3.Error) -> Exception:
        """SQLite's error as one of ours; a file that is damaged is checked when it is opened next."""
        if opening.damaged(error):
            with suppress(sqlite3.Error):
                meta.set_value(self._db, "open", 1)
        return opening.translate(error, self.path)

    def _rebuild(self) -> None:
        self._close_if_open()
        try:
            aside, roots = opening.set_aside(self.path)
        except OSError as error:
            raise LibraryDamaged(
                f"{self.path} is damaged, and can't be renamed: {error.strerror}.",
                "Check the permissions of its folder, or move it away yourself.",
            ) from error
        self._db = opening.connect(self.path, create=True)
        self._db.row_factory = sqlite3.Row
        for path, kind, include, exclude in roots:
            self.add_root(Path(path), "file" if kind == "file" else "folder", json.loads(include), json.loads(exclude))
        self.notes.append(
            f"The library {self.name} was damaged; it was set aside as {aside.name} and is rebuilt by the next sync."
        )


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
