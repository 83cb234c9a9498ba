"""Packed vectors: one sign bit per number, scanned first; then the best candidates are scored exactly.

The file holds chunk ids, bit columns and float16 rows, and is memory-mapped: what a search needs stays in the system's
page cache and costs the process next to nothing. It is a cache: SQLite holds the same vectors, so that the file can be
deleted at any time.

The scan weighs each agreeing sign by the query's own magnitude, in four bits, as bit planes (the idea is RaBitQ's):
``sum over b of 2^b * popcount(agree & plane_b)``. Signs alone lose neighbours: never use them without rescoring.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAGIC = b"LLMVEC01"
_HEADER = 4096
_BLOCK = 1 << 14
"""Rows scanned together: a column of that many words stays in the processor's cache."""
_PLANES = 4
MIN_CANDIDATES = 1000
CANDIDATE_SHARE = 0.02
"""Share of the rows that is scored exactly; of 12,508 real passages the best 100 held 99 % of the ten nearest."""


class SignScan:
    """Vectors whose signs are scanned first. Subclasses hold the numbers themselves and score with them.

    Args:
        columns: Of `sign_columns`, shape (words, n).
    """

    def __init__(self, columns: NDArray[np.uint64]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return int(self._columns.shape[1])

    def scores(self, query: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Cosines of these rows with the query."""
        raise NotImplementedError

    def nearest(
        self, query: NDArray[np.float32], k: int, rows: NDArray[np.intp] | None, alive: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Row numbers and cosines of about the `k` nearest, best first.

        Args:
            query: Unit length, shape (dim,).
            k: How many.
            rows: Only these rows; None means all.
            alive: False for rows that must not be found; None means all may.
        """
        wanted = max(MIN_CANDIDATES, int(CANDIDATE_SHARE * len(self)), k)
        if rows is not None and len(rows) <= max(wanted, 4 * MIN_CANDIDATES):
            candidates = rows
        else:
            candidates = self.candidates(query, wanted, rows, alive)
        if alive is not None:
            candidates = candidates[alive[candidates]]
        scores = self.scores(query, candidates)
        best = top(scores, k)
        return candidates[best], scores[best]

    def candidates(
        self,
        query: NDArray[np.float32],
        wanted: int,
        rows: NDArray[np.intp] | None = None,
        alive: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.intp]:
        """At least `wanted` row numbers (or all there are) that the sign scan ranks first, ascending."""
        coarse = self._scan(query)
        if rows is not None:
            allowed = np.zeros(len(self), np.bool_)
            allowed[rows] = True
            if alive is not None:
                allowed &= alive
            coarse[~allowed] = 0
        elif alive is not None:
            coarse[~alive] = 0
        counts = np.bincount(coarse, minlength=2)
        counts[0] = 0
        behind = np.cumsum(counts[::-1])[::-1]  # rows with at least this score
        enough = np.flatnonzero(behind >= wanted)
        threshold = int(enough[-1]) if len(enough) else 1
        return np.flatnonzero(coarse >= max(1, threshold))

    def _scan(self, query: NDArray[np.float32]) -> NDArray[np.uint16]:
        """A coarse score of every row, at least 1."""
        words, n = self._columns.shape
        flip, planes = _query_planes(query, words)
        out = np.empty(n, np.uint16)
        agree = np.empty(_BLOCK, np.uint64)
        masked = np.empty(_BLOCK, np.uint64)
        count = np.empty(_BLOCK, np.uint8)
        weighed = np.empty(_BLOCK, np.uint16)
        for a in range(0, n, _BLOCK):
            size = min(_BLOCK, n - a)
            total = out[a : a + size]
            total.fill(1)
            for j in range(words):
                np.bitwise_xor(self._columns[j, a : a + size], flip[j], out=agree[:size])
                for b in range(_PLANES):
                    if not planes[b, j]:
                        continue
                    np.bitwise_and(agree[:size], planes[b, j], out=masked[:size])
                    np.bitwise_count(masked[:size], out=count[:size])
                    np.left_shift(count[:size], b, out=weighed[:size], dtype=np.uint16)
                    np.add(total, weighed[:size], out=total)
        return out


class PackedVectors(SignScan):
    """A packed file, memory-mapped.

    Args:
        path: A file written by `write_packed`.

    Raises:
        ValueError: It is not such a file, or is cut short.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            head = file.read(_HEADER)
        if head[:8] != MAGIC or len(head) < 24:
            raise ValueError("not a vector cache")
        n, dim = (int(x) for x in np.frombuffer(head[8:24], "<i8"))
        words = _words(dim)
        if n < 0 or dim < 1 or path.stat().st_size != _HEADER + n * (8 + words * 8 + dim * 2):
            raise ValueError("a vector cache that is cut short")
        self.path = path
        self.dim = dim
        at = _HEADER
        self.ids: NDArray[np.int64] = _map(path, np.dtype("<i8"), at, (n,))
        at += n * 8
        super().__init__(_map(path, np.dtype("<u8"), at, (words, n)))
        at += n * words * 8
        self._rows: NDArray[np.float16] = _map(path, np.dtype("<f2"), at, (n, dim))

    def scores(self, query: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Cosines of these rows with the query."""
        out = np.empty(len(rows), np.float32)
        for a in range(0, len(rows), 4096):
            part = rows[a : a + 4096]
            out[a : a + len(part)] = self._rows[part].astype(np.float32) @ query
        return out


def write_packed(path: Path, n: int, dim: int, batches: Iterable[tuple[NDArray[np.int64], NDArray[np.float16]]]) -> int:
    """Write a packed file under a temporary name and move it into place.

    Args:
        path: The file.
        n: Rows announced; batches that hold fewer are fine.
        dim: Numbers per vector.
        batches: Chunk ids, shape (m,), and their vectors, shape (m, dim).

    Returns:
        Rows written.

    Raises:
        OSError: The disk is full or the folder can't be written to; nothing is left behind.
    """
    words = _words(dim)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    written = 0
    try:
        with part.open("wb") as file:
            part.chmod(0o600)
            # Rows go to their place behind room for `n` of them, so that memory use does not grow with the library.
            for ids, vectors in batches:
                m = len(ids)
                if written + m > n:
                    raise ValueError("more rows than announced")
                file.seek(_HEADER + written * 8)
                file.write(ids.astype("<i8").tobytes())
                columns = sign_columns(vectors)
                for j in range(words):
                    file.seek(_HEADER + n * 8 + (j * n + written) * 8)
                    file.write(columns[j].astype("<u8").tobytes())
                file.seek(_HEADER + n * (8 + words * 8) + written * dim * 2)
                file.write(vectors.astype("<f2").tobytes())
                written += m
            file.seek(0)
            file.write(MAGIC + np.array([n, dim], "<i8").tobytes())
            file.truncate(_HEADER + n * (8 + words * 8 + dim * 2))
        if written != n:
            raise ValueError("fewer rows than announced")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return written


def sign_columns(vectors: NDArray[np.float16] | NDArray[np.float32]) -> NDArray[np.uint64]:
    """One bit per number, set where it is above 0: shape (words, n), each column contiguous."""
    n, dim = vectors.shape
    columns = np.empty((_words(dim), n), np.uint64)
    for a in range(0, n, 1 << 16):  # in pieces: the comparison alone takes a byte per number
        part = vectors[a : a + (1 << 16)]
        bits = np.zeros((len(part), _words(dim) * 8), np.uint8)
        packed = np.packbits(part > 0, axis=1)
        bits[:, : packed.shape[1]] = packed
        columns[:, a : a + len(part)] = bits.view(np.uint64).T
    return columns


def top(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Positions of the `k` largest, largest first; equal scores in their order."""
    if len(scores) > 4 * k:
        kept = np.argpartition(scores, -k)[-k:]
        kept.sort()
    else:
        kept = np.arange(len(scores))
    return kept[np.argsort(-scores[kept], kind="stable")[:k]]


def _query_planes(query: NDArray[np.float32], words: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Words to xor a row's signs with, and the bit planes of the query's magnitudes."""
    size = np.abs(query)
    levels = np.rint(size / (float(size.max()) or 1.0) * (2**_PLANES - 1)).astype(np.uint8)
    flip = ~sign_columns(query[None].astype(np.float16))[:, 0]
    planes = np.stack([sign_columns(((levels[None] >> b) & 1).astype(np.float16))[:, 0] for b in range(_PLANES)])
    assert planes.shape == (_PLANES, words)
    return flip, planes


def _map(path: Path, dtype: np.dtype, offset: int, shape: tuple[int, ...]) -> NDArray:  # type: ignore[type-arg]
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape)


def _words(dim: int) -> int:
    return -(-dim // 64)
