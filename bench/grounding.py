"""Refusals, citations and invented quotes on ClapNQ, with a small model.

    LOCALLLM_BENCH_DATA=FOLDER python -m bench.grounding [--work FOLDER] [--generate N] [--json FILE]

All passages of the collection, those of the unanswerable questions too, go into one library, so that every unanswerable
question finds passages on its topic. Refusal thresholds are never scored on what they were learned from: the built-in
ones were learned on XQuAD (`--calibrate` shows them), the others are learned on one half of the questions and scored on
the other, both ways.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.data import read
from bench.retrieval import EMBEDDER, BenchEmbedder, build, measured, stem_of
from localllm.engine.embed import LlamaEmbedder
from localllm.engine.local import LocalEngine
from localllm.engine.protocol import EngineSpec
from localllm.rag.answer_scores import score_answers
from localllm.rag.evaluate import Question, Refusals
from localllm.rag.index import Library
from localllm.rag.nearness import Nearness
from localllm.rag.search import search
from localllm.rag.thresholds import Thresholds, calibrate, relevance, thresholds_of

MODEL = Path(__file__).parent.parent / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class Row:
    text: str
    passage: str
    gold: tuple[str, ...]
    """Sentences that answer it, where annotators marked some."""
    answerable: bool
    file: str
    relevance: float = 0.0
    cosine: float = 0.0
    """Of the nearest passage or sentence."""
    coverage: float = 0.0
    """By keywords alone."""

    @property
    def half(self) -> int:
        return hashlib.sha256(self.text.encode()).digest()[0] & 1


def rows_of(data: Path) -> list[Row]:
    rows: list[Row] = []
    for kind in ("answerable", "unanswerable"):
        for item in read(data / "clapnq" / f"{kind}.jsonl.gz"):
            gold = tuple(item["output"][0]["selected_sentences"]) if kind == "answerable" else ()
            passage = item["passages"][0]
            text = f"# {passage['title']}\n\n{passage['text']}\n"
            rows.append(Row(item["input"], text, gold, kind == "answerable", f"{len(rows):03}.md"))
    return rows


def scored(rows: Sequence[Row], refused: Sequence[bool]) -> Refusals:
    return Refusals.of([r.answerable for r in rows], refused)


def show(name: str, r: Refusals) -> dict[str, float]:
    print(
        f"  {name:42} precision {r.precision:.3f}  recall {r.recall:.3f}  F1 {r.f1:.3f}"
        f"  false refusals {r.false_refusals:.3f}", flush=True,
    )  # fmt: skip
    return {**asdict(r), "precision": r.precision, "recall": r.recall, "f1": r.f1, "false_refusals": r.false_refusals}


def refusals(rows: Sequence[Row], built_in: Thresholds) -> dict[str, Any]:
    result = {}
    built_ins = {
        "relevance": [r.cosine < built_in.sure and r.relevance < built_in.relevance for r in rows],
        "coverage": [r.coverage < built_in.coverage for r in rows],
    }
    for signal in ("relevance", "cosine", "coverage"):
        values = [getattr(r, signal) for r in rows]
        if signal in built_ins:
            result[f"{signal}, built in"] = show(f"{signal}, as built in", scored(rows, built_ins[signal]))
        refused = []
        for row, value in zip(rows, values, strict=True):
            other = [r for r in rows if r.half != row.half]
            threshold = _threshold(tuple(other), signal)
            refused.append(value < threshold)
        result[f"{signal}, two halves"] = show(f"{signal}, learned on the other half", scored(rows, refused))
    return result


_known: dict[tuple[int, str], float] = {}


def _threshold(rows: tuple[Row, ...], signal: str) -> float:
    key = (rows[0].half, signal)
    if key not in _known:
        yes = [getattr(r, signal) for r in rows if r.answerable]
        _known[key] = calibrate(yes, [getattr(r, signal) for r in rows if not r.answerable])
    return _known[key]


def answers(
    library: Library, rows: Sequence[Row], engine: LocalEngine, embedder: LlamaEmbedder | None, extractive: bool
) -> dict[str, Any]:
    """Both stages on every row: what is refused, and what the answers cite."""
    questions = [Question(r.text, (r.file,) if r.answerable else (), r.gold) for r in rows]
    started = time.perf_counter()

    def report(done: int) -> None:
        if done % 20 == 0:
            print(f"  {done} of {len(rows)}, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)

    found = score_answers(
        library, questions, engine, embedder=embedder, extractive=extractive, max_tokens=96, report=report
    )
    name = "extract" if extractive else "generate"
    result: dict[str, Any] = {"refusals": show(f"{name}: before and after the model", found.refusals)}
    if found.precisions:
        result["citation_precision"], result["citation_recall"] = measured(found.precisions), measured(found.recalls)
    result |= {
        "sentences": found.sentences, "not_in_passages": found.unsupported, "quotes": found.quotes,
        "invented_quotes": found.invented_quotes, "seconds_per_question": (time.perf_counter() - started) / len(rows),
    }  # fmt: skip
    print(
        f"  {name}: citation precision {found.citation_precision:.3f}, recall {found.citation_recall:.3f} over"
        f" {len(found.precisions)} answers; {found.sentences} sentences, {found.unsupported} without support;"
        f" {found.quotes} quotes, {found.invented_quotes} invented; {result['seconds_per_question']:.2f} s a question",
        flush=True,
    )
    return result


def calibration(data: Path, work: Path, embedder: LlamaEmbedder) -> tuple[float, float]:
    """The built-in thresholds: XQuAD's questions in their own paragraphs, and, as questions that only seem to be
    answered, the same ones with their own paragraph taken out of what was found: others of its article stay."""
    from bench.retrieval import xquad_files

    paragraphs, questions = xquad_files(data, "en")
    library = build(work, "xquad-en-vectors", paragraphs, embedder)
    learned = []
    for signal, by_meaning in (("relevance", embedder), ("coverage", None)):
        yes: list[float] = []
        no: list[float] = []
        for number, (question, own) in enumerate(questions[::2]):
            result = search(library, question, by_meaning, 10)
            others = tuple(h for h in result.hits if stem_of(h.source) != own)
            for hits, scores in ((result.hits, yes), (others, no)):
                if hits is result.hits or number % 2 == 0:
                    found = replace(result, hits=hits[:5])
                    scores.append(relevance(Nearness(question, embedder).of(found) if by_meaning else found))
        threshold = calibrate(yes, no)
        wrong, right = (sum(v < threshold for v in some) / len(some) for some in (yes, no))
        print(f"XQuAD, {signal}: {threshold:.3f}; turned away: {wrong:.3f} answerable, {right:.3f} others", flush=True)
        learned.append(threshold)
    return learned[0], learned[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("LOCALLLM_BENCH_DATA"))
    parser.add_argument("--work", type=Path, default=Path("bench/.work/grounding"))
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--embedder", type=Path, default=EMBEDDER)
    parser.add_argument("--calibrate", action="store_true", help="learn the built-in threshold, nothing else")
    parser.add_argument("--gate-only", action="store_true", help="no model: refusals before generation alone")
    parser.add_argument("--extract", type=int, default=150, help="questions of each kind to answer by choosing")
    parser.add_argument("--generate", type=int, default=40, help="questions of each kind to answer in free text")
    parser.add_argument("--threads", type=int, default=0, help="of the model; 0 takes all cores")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.data:
        sys.exit("Set LOCALLLM_BENCH_DATA to the folder of the public collections.")
    embedder = BenchEmbedder(options.embedder)
    if options.calibrate:
        calibration(Path(options.data), options.work, embedder)
        return
    rows = rows_of(Path(options.data))
    library = build(options.work, "clapnq", ((r.file, r.passage) for r in rows), embedder)
    found = [
        (Nearness(r.text, embedder).of(search(library, r.text, embedder, 5)), search(library, r.text, None, 5))
        for r in rows
    ]
    rows = [
        replace(r, relevance=relevance(f), cosine=f.best_cosine or 0.0, coverage=by_words.best_coverage)
        for r, (f, by_words) in zip(rows, found, strict=True)
    ]
    print(f"ClapNQ: {sum(r.answerable for r in rows)} answerable questions, {sum(not r.answerable for r in rows)} not")
    print("(published on another set, MTRAG ClapNQ, with a 30B model: haiku.rag, refusal precision 0.33, recall 0.44)")
    results: dict[str, Any] = {"before the model": refusals(rows, thresholds_of(library))}
    if not options.gate_only:
        engine = LocalEngine(EngineSpec(options.model, n_ctx=4096, n_threads=options.threads))
        for name, n in (("extract", options.extract), ("generate", options.generate)):
            some = [r for kind in (True, False) for r in [r for r in rows if r.answerable == kind][:n]]
            if some:
                results[name] = answers(library, some, engine, embedder, name == "extract")
        engine.close()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), "utf-8")


if __name__ == "__main__":
    main()
