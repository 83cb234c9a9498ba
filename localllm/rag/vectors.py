"""The vectors of a library, ready to search.

SQLite is the only truth: vectors are float16 blobs in the library file. Up to a memory budget they are held as one
float32 matrix, searched exactly while it is small and by a scan of signs with exact scores for the best candidates when
it is large; beyond the budget they are packed into a memory-mapped cache file (see `rag.packed`). Both are rebuilt when
the library's generation says so; chunks that were added since are held in a small exact tail, chunks that were removed
are masked.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from localllm.rag.packed import PackedVectors, SignScan, sign_columns, top, write_packed
from localllm.settings import private_folder

if TYPE_CHECKING:
    from localllm.rag.index import Library

MEMORY_BUDGET = 512 << 20
"""Bytes of float32 vectors that are held in memory; 350,000 vectors of 384 numbers."""
SCAN_FROM = 50_000
"""Vectors from which the sign scan and exact scores of its candidates are faster than a product with all of them."""
_BATCH = 4096
_MIN_TAIL = 4096
_COUNT = "SELECT count(*) FROM chunks c JOIN embeddings e ON e.model_id = ? AND e.chunk_sha256 = c.sha256"


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest vectors, best first."""

    ids: NDArray[np.int64]
    """Chunk ids."""
    cosines: NDArray[np.float32]


