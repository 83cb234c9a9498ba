"""Search quality on public collections, through the same code as `docs add` and `docs search`.

    LOCALLLM_BENCH_DATA=FOLDER python -m bench.retrieval [--work FOLDER] [--only scifact,xquad,chunks] [--json FILE]

Each collection is written out as files, synced into a library in the work folder (kept there, so that a second run
embeds nothing) and searched. Nothing here is tuned: libraries and searches have their defaults.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import read
from localllm.engine.embed import LlamaEmbedder
from localllm.rag.evaluate import ndcg, span_recall
from localllm.rag.index import Library
from localllm.rag.search import Mode, search
from localllm.rag.sync import sync

EMBEDDER = Path(__file__).parent.parent / "models" / "all-MiniLM-L6-v2.Q8_0.gguf"
ANCHORS = {
    "scifact": "published nDCG@10: BM25 (Anserini) 0.679, all-MiniLM-L6-v2 0.645, RRF 0.714, convex 0.734,"
    " bge-base-en-v1.5 0.741",
    "xquad": "default FTS5 tokenizer, hit@1: en 0.929, zh 0.099, hi 0.653, th 0.783",
    "chunks": "whole-sentence chunks of 150 words, BM25: recall 0.871 at 4,448 characters",
}


class BenchEmbedder(LlamaEmbedder):
    """In this process, named as `docs add` names it: thresholds are found by the name."""

    def __init__(self, path: Path, n_contexts: int = 2) -> None:
        super().__init__(path, n_contexts=n_contexts)
        self.name = path.stem


def build(work: Path, name: str, files: Iterable[tuple[str, str]], embedder: LlamaEmbedder | None) -> Library:
    """Write the files, sync them; a folder that is there already is only synced."""
    folder = work / name
    if not folder.exists():
        folder.mkdir(parents=True)
        for file_name, text in files:
            (folder / file_name).write_text(text, "utf-8")
    library = Library(work / f"{name}.db", create=True)
    library.add_root(folder.resolve(), "folder")
    started = shown = time.perf_counter()
    for event in sync(library, embedder):
        if time.perf_counter() - shown > 20:
            shown = time.perf_counter()
            print(f"  {name}: {event}", file=sys.stderr, flush=True)
    print(f"  {name}: {library.count_chunks():,} chunks, {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return library


def interval(values: Sequence[float], rounds: int = 1000) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    draw = random.Random(7)
    means = sorted(sum(draw.choices(values, k=len(values))) / len(values) for _ in range(rounds))
    return means[int(0.025 * rounds)], means[int(0.975 * rounds)]


def measured(values: Sequence[float]) -> dict[str, float]:
    low, high = interval(values)
    return {"mean": sum(values) / len(values), "low": low, "high": high, "n": len(values)}


def stem_of(source: str) -> str:
    return Path(source).stem


def scifact(data: Path, work: Path, embedder: LlamaEmbedder | None, split: str = "test") -> dict[str, Any]:
    base = data / "scifact"
    documents = ((f"{d['_id']}.md", f"# {d['title']}\n\n{d['text']}\n") for d in read(base / "corpus.jsonl.gz"))
    library = build(work, "scifact", documents, embedder)
    queries = {q["_id"]: q["text"] for q in read(base / "queries.jsonl.gz")}
    relevant: dict[str, dict[str, float]] = {}
    with (base / "qrels" / f"{split}.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            relevant.setdefault(row["query-id"], {})[row["corpus-id"]] = float(row["score"])
    if embedder is not None:  # for the recall part of bench.vectors
        np.save(work / "scifact-queries.npy", embedder.embed([queries[key] for key in relevant]))
    result: dict[str, Any] = {"chunks": library.count_chunks()}
    modes: tuple[Mode, ...] = ("keyword", "vector", "hybrid") if embedder else ("keyword",)
    for mode in modes:
        scores, seconds = [], []
        for key, rel in relevant.items():
            found = search(library, queries[key], embedder, 10, mode, per_document=1)
            seconds.append(found.seconds)
            scores.append(ndcg([stem_of(h.source) for h in found.hits], rel))
        result[mode] = {**measured(scores), "median_seconds": sorted(seconds)[len(seconds) // 2]}
    library.close()
    return result


def xquad_files(data: Path, language: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Paragraphs as files, and pairs of a question and the name of its file without suffix."""
    with gzip.open(data / "xquad" / f"xquad.{language}.json.gz", "rt", encoding="utf-8") as file:
        paragraphs = [p for article in json.load(file)["data"] for p in article["paragraphs"]]
    files = [(f"{i:04}.txt", p["context"]) for i, p in enumerate(paragraphs)]
    return files, [(qa["question"], f"{i:04}") for i, p in enumerate(paragraphs) for qa in p["qas"]]


