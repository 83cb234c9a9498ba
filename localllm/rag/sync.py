"""Sync: folders kept in step with a library.

A file is looked at by size, time and inode; only when one of them changed are its bytes hashed, and only bytes that
are new here are read and cut. Each document is one transaction and each batch of vectors another, so a sync can be
killed or cancelled at any moment and the next one goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from localllm.rag import lease
from localllm.rag.chunks import MAX_CHUNKS, Chunker
from localllm.rag.folders import Found, facts_of, walk
from localllm.rag.index import FileFacts, Library
from localllm.rag.reader_process import ReaderProcess
from localllm.rag.readers import format_of, reader_name
from localllm.rag.readers.limits import Unreadable
from localllm.rag.rows import Root, TextMap

if TYPE_CHECKING:
    from localllm.engine.protocol import Cancel, Embedder

EMBED_BATCH = 16
"""Chunks per transaction of vectors: a fraction of a second, so that cancelling is quick."""
_RACY_NS = 2_000_000_000
"""A file changed within this time of the scan may change again with the same time: it is hashed once more next time."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sync is."""

    stage: Literal["scan", "read", "embed"]
    done: int
    total: int
    """Files found so far, files to read, or chunks to embed."""
    bytes_done: int = 0
    bytes_total: int = 0
    chunks: int = 0
    """Chunks written in this sync."""
    seconds_left: float | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that has no text here, and why."""

    path: str
    reason: str
    error: bool
    """The file is at fault, or its reader."""


@dataclass(frozen=True, slots=True)
class RootOffline:
    """A folder is missing, or empty when it was not before: its documents stay as they are."""

    path: str


@dataclass
class Summary:
    """What a sync did; the last event."""

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    errors: int = 0
    chunks: int = 0
    embedded: int = 0
    not_embedded: int = 0
    """Chunks without a vector at the end: no embedder, or cancelled."""
    cancelled: bool = False
    offline: list[str] = field(default_factory=list)
    seconds: float = 0.0


SyncEvent = Progress | Skipped | RootOffline | Summary


@dataclass(slots=True)
class _Known:
    """What the library knows of a file."""

    id: int
    facts: FileFacts
    status: str
    reader: str
    chunker: str
    reason: str


def sync(
    library: Library,
    embedder: Embedder | None = None,
    *,
    cancel: Cancel | None = None,
    roots: list[Root] | None = None,
    deep: bool = False,
    reader: ReaderProcess | None = None,
) -> Iterator[SyncEvent]:
    """Bring the library in step with its folders; the last event is a `Summary`.

    Args:
        library: Written to, under its lease.
        embedder: Makes vectors and measures chunks; None keeps a library of keywords.
        cancel: Looked at between files and between batches of vectors.
        roots: Only these; all of the library's otherwise.
        deep: Hash every file, also where size and time are as before.
        reader: Reads the files; one is started otherwise.

    Raises:
        LibraryBusy: Another process is indexing this library.
        LibraryFull: The disk is full; what was written before stays.
    """
    started = time.monotonic()
    summary = Summary()
    own_reader = reader or ReaderProcess()
    try:
        with lease.hold(library) as held:
            library.mark_open(True)
            run = _Run(library, embedder, cancel, deep, own_reader, held, summary)
            for root in library.roots() if roots is None else roots:
                yield from run.root(root)
                if run.cancelled():
                    break
            if embedder is not None:
                yield from run.embed(embedder)
            else:
                summary.not_embedded = library.count_chunks()
            library.mark_open(False)
            if summary.chunks or summary.removed:
                library.tidy()
    finally:
        if reader is None:
            own_reader.close()
    summary.cancelled = run.cancelled()
    summary.seconds = time.monotonic() - started
    yield summary


class _Run:
    """One sync."""

    def __init__(
        self,
        library: Library,
        embedder: Embedder | None,
        cancel: Cancel | None,
        deep: bool,
        reader: ReaderProcess,
        held: lease.Lease,
        summary: Summary,
    ) -> None:
        self.library, self.cancel, self.deep, self.reader = library, cancel, deep, reader
        self.held, self.summary = held, summary
        self.chunker = Chunker(embedder)

    def cancelled(self) -> bool:
        """The user asked to stop."""
        return self.cancel is not None and self.cancel.is_set()

    def root(self, root: Root) -> Iterator[SyncEvent]:
        """Scan one root, read what is new, drop what is gone."""
        known = self._known(root.id)
        found = self._found(root)
        if found is None or (not found and known):
            self.library.root_synced(root.id, offline=True)
            self.summary.offline.append(str(root.path))
            yield RootOffline(str(root.path))
            return
        yield Progress("scan", len(found), len(found), path=str(root.path))
        todo: list[Found] = []
        now = time.time_ns()
        for item in found:
            before = known.get(item.relpath)
            if before is not None and self._same(item, before):
                self.summary.unchanged += 1
            elif item.state != "read":
                self.library.store_without_text(root.id, item.relpath, item.facts, item.state, item.reason)
                if item.state == "skipped":
                    self.summary.skipped += 1
                    yield Skipped(str(item.path), item.reason, error=False)
            else:
                todo.append(item)
        gone = {relpath: before for relpath, before in known.items() if relpath not in {f.relpath for f in found}}
        by_hash: dict[bytes | None, str] = {
            before.facts.sha256: relpath for relpath, before in gone.items() if before.facts.sha256
        }
        total = sum(item.facts.size for item in todo)
        done_bytes, began = 0, time.monotonic()
        for number, item in enumerate(todo):
            if self.cancelled():
                return
            self.held.beat()
            left = None
            if done_bytes:
                left = (time.monotonic() - began) * (total - done_bytes) / done_bytes
            yield Progress("read", number, len(todo), done_bytes, total, self.summary.chunks, left, str(item.path))
            skipped = self._file(root, item, known.get(item.relpath), gone, by_hash, now)
            if skipped is not None:
                yield skipped
            done_bytes += item.facts.size
        if todo:
            yield Progress("read", len(todo), len(todo), total, total, self.summary.chunks, 0.0)
        self.library.delete_documents([before.id for before in gone.values()])
        self.summary.removed += sum(1 for before in gone.values() if before.status in ("ok", "partial"))
        self.library.root_synced(root.id, offline=False)

    def embed(self, embedder: Embedder) -> Iterator[SyncEvent]:
        """Make the vectors that are missing."""
        import numpy as np

        model = self.library.model(embedder.fingerprint, dim=embedder.dim, max_tokens=embedder.max_tokens)
        active = self.library.active_model
        if active is None:
            self.library.activate(model.id)
        elif active.id != model.id:
            # Other vectors are in use: `reembed` makes the new ones beside them and switches.
            self.summary.not_embedded = self.library.count_missing_vectors(active.id)
            return
        total, done, began = self.library.count_missing_vectors(model.id), 0, time.monotonic()
        while not self.cancelled() and (batch := self.library.missing_vectors(model.id, EMBED_BATCH * 8)):
            for i in range(0, len(batch), EMBED_BATCH):
                if self.cancelled():
                    break
                self.held.beat()
                part = batch[i : i + EMBED_BATCH]
                rows = embedder.embed([text for _, text in part]).astype(np.float16)
                pairs = [(key, row.tobytes()) for (key, _), row in zip(part, rows, strict=True)]
                self.library.put_vectors(model.id, pairs)
                done += len(part)
                left = (time.monotonic() - began) * (total - done) / done
                yield Progress("embed", done, total, chunks=self.summary.chunks, seconds_left=left)
        self.summary.embedded = done
        self.summary.not_embedded = total - done

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _known(self, root_id: int) -> dict[str, _Known]:
        rows = self.library.query(
            "SELECT relpath, id, size, mtime_ns, inode, sha256, status, reader, chunker, reason FROM documents "
            "WHERE root_id = ?",
            (root_id,),
        )
        return {r[0]: _Known(r[1], FileFacts(r[2], r[3], r[4], r[5]), r[6], r[7], r[8], r[9]) for r in rows}

    def _found(self, root: Root) -> list[Found] | None:
        """The files of a root; None when it is not there."""
        try:
            if root.kind == "file":
                info = root.path.stat()
                format = format_of(root.path.name) or "text"
                return [Found(root.path.name, root.path.parent, facts_of(info), format)]
            if not root.path.is_dir():
                return None
        except OSError:
            return None
        return list(walk(root.path, root.include, root.exclude))

    def _same(self, item: Found, before: _Known) -> bool:
        a, b = item.facts, before.facts
        if item.state != "read":
            return before.status == item.state and before.reason == item.reason
        if self.deep or (a.size, a.mtime_ns, a.inode) != (b.size, b.mtime_ns, b.inode):
            return False
        if before.status in ("skipped", "error") and before.reader == reader_name(item.format):
            return True
        return before.status in ("ok", "partial") and self._as_now(item, before)

    def _as_now(self, item: Found, before: _Known) -> bool:
        """Read by this version of the reader, and cut as we would cut it; without an embedder any cut will do."""
        cut = self.chunker.embedder is None or before.chunker == self.chunker.name
        return cut and before.reader == reader_name(item.format)

    def _file(
        self,
        root: Root,
        item: Found,
        before: _Known | None,
        gone: dict[str, _Known],
        by_hash: dict[bytes | None, str],
        now: int,
    ) -> Skipped | None:
        """Read one file, or find that its bytes are here already."""
        try:
            facts = _hashed(item.path)
        except OSError as error:
            return self._skip(root, item, item.facts, f"can't be opened: {error.strerror or error}", error=True)
        if facts is None:
            self.library.store_without_text(
                root.id, item.relpath, FileFacts(0, 0, 0), "pending", "it was being written"
            )
            self.summary.errors += 1
            return Skipped(str(item.path), "it was being written; the next sync reads it", error=True)
        kept = facts if now - facts.mtime_ns > _RACY_NS else FileFacts(facts.size, 0, facts.inode, facts.sha256)
        readable = before is not None and before.status in ("ok", "partial") and self._as_now(item, before)
        if before is not None and readable and before.facts.sha256 == facts.sha256:
            self.library.touch(before.id, kept)
            self.summary.unchanged += 1
            return None
        old = by_hash.get(facts.sha256)
        if (
            old is not None
            and before is None
            and gone[old].status in ("ok", "partial")
            and self._as_now(item, gone[old])
        ):
            self.library.move(gone.pop(old).id, root.id, item.relpath, kept)
            del by_hash[facts.sha256]
            self.summary.moved += 1
            return None
        if (like := self._like(facts, item)) is not None:
            self.library.store_same(root.id, item.relpath, kept, like)
        else:
            try:
                extract = self.reader.read(item.path, item.format)
            except Unreadable as error:
                return self._skip(root, item, kept, error.reason, error=not error.skipped)
            if not extract.text.strip():
                return self._skip(root, item, kept, "no text in it", error=False)
            chunks = self.chunker.cut(TextMap(extract.text, extract.layout))
            partial = extract.partial
            if len(chunks) >= MAX_CHUNKS:
                partial = f"only its first {MAX_CHUNKS:,} chunks are searched"
            extract = replace(extract, reader=reader_name(item.format), partial=partial)
            self.library.store(root.id, item.relpath, kept, extract, chunks, self.chunker.name)
            self.summary.chunks += len(chunks)
        if before is None:
            self.summary.added += 1
        else:
            self.summary.changed += 1
        return None

    def _like(self, facts: FileFacts, item: Found) -> int | None:
        """A document here with the same bytes, read and cut as we would."""
        for row in self.library.query(
            "SELECT id, reader, chunker FROM documents WHERE sha256 = ? AND status IN ('ok', 'partial')",
            (facts.sha256,),
        ):
            if self._as_now(item, _Known(row["id"], facts, "ok", row["reader"], row["chunker"], "")):
                return int(row["id"])
        return None

    def _skip(self, root: Root, item: Found, facts: FileFacts, reason: str, *, error: bool) -> Skipped:
        status: Literal["skipped", "error"] = "error" if error else "skipped"
        self.library.store_without_text(
            root.id, item.relpath, facts, status, reason, item.format, reader_name(item.format)
        )
        if error:
            self.summary.errors += 1
        else:
            self.summary.skipped += 1
        return Skipped(str(item.path), reason, error)


def _hashed(path: Path) -> FileFacts | None:
    """Facts and hash of a file; None when it changed while it was read, twice."""
    for _ in range(2):
        before = path.stat()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        after = path.stat()
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            return FileFacts(after.st_size, after.st_mtime_ns, after.st_ino, digest)
    return None