class InMemory(SignScan):
    """A float32 matrix; in a large one signs are scanned first."""

    def __init__(self, ids: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
        self.ids = ids
        self._rows = rows
        self._scanned = len(ids) >= SCAN_FROM
        super().__init__(sign_columns(rows) if self._scanned else np.empty((0, len(ids)), np.uint64))

    def nearest(
        self, query: NDArray[np.float32], k: int, rows: NDArray[np.intp] | None, alive: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """See `SignScan.nearest`; exact in a small matrix."""
        if self._scanned:
            return super().nearest(query, k, rows, alive)
        if rows is not None:
            if alive is not None:
                rows = rows[alive[rows]]
            scores = self.scores(query, rows)
            best = top(scores, k)
            return rows[best], scores[best]
        scores = self._rows @ query
        if alive is not None:
            scores[~alive] = -2.0
        best = top(scores, k)
        if alive is not None:
            best = best[alive[best]]
        return best, scores[best]

    def scores(self, query: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Cosines of these rows with the query."""
        result: NDArray[np.float32] = self._rows[rows] @ query
        return result


@dataclass
class _Segment:
    """Vectors in the order of their chunk ids, and which of the chunks still exist."""

    vectors: InMemory | PackedVectors
    dead: int = 0
    alive: NDArray[np.bool_] | None = None

    @property
    def ids(self) -> NDArray[np.int64]:
        return self.vectors.ids

    def positions(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Row of each id, -1 where it is not here."""
        if not len(self.ids):
            return np.full(len(ids), -1, np.intp)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        found = self.ids[at] == ids
        if self.alive is not None:
            found &= self.alive[at]
        return np.where(found, at, -1)

    def keep(self, existing: NDArray[np.int64]) -> None:
        """Mask every chunk that is not among `existing` (ascending)."""
        if not len(self.ids):
            return
        alive = np.zeros(len(self.ids), np.bool_)
        at = np.searchsorted(self.ids, existing)
        inside = at < len(self.ids)
        at, existing = at[inside], existing[inside]
        alive[at[self.ids[at] == existing]] = True
        self.dead = len(alive) - int(alive.sum())
        self.alive = alive if self.dead else None


class Vectors:
    """All vectors that one embedder made for one library.

    Args:
        connection: The library file, with ``chunks(id, sha256)`` and ``embeddings(model_id, chunk_sha256, vec)``.
        model_id: Row of the embedder in ``models``.
        dim: Numbers per vector.
        budget: Bytes of float32 vectors to hold in memory at most.
        cache_folder: Where vectors beyond the budget are packed; None keeps them in memory whatever they weigh.
    """

    def __init__(
        self,
        library: Library,
        model_id: int,
        dim: int,
        *,
        budget: int = MEMORY_BUDGET,
        cache_folder: Path | None = None,
    ) -> None:
        self.dim = dim
        self._model_id = model_id
        self._budget = budget
        self._cache_folder = cache_folder
        self._segments: list[_Segment] = []
        self._load(library)

    def __len__(self) -> int:
        return sum(len(s.ids) - s.dead for s in self._segments)

    @property
    def packed(self) -> bool:
        """True when the vectors are beyond the budget, in the cache file."""
        return isinstance(self._segments[0].vectors, PackedVectors)

    def nearest(self, query: NDArray[np.float32], k: int, ids: NDArray[np.int64] | None = None) -> Nearest:
        """The `k` nearest chunks.

        Args:
            query: Unit length, shape (dim,).
            k: How many at most.
            ids: Only these chunks; None means all.
        """
        found_ids, found = [], []
        for segment in self._segments:
            rows = None
            if ids is not None:
                rows = segment.positions(np.unique(ids))
                rows = rows[rows >= 0]
            at, cosines = segment.vectors.nearest(query, k, rows, segment.alive)
            found_ids.append(np.asarray(segment.ids[at]))
            found.append(cosines)
        all_ids, all_cosines = np.concatenate(found_ids), np.concatenate(found)
        best = top(all_cosines, k)
        return Nearest(all_ids[best], all_cosines[best])

    def cosines(self, query: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cosine of each of these chunks with the query; nan where a chunk has no vector."""
        out = np.full(len(ids), np.nan, np.float32)
        for segment in self._segments:
            at = segment.positions(ids)
            here = at >= 0
            out[here] = segment.vectors.scores(query, at[here])
        return out

    def refresh(self, library: Library) -> None:
        """Follow what was added and removed since the last load."""
        existing = _chunk_ids(library)
        for segment in self._segments:
            segment.keep(existing)
        unknown = existing
        for segment in self._segments:
            unknown = unknown[segment.positions(unknown) < 0]
        base, tail = self._segments[0], self._segments[1]
        limit = max(_MIN_TAIL, len(base.ids) // 10)
        if len(unknown) + len(tail.ids) > limit or base.dead > max(_MIN_TAIL, len(base.ids) // 4):
            self._load(library)
            return
        if len(unknown):
            new_ids, new_rows = self._fetch(library, unknown)
            assert isinstance(tail.vectors, InMemory)
            old = tail.positions(tail.ids)
            old = old[old >= 0]
            ids = np.concatenate([tail.ids[old], new_ids])
            rows = np.concatenate([tail.vectors._rows[old], new_rows])
            order = np.argsort(ids)
            self._segments[1] = _Segment(InMemory(ids[order], rows[order]))

    def _load(self, library: Library) -> None:
        with library.snapshot():
            n = int(library.query(_COUNT, (self._model_id,))[0][0])
            if n * self.dim * 4 > self._budget and self._cache_folder is not None:
                base: InMemory | PackedVectors = self._pack(library, n, self._cache_folder)
            else:
                ids, rows, at = np.empty(n, np.int64), np.empty((n, self.dim), np.float32), 0
                for some_ids, some in self._batches(library):
                    ids[at : at + len(some)], rows[at : at + len(some)] = some_ids, some
                    at += len(some)
                base = InMemory(ids, rows)
        self._segments = [_Segment(base), _Segment(_no_vectors(self.dim))]

    def _pack(self, library: Library, n: int, folder: Path) -> PackedVectors:
        """The packed file of this generation: the one that lies there, or a new one."""
        private_folder(folder)
        name = hashlib.sha256(f"{library.uuid}|{library.path}|{self._model_id}".encode()).hexdigest()[:16]
        path = folder / f"{name}-{library.generation}.vectors"
        with suppress(OSError, ValueError):
            there = PackedVectors(path)
            if len(there) == n and there.dim == self.dim:
                return there
        write_packed(path, n, self.dim, self._batches(library))
        for old in folder.glob(f"{name}-*.vectors"):
            if old != path:
                with suppress(OSError):  # Windows keeps files that another process has mapped
                    old.unlink()
        return PackedVectors(path)

    def _batches(self, library: Library) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        rows = library.vectors(self._model_id)
        while some := list(islice(rows, _BATCH)):
            yield self._unpack(some)

    def _fetch(self, library: Library, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        found = []
        for a in range(0, len(ids), 500):
            some = ids[a : a + 500].tolist()
            found += library.query(
                "SELECT c.id, e.vec FROM chunks c JOIN embeddings e ON e.model_id = ? AND e.chunk_sha256 = c.sha256"
                f" WHERE c.id IN ({','.join('?' * len(some))}) ORDER BY c.id",
                (self._model_id, *some),
            )
        new_ids, rows = self._unpack([(row[0], row[1]) for row in found])
        return new_ids, rows.astype(np.float32)

    def _unpack(self, rows: list[tuple[int, bytes]]) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        ids = np.array([i for i, _ in rows], np.int64)
        vectors = np.frombuffer(b"".join(blob for _, blob in rows), "<f2").reshape(len(rows), self.dim)
        return ids, vectors


@dataclass
class VectorCache:
    """The vectors of one library, loaded at the first search and kept in step with the file.

    The library's generation, which every write of chunks or vectors raises, says whether they still are.
    """

    budget: int = MEMORY_BUDGET
    cache_folder: Path | None = None
    """For vectors beyond the budget; None keeps them in memory whatever they weigh."""
    _vectors: Vectors | None = field(default=None, repr=False)
    _model_id: int = -1
    _version: tuple[int, int] = (-1, -1)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def get(self, library: Library, model_id: int, dim: int) -> Vectors:
        """The vectors as they are in the file now."""
        with self._lock:
            version = library.version
            if self._vectors is None or model_id != self._model_id:
                self._vectors = Vectors(library, model_id, dim, budget=self.budget, cache_folder=self.cache_folder)
            elif version[0] != self._version[0]:
                self._vectors.refresh(library)
            self._model_id, self._version = model_id, version
            return self._vectors


def _no_vectors(dim: int) -> InMemory:
    return InMemory(np.empty(0, np.int64), np.empty((0, dim), np.float32))


def _chunk_ids(library: Library) -> NDArray[np.int64]:
    ids = np.fromiter((row[0] for row in library.stream("SELECT id FROM chunks")), np.int64)
    ids.sort()
    return ids
