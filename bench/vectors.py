"""Vector search beside sqlite-vec and usearch, in alternating pairs of one run; memory and recall of the packed form.

    python -m bench.vectors [--sizes 10000,100000,1000000] [--parts speed,memory,recall]
                            [--library FILE ... --queries FILE.npy]

Needs numpy alone; peers that can't be imported, or whose SQLite extension can't be loaded by this Python, are named and
left out (any Python whose `sqlite3` allows extensions will do: install numpy, sqlite-vec and usearch in a venv of it).
`default` is what a library in memory does: exact below 50,000 vectors, the sign scan with exact scores from there on;
`packed` reads the cache file. Times are for the 100 nearest, 384 dimensions, one thread. Memory is that of a whole
library in low-memory mode, SQLite's own included. Recall is on real vectors: those of libraries that `bench.retrieval`
made, with its questions. A run of a part keeps the other parts of the last results.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from bench.pairs import HEADER, RESULTS, Pairs, alternate, write
from bench.plot import line_chart
from localllm.rag.index import Library
from localllm.rag.packed import PackedVectors, top, write_packed
from localllm.rag.vectors import InMemory, VectorCache

DIM = 384
K = 100
_BATCH = 10_000


def batches(n: int, dim: int = DIM) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    """Unit vectors around a thousand centres, always the same."""
    draw = np.random.default_rng(1)
    centres = draw.standard_normal((1000, dim)).astype(np.float32)
    for a in range(0, n, _BATCH):
        m = min(_BATCH, n - a)
        rows = centres[draw.integers(0, 1000, m)] + draw.standard_normal((m, dim)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        yield np.arange(a, a + m), rows.astype(np.float16)


def matrix(n: int) -> NDArray[np.float32]:
    out = np.empty((n, DIM), np.float32)
    for ids, rows in batches(n):
        out[ids] = rows
    return out


def queries(n: int, seed: int = 2) -> NDArray[np.float32]:
    draw = np.random.default_rng(1)
    centres = draw.standard_normal((1000, DIM)).astype(np.float32)
    draw = np.random.default_rng(seed)
    rows = centres[draw.integers(0, 1000, n)] + draw.standard_normal((n, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows, np.float32)


def sqlite_vec_search(rows: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], Any] | str:
    try:
        import sqlite_vec  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return "sqlite-vec is not installed"
    db = sqlite3.connect(":memory:")
    if not hasattr(db, "enable_load_extension"):
        return "this Python's sqlite3 can't load extensions"
    db.enable_load_extension(True)
    sqlite_vec.load(db)
    db.execute(f"CREATE VIRTUAL TABLE v USING vec0(e float[{DIM}])")
    db.executemany("INSERT INTO v(rowid, e) VALUES (?, ?)", ((i, row.tobytes()) for i, row in enumerate(rows)))
    sql = "SELECT rowid FROM v WHERE e MATCH ? AND k = ?"
    return lambda q: db.execute(sql, (q.tobytes(), K)).fetchall()


def usearch_search(rows: NDArray[np.float32]) -> Callable[[NDArray[np.float32]], Any] | str:
    try:
        from usearch.index import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
            MetricKind,
            search,
        )
    except ImportError:
        return "usearch is not installed"
    return lambda q: search(rows, q[None], K, MetricKind.IP, exact=True, threads=1)


def rate(search: Callable[[NDArray[np.float32]], Any], n_queries: int) -> Callable[[], float]:
    """Queries per second over `n_queries` fresh queries."""
    turn = iter(range(1, 10**9))

    def run() -> float:
        some = queries(n_queries, next(turn))
        started = time.perf_counter()
        for query in some:
            search(query)
        return n_queries / (time.perf_counter() - started)

    return run


def timings(n: int, folder: Path, pairs: int) -> list[Pairs]:
    rows = matrix(n)
    path = folder / f"{n}.vectors"
    write_packed(path, n, DIM, batches(n))
    packed = PackedVectors(path)

    memory = InMemory(np.arange(n), rows)

    def exact(q: NDArray[np.float32]) -> object:
        scores = rows @ q
        return top(scores, K)

    def default(q: NDArray[np.float32]) -> object:
        return memory.nearest(q, K, None, None)

    def prefiltered(q: NDArray[np.float32]) -> object:
        return packed.nearest(q, K, None, None)

    found = []
    n_queries = max(1, 200_000 // n)
    for peer_name, peer in (("sqlite-vec float", sqlite_vec_search(rows)), ("usearch exact", usearch_search(rows))):
        if isinstance(peer, str):
            print(f"{peer_name}: {peer}")
            continue
        for name, ours in (("default", default), ("exact", exact), ("packed", prefiltered)):
            result = alternate(f"{n:,}: {name} | {peer_name}", rate(ours, n_queries), rate(peer, n_queries), pairs)
            print(result.row(), flush=True)
            found.append(result)
    result = alternate(f"{n:,}: packed | exact", rate(prefiltered, n_queries), rate(exact, n_queries), pairs)
    print(result.row(), flush=True)
    return [*found, result]


def anonymous_bytes() -> int:
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("no RssAnon line")


class Peak:
    """Anonymous bytes of this process above those at the start, looked at all the time."""

    def __init__(self) -> None:
        self.before = self.highest = anonymous_bytes()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._end.wait(0.001):
            self.highest = max(self.highest, anonymous_bytes())

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def bytes(self) -> int:
        return max(self.highest, anonymous_bytes()) - self.before


def make_library(path: Path, n: int) -> None:
    """A library of `n` chunks with vectors; their texts are empty, since they are not searched here."""
    with Library(path, create=True) as library:
        root = library.add_root(path.parent, "folder")
        model = library.model("random", name="random", dim=DIM, max_tokens=512)
        library.activate(model.id)
        with library.writing() as db:
            for ids, rows in batches(n):
                document = db.execute(
                    "INSERT INTO documents (root_id, relpath, status, indexed_at) VALUES (?, ?, 'ok', 0) RETURNING id",
                    (root.id, f"{ids[0]}.txt"),
                ).fetchone()[0]
                keys = [hashlib.sha256(str(i).encode()).digest() for i in ids]
                db.executemany(
                    'INSERT INTO chunks (document_id, ord, start, "end", line, line_end, heading, n_tokens, sha256, '
                    "fts_title, fts_text) VALUES (?, ?, 0, 0, 1, 1, '', 1, ?, '', '')",
                    [(document, i, key) for i, key in enumerate(keys)],
                )
                db.executemany(
                    "INSERT INTO embeddings VALUES (?, ?, ?)",
                    [(model.id, key, row.tobytes()) for key, row in zip(keys, rows, strict=True)],
                )


def memory_child(path: Path) -> None:
    """Print anonymous bytes per chunk of a library in low-memory mode: at the first search, at rest, at a refresh."""
    some, found = queries(5), {}
    with Library(path) as library, tempfile.TemporaryDirectory() as folder:
        model = library.active_model
        assert model is not None
        cache = VectorCache(budget=0, cache_folder=Path(folder))
        n = library.count_chunks()
        start = anonymous_bytes()
        for name in ("first_search", "search", "after_a_change"):
            with Peak() as peak:
                vectors = cache.get(library, model.id, DIM)
                for query in some:
                    vectors.nearest(query, K)
            found[name] = peak.bytes / n + (peak.before - start) / n
            if name == "search":
                found["rest"] = (anonymous_bytes() - start) / n
                library.delete_documents([1])
    print(json.dumps(found))


def memory(n: int, folder: Path) -> dict[str, Any]:
    path = folder / f"{n}.db"
    make_library(path, n)
    command = [sys.executable, "-m", "bench.vectors", "--memory-child", str(path)]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"{n:,}: anonymous memory per chunk: " + ", ".join(f"{k} {v:.1f}" for k, v in result.items()), flush=True)
    path.unlink()
    return {"n": n, "bytes_per_chunk": result}


def recall(libraries: list[Path], query_file: Path, folder: Path) -> list[dict[str, Any]]:
    """Recall of the ten nearest on real vectors, and the candidates that keep 0.99, as the library grows."""
    real: dict[bytes, bytes] = {}  # by their chunks' hashes, which mixes the collections
    for library in libraries:
        with Library(library) as opened:
            model = opened.active_model
            assert model is not None
            stored = opened.query("SELECT chunk_sha256, vec FROM embeddings WHERE model_id = ?", (model.id,))
            real |= {row[0]: row[1] for row in stored}
    blobs = [real[key] for key in sorted(real)]
    rows16 = np.frombuffer(b"".join(blobs), "<f2").reshape(len(blobs), -1)
    some: NDArray[np.float32] = np.load(query_file)
    found = []
    for n in sorted({*(m for m in (1000, 2000, 4000, 8000, 16000, 32000) if m < len(blobs)), len(blobs)}):
        part = rows16[:n]
        path = folder / "recall.vectors"
        write_packed(path, n, part.shape[1], [(np.arange(n), part)])
        packed, rows = PackedVectors(path), part.astype(np.float32)
        kept: dict[int, float] = {}
        default = 0.0
        for query in some:
            exact = set(top(rows @ query, 10).tolist())
            default += len(exact & set(packed.nearest(query, 10, None, None)[0].tolist())) / 10
            for wanted in (20, 50, 75, 100, 150, 200, 300, 400, 600, 1000):
                inside = set(packed.candidates(query, wanted).tolist())
                kept[wanted] = kept.get(wanted, 0.0) + len(exact & inside) / 10
        enough = next((w for w, v in kept.items() if v / len(some) >= 0.99), None)
        row = {
            "n": n, "queries": len(some), "recall_at_10": default / len(some), "candidates_for_0.99": enough,
            "by_candidates": {w: v / len(some) for w, v in kept.items()},
        }  # fmt: skip
        print(f"{n:,} real vectors: recall@10 {row['recall_at_10']:.4f}; 0.99 needs {enough} candidates", flush=True)
        found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--library", type=Path, action="append", default=[], help="a library with real vectors")
    parser.add_argument("--queries", type=Path, help="its questions' vectors, as .npy")
    parser.add_argument("--parts", default="recall,speed,memory", help="which of them")
    parser.add_argument("--work", type=Path, help="folder for temporary files, 3 GB at a million")
    parser.add_argument("--memory-child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_child:
        memory_child(options.memory_child)
        return
    sizes = [int(s) for s in options.sizes.split(",") if s]
    parts = options.parts.split(",")
    results: list[Any] = []
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        folder = Path(name)
        if "recall" in parts and options.library and options.queries:
            results += recall(options.library, options.queries, folder)
        if "speed" in parts:
            print("queries per second\n" + HEADER)
            results += [pair.as_json() for n in sizes for pair in timings(n, folder, options.pairs)]
        if "memory" in parts:
            results += [memory(n, folder) for n in sizes if n >= 100_000]
    path = RESULTS / "vectors.json"
    earlier = json.loads(path.read_text("utf-8"))["results"] if path.exists() else []
    names = {_name(row) for row in results}
    results = [row for row in earlier if _name(row) not in names] + results  # a run may measure a part
    write("vectors", results)
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in results:
        if "peer" not in row:
            continue
        n = float(row["name"].split(":")[0].replace(",", ""))
        ours, peer = row["name"].split(": ")[1].split(" | ")
        for label, values in ((ours, row["ours"]), (peer, row["peer"])):
            if all(x != n for x, _ in lines.setdefault(label, [])):
                lines[label].append((n, 1000 / float(np.median(values))))
    if lines:
        chart = Path(__file__).parent.parent / "docs" / "images" / "vectors.svg"
        title = "The 100 nearest of n vectors, 384 dimensions, one thread"
        line_chart(chart, title, "vectors", "ms", {k: sorted(v) for k, v in lines.items()}, log=True)


def _name(row: dict[str, Any]) -> str:
    kind = "recall" if "recall_at_10" in row else "memory"
    return str(row["name"] if "name" in row else f"{kind} {row['n']}")


if __name__ == "__main__":
    main()