def xquad(data: Path, work: Path, embedder: LlamaEmbedder | None) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for language in ("en", "zh", "hi", "th"):
        files, questions = xquad_files(data, language)
        library = build(work, f"xquad-{language}", files, None)
        scores = []
        for question, name in questions:
            hits = search(library, question, None, 5, "keyword", per_document=1).hits
            scores.append(float(bool(hits) and stem_of(hits[0].source) == name))
        result[language] = measured(scores)
        library.close()
    return result


def chunks(data: Path, work: Path, embedder: LlamaEmbedder | None) -> dict[str, Any]:
    base = data / "chunking_evaluation"
    names = ("chatlogs", "finance", "pubmed", "state_of_the_union", "wikitexts")
    texts = {n: (base / f"{n}.md").read_text("utf-8") for n in names}
    files = [(f"{n}.txt", t) for n, t in texts.items()]
    csv.field_size_limit(1 << 24)
    with (base / "questions_df.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    library = build(work, "chunks", files, embedder)
    # Spans refer to the extracted text, the gold spans to the file: both must be the same text.
    for document in library.documents():
        assert document.content is not None
        assert library.text(document.content).text == texts[Path(document.source).stem], document.source
    result: dict[str, Any] = {"chunks": library.count_chunks()}
    for mode in ("keyword", "vector", "hybrid") if embedder else ("keyword",):
        scores, sent = [], []
        for row in rows:
            gold = [(r["start_index"], r["end_index"]) for r in json.loads(row["references"])]
            hits = search(library, row["question"], embedder, 5, mode).hits
            spans = [(h.start, h.end) for h in hits if stem_of(h.source) == row["corpus_id"]]
            scores.append(span_recall(gold, spans))
            sent.append(sum(h.end - h.start for h in hits))
        result[mode] = {**measured(scores), "characters": sum(sent) / len(sent)}
    library.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("LOCALLLM_BENCH_DATA"))
    parser.add_argument("--work", type=Path, default=Path("bench/.work/retrieval"))
    parser.add_argument("--only", default="scifact,xquad,chunks")
    parser.add_argument("--embedder", type=Path, default=EMBEDDER)
    parser.add_argument("--contexts", type=int, default=2, help="texts embedded side by side")
    parser.add_argument("--no-vectors", action="store_true")
    parser.add_argument("--split", default="test", help="of SciFact")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.data:
        sys.exit("Set LOCALLLM_BENCH_DATA to the folder of the public collections.")
    embedder = None
    if not options.no_vectors and options.embedder.exists():
        embedder = BenchEmbedder(options.embedder, options.contexts)
    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "scifact": lambda: scifact(Path(options.data), options.work, embedder, options.split),
        "xquad": lambda: xquad(Path(options.data), options.work, embedder),
        "chunks": lambda: chunks(Path(options.data), options.work, embedder),
    }
    results: dict[str, Any] = {"embedder": options.embedder.name if embedder else None}
    for name in options.only.split(","):
        results[name] = runs[name]()
        print(f"\n{name}   ({ANCHORS[name]})")
        for side, value in results[name].items():
            if isinstance(value, dict):
                extra = f"   {value['characters']:,.0f} characters" if "characters" in value else ""
                extra += f"   {1000 * value['median_seconds']:.1f} ms" if "median_seconds" in value else ""
                print(
                    f"  {side:8} {value['mean']:.4f}   95 % {value['low']:.3f} to {value['high']:.3f}{extra}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), "utf-8")
    assert all(
        math.isfinite(v["mean"])
        for r in results.values()
        if isinstance(r, dict)
        for v in r.values()
        if isinstance(v, dict)
    )


if __name__ == "__main__":
    main()
