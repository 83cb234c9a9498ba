"""A sync that finds nothing new against a bare walk of the same tree, in alternating pairs; and indexing throughput.

    python -m bench.sync [--files N] [--pairs N] [--embedder FILE.gguf]

The walk is `os.scandir` plus `stat` of every entry and nothing else. The target is a ratio of at most 5 at 10,000
files. With an embedder, indexing is set against the bare embedder on the same chunks: the target is 0.9 of its tokens
per second. Prints tables, writes bench/results/sync.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.pairs import RESULTS, machine
from localllm.engine.embedder_process import EmbedderProcess
from localllm.rag.index import Library
from localllm.rag.progress import Summary
from localllm.rag.reader_process import ReaderProcess
from localllm.rag.sync import sync

WORDS = (
    "pump seal belt fan valve pressure service interval hours replace inspect torque bearing oil filter motor shaft "
    "housing gasket flange bolt sensor alarm reset start stop manual operator safety"
).split()


def make_tree(root: Path, n_files: int, chance: random.Random, words: int) -> None:
    for i in range(n_files):
        folder = root / f"d{i % 97}" / f"e{i % 11}"
        folder.mkdir(parents=True, exist_ok=True)
        text = " ".join(chance.choices(WORDS, k=words))
        (folder / f"file{i}.md").write_text(f"# Document {i}\n\n{text}.\n")
    old = time.time() - 3600
    for path in root.rglob("*"):
        os.utime(path, (old, old))


def bare_walk(root: Path) -> int:
    n, stack = 0, [str(root)]
    while stack:
        with os.scandir(stack.pop()) as scan:
            for entry in scan:
                entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    n += 1
    return n


def run(library: Library, reader: ReaderProcess, embedder: Any = None) -> Summary:
    *_, summary = sync(library, embedder, reader=reader)
    assert isinstance(summary, Summary)
    return summary


def no_op(n_files: int, n_pairs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        tree = home / "tree"
        tree.mkdir()
        make_tree(tree, n_files, random.Random(1), 20)
        with Library(home / "l.db", create=True) as library, ReaderProcess() as reader:
            library.add_root(tree, "folder")
            first = run(library, reader)
            assert first.added == n_files, first
            walks, syncs, opened = [], [], []
            for n in range(n_pairs + 1):  # the first pair warms up
                started = time.perf_counter()
                assert bare_walk(tree) == n_files
                walk_seconds = time.perf_counter() - started
                started = time.perf_counter()
                summary = run(library, reader)
                sync_seconds = time.perf_counter() - started
                assert summary.unchanged == n_files, summary
                assert not summary.changed
                started = time.perf_counter()
                with Library(home / "l.db") as other:
                    run(other, reader)
                opened_seconds = time.perf_counter() - started
                if n:
                    walks.append(walk_seconds)
                    syncs.append(sync_seconds)
                    opened.append(opened_seconds)
    ratios = sorted(b / a for a, b in zip(walks, syncs, strict=True))
    return {
        "files": n_files,
        "pairs": n_pairs,
        "first_sync_seconds": first.seconds,
        "files_per_second": n_files / first.seconds,
        "walk_ms": 1000 * statistics.median(walks),
        "sync_ms": 1000 * statistics.median(syncs),
        "with_opening_ms": 1000 * statistics.median(opened),
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[len(ratios) // 4],
        "ratio_high": ratios[-1 - len(ratios) // 4],
    }


def throughput(path: Path, n_files: int, rounds: int) -> dict[str, Any]:
    """Whole indexing (walk, read, cut, store, embed) against the bare embedder on the same chunks, in turns."""
    embedder = EmbedderProcess(path, Path(tempfile.gettempdir()) / "bench-embedder.log")
    embedder.embed(["warm up"])
    texts: list[str] = []
    tokens = 0

    def bare() -> float:
        started = time.perf_counter()
        for i in range(0, len(texts), 64):
            embedder.embed(texts[i : i + 64])
        return time.perf_counter() - started

    with tempfile.TemporaryDirectory() as name, ReaderProcess() as reader:
        home = Path(name)
        tree = home / "tree"
        tree.mkdir()
        make_tree(tree, n_files, random.Random(2), 600)
        bares, wholes = [], []
        for n in range(rounds + 1):
            with Library(home / f"{n}.db", create=True) as library:
                library.add_root(tree, "folder")
                started = time.perf_counter()
                run(library, reader, embedder if n else _NoVectors(embedder))
                wholes.append(time.perf_counter() - started)
                if not n:
                    for document in library.documents():
                        assert document.content is not None
                        text = library.text(document.content).text
                        for chunk in library.chunks_of(document.id):
                            tokens += chunk.n_tokens
                            texts.append(f"{chunk.heading}\n{text[chunk.start : chunk.end]}")
                    texts.sort(key=len)
            bares.append(bare())
    embedder.close()
    # each indexing run is set against the bare runs before and after it
    shares = [(bares[n - 1] + bares[n]) / 2 / wholes[n] for n in range(1, rounds + 1)]
    return {
        "chunks": len(texts),
        "tokens": tokens,
        "bare_tokens_per_second": tokens / statistics.median(bares),
        "indexing_tokens_per_second": tokens / statistics.median(wholes[1:]),
        "share": statistics.median(shares),
        "shares": shares,
    }


class _NoVectors:
    """Cuts by the embedder's tokens and makes zeros, to get the chunks."""

    def __init__(self, embedder: EmbedderProcess) -> None:
        self.fingerprint, self.dim, self.max_tokens = "zeros", embedder.dim, embedder.max_tokens
        self.token_spans = embedder.token_spans

    def embed(self, texts: list[str]) -> Any:
        import numpy as np

        return np.zeros((len(texts), self.dim), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=10_000, help="0 leaves this part out")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--embedder", type=Path)
    parser.add_argument("--embed-files", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    path = RESULTS / "sync.json"
    result: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    result["machine"] = machine()  # a run of one part keeps the other
    if options.files:
        result["no_op"] = row = no_op(options.files, options.pairs)
        print(f"{row['files']:,} files, first sync {row['first_sync_seconds']:.1f} s")
        print(f"{'bare walk':<24} {row['walk_ms']:8.1f} ms")
        print(f"{'sync, nothing new':<24} {row['sync_ms']:8.1f} ms   {row['ratio']:.2f} times the walk", end="")
        print(f"   (middle half {row['ratio_low']:.2f} to {row['ratio_high']:.2f}; target at most 5)")
        print(f"{'the file opened too':<24} {row['with_opening_ms']:8.1f} ms")
    if options.embedder:
        result["throughput"] = rate = throughput(options.embedder, options.embed_files, options.rounds)
        print(f"{rate['chunks']:,} chunks, {rate['tokens']:,} tokens")
        print(f"bare embedder {rate['bare_tokens_per_second']:8,.0f} tokens/s")
        print(f"indexing      {rate['indexing_tokens_per_second']:8,.0f} tokens/s   {rate['share']:.2f}; target 0.9")
        print("shares " + ", ".join(f"{share:.3f}" for share in rate["shares"]))
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
