"""Vector search beside sqlite-vec and usearch, in alternating pairs of one run; memory and recall of the packed form.

    python -m bench.vectors [--sizes 10000,100000,1000000] [--library FILE --queries FILE.npy]

Needs numpy alone; peers that can't be imported, or whose SQLite extension can't be loaded by this Python, are named and
left out (any Python whose `sqlite3` allows extensions will do: install numpy, sqlite-vec and usearch in a venv of it).
`default` is what a library in memory does: exact below 50,000 vectors, the sign scan with exact scores from there on;
`packed` reads the cache file. Times are for the 100 nearest, 384 dimensions, one thread. Recall is on real vectors:
those of a library that `bench.retrieval` made, with its questions.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from bench.pairs import HEADER, Pairs, alternate, write
from bench.plot import line_chart
from localllm.rag.packed import PackedVectors, top, write_packed
from localllm.rag.vectors import InMemory

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
    for line in Path("/proc/self/smaps_rollup").read_text("utf-8").splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise OSError("no Anonymous line")


def memory_child(path: Path) -> None:
    """Print anonymous bytes per chunk of an open packed file: at rest, and the peak during searches."""
    some = queries(5)
    before = anonymous_bytes()
    packed = PackedVectors(path)
    alive = np.ones(len(packed), np.bool_)  # as in a library with deletions
    peak = 0

    class Watched(PackedVectors):
        def scores(self, query: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
            nonlocal peak
            peak = max(peak, anonymous_bytes())  # the scan's scores and the candidates are alive here
            return super().scores(query, rows)

    watched = Watched(path)
    for query in some:
        watched.nearest(query, K, None, alive)
    after = anonymous_bytes()
    print(json.dumps({"rest": (after - before) / len(packed), "peak": (max(peak, after) - before) / len(packed)}))


def memory(n: int, folder: Path) -> dict[str, Any]:
    path = folder / f"{n}.vectors"
    if not path.exists():
        write_packed(path, n, DIM, batches(n))
    command = [sys.executable, "-m", "bench.vectors", "--memory-child", str(path)]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"{n:,}: anonymous memory per chunk: {result['rest']:.1f} bytes at rest, {result['peak']:.1f} at the peak")
    return {"n": n, **result, "file_bytes_per_chunk": path.stat().st_size / n}


def recall(library: Path, query_file: Path, folder: Path) -> list[dict[str, Any]]:
    """Recall of the ten nearest on real vectors, and the candidates that keep 0.99, as the library grows."""
    db = sqlite3.connect(f"file:{library}?mode=ro", uri=True)
    model = db.execute("SELECT value FROM meta WHERE key = 'active_model'").fetchone()[0]
    blobs = [r[0] for r in db.execute("SELECT vec FROM embeddings WHERE model_id = ? ORDER BY chunk_sha256", (model,))]
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
    parser.add_argument("--library", type=Path, help="a library file with real vectors")
    parser.add_argument("--queries", type=Path, help="its questions' vectors, as .npy")
    parser.add_argument("--memory-child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_child:
        memory_child(options.memory_child)
        return
    sizes = [int(s) for s in options.sizes.split(",") if s]
    results: list[Any] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.library and options.queries:
            results += recall(options.library, options.queries, folder)
        print("queries per second\n" + HEADER)
        timed = [pair for n in sizes for pair in timings(n, folder, options.pairs)]
        results += timed
        results += [memory(n, folder) for n in sizes if n >= 100_000]
    chart = write("vectors", results).with_suffix(".svg")
    lines: dict[str, list[tuple[float, float]]] = {}
    for pair in timed:
        n = float(pair.name.split(":")[0].replace(",", ""))
        ours, peer = pair.name.split(": ")[1].split(" | ")
        for label, values in ((ours, pair.ours), (peer, pair.peer)):
            if all(x != n for x, _ in lines.setdefault(label, [])):
                lines[label].append((n, 1000 / float(np.median(values))))
    line_chart(chart, "Nearest 100 of n vectors, 384 dimensions, one thread", "vectors", "ms", lines)


if __name__ == "__main__":
    main()
