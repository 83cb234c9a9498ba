"""Sync: folders kept in step with a library.

A file is looked at by size, time and inode; only when one of them changed are its bytes hashed, and only bytes that
are new here are read and cut. Each document is one transaction and each batch of vectors another, so a sync can be
killed or cancelled at any moment and the next one goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from localllm.errors import LibraryFull
from localllm.rag import lease
from localllm.rag.chunks import MAX_CHUNKS, Chunker
from localllm.rag.embedding import embed_missing
from localllm.rag.file_facts import facts_of, hashed, kept
from localllm.rag.folders import Found, file_found, walk
from localllm.rag.index import Library
from localllm.rag.progress import Cancelled, Progress, RootOffline, Skipped, Summary, SyncEvent
from localllm.rag.reader_process import ReaderProcess
from localllm.rag.readers import reader_name
from localllm.rag.readers.limits import LIMITS, Unreadable
from localllm.rag.rows import FileFacts, FileRow, Root, TextMap

if TYPE_CHECKING:
    from localllm.engine.protocol import Cancel, Embedder

_READ = ("ok", "partial")
_LOOK_FILES, _DROP_FILES = 500, 100
"""Files between two looks at a cancel, while folders are walked and while documents are dropped."""


def sync(
    library: Library,
    embedder: Embedder | None = None,
    *,
    cancel: Cancel | None = None,
    roots: Sequence[Root] | None = None,
    deep: bool = False,
    reader: ReaderProcess | None = None,
) -> Iterator[SyncEvent]:
    """Bring the library in step with its folders; the last event is a `Summary`.

    Args:
        library: Written to, under its lease.
        embedder: Makes vectors and measures chunks; None keeps a library of keywords.
        cancel: Looked at all the time: inside files, between chunks and between batches of vectors.
        roots: Only these; all of the library's otherwise.
        deep: Hash every file, also where size and time are as before.
        reader: Reads the files; one is started otherwise.

    Raises:
        LibraryBusy: Another process is indexing this library.
        LibraryFull: The disk is full; what was written before stays.
    """
    started, summary = time.monotonic(), Summary()
    own_reader = reader or ReaderProcess()
    try:
        with lease.hold(library) as held, library.large_cache():
            run = _Run(library, embedder, cancel, deep, own_reader, held, summary)
            try:
                for root in library.roots() if roots is None else roots:
                    yield from run.root(root)
                yield from run.cut_again()
                if embedder is not None:
                    yield from embed_missing(library, embedder, run.check, cancel, summary)
                run.tidy()
            except Cancelled:
                summary.cancelled = True
            except LibraryFull as error:
                raise run.with_need(error) from error
            run.finish()
            if embedder is None:
                summary.not_embedded = library.count_chunks()
    finally:
        if reader is None:
            own_reader.close()
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
        self.marked = False
        self.bytes_left = 0
        """Of the files that are being read."""
        active = library.active_model
        self.in_use = active is None or embedder is None or active.fingerprint == embedder.fingerprint
        """The embedder is that of the library, or may become it."""

    def check(self) -> None:
        """Keep the lease; raises `Cancelled` when the user asked to stop."""
        self.held.beat()
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled

    def root(self, root: Root) -> Iterator[SyncEvent]:
        """Scan one root, read what is new, drop what is gone."""
        known = self.library.file_rows(root.id)
        found = self._found(root)
        if found is None or (root.kind == "folder" and not found and any(r.status in _READ for r in known.values())):
            if not root.offline:
                self.library.root_synced(root.id, offline=True)
            self.summary.offline.append(str(root.path))
            yield RootOffline(str(root.path))
            return
        yield Progress("scan", len(found), len(found), path=str(root.path))
        folder = root.path if root.kind == "folder" else root.path.parent
        todo: list[Found] = []
        gone = dict(known)
        closed: list[str] = []
        for item in found:
            before = gone.pop(item.relpath, None)
            if item.state == "closed":
                closed.append(item.relpath)
            if before is not None and self._same(item, before):
                self.summary.unchanged += before.status in _READ
            elif item.state == "file":
                todo.append(item)
            elif item.state == "closed":
                yield self._skip(root, folder, item, item.facts, item.reason, error=True)
            else:
                yield from self._left_out(root, folder, item)
        if closed:  # what was known of their files stays
            gone = {r: row for r, row in gone.items() if not r.startswith(tuple(closed))}
        gone = self._drop_unlike(gone, {item.size for item in todo})
        yield from self._read_all(root, folder, todo, known, gone)
        self._drop(gone)
        if todo or gone or root.offline or root.synced_at is None:
            self.library.root_synced(root.id, offline=False)

    def cut_again(self) -> Iterator[SyncEvent]:
        """Cut documents by the embedder's own tokens that were cut without it, from their kept text."""
        if self.chunker.embedder is None or not self.in_use:
            return
        rows = self.library.query(
            "SELECT id, content FROM documents WHERE content IS NOT NULL AND chunker != ?", (self.chunker.name,)
        )
        for number, row in enumerate(rows):
            self.check()
            self._mark()
            chunks = self.chunker.cut(self.library.text(row["content"]), self.check)
            self.library.rechunk([(row["id"], chunks)], self.chunker.name, None, self.check)
            self.summary.cut += 1
            self.summary.chunks += len(chunks)
            yield Progress("cut", number + 1, len(rows), chunks=self.summary.chunks)

    def tidy(self) -> None:
        """Tidy up after a sync that wrote; one that found nothing new leaves the file alone."""
        if self.summary.removed or self.summary.changed or self.summary.cut:
            with self.library.stoppable(self.cancel):
                self.library.purge_surplus()
        written = self.summary.chunks + self.summary.removed  # and at least one chunk of each that was removed
        if written and written > self.library.count_chunks() // 10:  # a few changes are merged as they come
            self.library.tidy(self.check)

    def with_need(self, error: LibraryFull) -> LibraryFull:
        """A full disk, with what the files that are left would take: as much for each byte as those before."""
        stored = self.library.query("SELECT total(size) FROM documents WHERE content IS NOT NULL")[0][0]
        pages, size = (self.library.query(f"PRAGMA {name}")[0][0] for name in ("page_count", "page_size"))
        need = self.bytes_left * (pages * size / stored if stored else 2.0)
        if not need:
            return error
        hint = (
            f"About {max(1, need / 1e6):,.0f} MB are needed; what was indexed before stays, and the next sync goes on."
        )
        return LibraryFull(error.message, hint)

    def finish(self) -> None:
        """Leave the file whole, also after a cancel."""
        if self.marked:
            self.library.mark_open(False)
        if (self.marked or self.summary.embedded) and not self.summary.cancelled:
            self.library.shorten_journal()

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _mark(self) -> None:
        if not self.marked:
            self.library.mark_open(True)
            self.marked = True

    def _found(self, root: Root) -> list[Found] | None:
        """The files of a root; None when it is not there."""
        try:
            if root.kind == "folder":
                found: list[Found] = []
                for item in walk(root.path, root.include, root.exclude):
                    found.append(item)
                    if len(found) % _LOOK_FILES == 0:
                        self.check()
                return found
            if not root.path.exists() and any(root.path.parent.iterdir()):
                return []  # its folder is there: the file was deleted
            return [file_found(root.path)]
        except OSError:
            return None

    def _same(self, item: Found, before: FileRow) -> bool:
        if item.state != "file":
            return before.status in (item.state, "error") and before.reason == item.reason
        return (
            before.size == item.size
            and before.mtime_ns == item.mtime_ns
            and before.inode == item.inode
            and before.reader == _reader_of(item)
            and before.status != "pending"
            and not self.deep
        )

    def _left_out(self, root: Root, folder: Path, item: Found) -> Iterator[SyncEvent]:
        self.check()
        self._mark()
        status: Literal["skipped", "ignored"] = "ignored" if item.state == "ignored" else "skipped"
        self.library.store_without_text(root.id, item.relpath, item.facts, status, item.reason)
        if status == "skipped":
            self.summary.skipped += 1
            yield Skipped(str(folder / item.relpath), item.reason, error=False)

    def _drop_unlike(self, gone: dict[str, FileRow], sizes: set[int]) -> dict[str, FileRow]:
        """Drop at once what can't have moved: no new file has its size."""
        self._drop({relpath: row for relpath, row in gone.items() if row.size not in sizes})
        return {relpath: row for relpath, row in gone.items() if row.size in sizes}

    def _drop(self, gone: Mapping[str, FileRow]) -> None:
        rows = list(gone.values())
        for i in range(0, len(rows), _DROP_FILES):
            self.check()
            self._mark()
            part = rows[i : i + _DROP_FILES]
            with self.library.stoppable(self.cancel):
                self.library.delete_documents([row.id for row in part])
            self.summary.removed += sum(row.status in _READ for row in part)

    def _read_all(
        self, root: Root, folder: Path, todo: list[Found], known: dict[str, FileRow], gone: dict[str, FileRow]
    ) -> Iterator[SyncEvent]:
        moved = {(row.size, row.mtime_ns, row.inode): r for r, row in gone.items() if row.status in _READ}
        total, done_bytes, began = sum(item.size for item in todo), 0, time.monotonic()
        before_chunks, reading, self.bytes_left = self.summary.chunks, _reading_order(todo), total
        for number, item in enumerate(reading):
            self.check()
            self._mark()
            seconds = time.monotonic() - began
            yield Progress(
                "read", number, len(todo), done_bytes, total, self.summary.chunks,
                (self.summary.chunks - before_chunks) / seconds if seconds else 0.0,
                seconds * (total - done_bytes) / done_bytes if done_bytes else None, str(folder / item.relpath),
            )  # fmt: skip
            old = moved.pop((item.size, item.mtime_ns, item.inode), None)
            row = gone.get(old) if old is not None else None
            if row is not None and old is not None and row.reader == _reader_of(item) and item.relpath not in known:
                with self.library.stoppable(self.cancel):
                    self.library.move(row.id, root.id, item.relpath, item.facts)
                del gone[old]
                self.summary.moved += 1
            elif (skipped := self._file(root, folder, item, known.get(item.relpath), gone)) is not None:
                yield skipped
            done_bytes += item.size
            self.bytes_left = total - done_bytes
        if todo:
            seconds = max(time.monotonic() - began, 1e-6)
            rate = (self.summary.chunks - before_chunks) / seconds
            yield Progress("read", len(todo), len(todo), total, total, self.summary.chunks, rate, 0.0)

    def _file(
        self, root: Root, folder: Path, item: Found, before: FileRow | None, gone: dict[str, FileRow]
    ) -> Skipped | None:
        """Read one file, or find that its bytes are here already."""
        if item.format is None:
            suffix = Path(item.name).suffix
            return self._skip(root, folder, item, item.facts, f"no reader for {suffix or 'such files'}", error=False)
        if item.size > LIMITS.file_bytes:
            reason = f"larger than {LIMITS.file_bytes / 1e6:,.0f} MB ({item.size / 1e6:,.0f} MB)"
            return self._skip(root, folder, item, item.facts, reason, error=False)
        if item.size == 0:
            return self._skip(root, folder, item, item.facts, "empty", error=False)
        path, follow = folder / item.relpath, root.kind == "file"
        facts: FileFacts | None = None
        for _ in range(2):
            try:
                facts = hashed(path, follow, self.check)
                if facts is None:
                    continue
                if before is not None and before.sha256 == facts.sha256 and before.reader == _reader_of(item):
                    self.library.touch(before.id, kept(item, facts))
                    self.summary.unchanged += before.status in _READ
                    return None
                if self._is_here(root, item, facts, gone):
                    return None
                extract = self.reader.read(path, item.format, self.check)
                if facts_of(path.stat(follow_symlinks=follow)) != replace(facts, sha256=None):
                    continue  # it changed while it was read
            except OSError as error:
                return self._skip(root, folder, item, item.facts, f"can't be opened: {error.strerror or error}", True)
            except Unreadable as error:
                return self._skip(root, folder, item, kept(item, facts or item.facts), error.reason, not error.skipped)
            if not extract.text.strip():
                return self._skip(root, folder, item, kept(item, facts), "no text in it", error=False)
            chunks = self.chunker.cut(TextMap(extract.text, extract.layout), self.check)
            if not chunks:
                return self._skip(root, folder, item, kept(item, facts), "nothing but encoded data in it", error=False)
            partial = extract.partial
            if len(chunks) >= MAX_CHUNKS:
                partial = f"only its first {MAX_CHUNKS:,} chunks are searched"
            extract = replace(extract, reader=_reader_of(item), partial=partial)
            self.library.store(root.id, item.relpath, kept(item, facts), extract, chunks, self.chunker.name, self.check)
            self.summary.chunks += len(chunks)
            self._count(before)
            return None
        reason = "it changes while it is read; the next sync tries again"
        self.library.store_without_text(root.id, item.relpath, item.facts, "pending", reason, item.format)
        self.summary.errors += 1
        return Skipped(str(path), reason, error=True)

    def _is_here(self, root: Root, item: Found, facts: FileFacts, gone: dict[str, FileRow]) -> bool:
        """The bytes were read before, under another name: a move where that is gone, a copy otherwise."""
        assert facts.sha256 is not None
        wanted = _reader_of(item)
        for document_id, root_id, relpath, reader, _ in self.library.same_bytes(facts.sha256):
            if reader != wanted or (root_id, relpath) == (root.id, item.relpath):
                continue
            with self.library.stoppable(self.cancel):
                if root_id == root.id and relpath in gone:
                    self.library.move(document_id, root.id, item.relpath, kept(item, facts))
                    del gone[relpath]
                    self.summary.moved += 1
                else:
                    self.library.store_same(root.id, item.relpath, kept(item, facts), document_id)
                    self.summary.added += 1
            return True
        return False

    def _count(self, before: FileRow | None) -> None:
        if before is None:
            self.summary.added += 1
        else:
            self.summary.changed += 1

    def _skip(self, root: Root, folder: Path, item: Found, facts: FileFacts, reason: str, error: bool) -> Skipped:
        self.check()
        self._mark()
        self.library.store_without_text(
            root.id, item.relpath, facts, "error" if error else "skipped", reason, item.format or "", _reader_of(item)
        )
        if error:
            self.summary.errors += 1
        else:
            self.summary.skipped += 1
        return Skipped(str(folder / item.relpath), reason, error)


def _reading_order(todo: list[Found]) -> list[Found]:
    """By folder and name, so that progress is easy to follow."""
    return sorted(todo, key=lambda item: item.relpath)


def _reader_of(item: Found) -> str:
    """Reader and version that a file would be read with; a version that can read more reads it again."""
    if item.state != "file":
        return ""
    format = item.format
    return reader_name(format) if format else "none"
