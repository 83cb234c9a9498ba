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
import re
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
from localllm.engine.protocol import EngineSpec, Request, Sampling, TokenEvent
from localllm.events import Message, Role
from localllm.rag.answer import GroundedQuestion, ground
from localllm.rag.evaluate import Refusals, precision_recall
from localllm.rag.grounding import check
from localllm.rag.index import Library
from localllm.rag.nearness import Nearness
from localllm.rag.quotes import folded
from localllm.rag.search import search
from localllm.rag.sentences import sentence_spans
from localllm.rag.thresholds import Thresholds, calibrate, relevance, thresholds_of

MODEL = Path(__file__).parent.parent / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class Row:
    text: str
    passage: str
    gold: tuple[str, ...]
    """Sentences that answer it, where annotators marked some."""
    answerable: bool
    relevance: float = 0.0
    cosine: float = 0.0
    """Of the nearest passage or sentence."""
    coverage: float = 0.0
    """By keywords alone."""

    @property
    def half(self) -> int:
        return hashlib.sha256(self.text.encode()).digest()[0] & 1


def rows_of(data: Path) -> list[Row]:
    rows = []
    for kind in ("answerable", "unanswerable"):
        for item in read(data / "clapnq" / f"{kind}.jsonl.gz"):
            gold = tuple(item["output"][0]["selected_sentences"]) if kind == "answerable" else ()
            passage = item["passages"][0]
            rows.append(Row(item["input"], f"# {passage['title']}\n\n{passage['text']}\n", gold, kind == "answerable"))
    return rows


def scored(rows: Sequence[Row], refused: Sequence[bool]) -> Refusals:
    pairs = [(r.answerable, x) for r, x in zip(rows, refused, strict=True)]
    return Refusals(
        sum(a for a, _ in pairs), sum(not a for a, _ in pairs), sum(x and not a for a, x in pairs),
        sum(x and a for a, x in pairs),
    )  # fmt: skip


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


def answer(engine: LocalEngine, grounded: GroundedQuestion, max_tokens: int) -> str:
    messages = (Message(Role.SYSTEM, grounded.system), Message(Role.USER, grounded.question))
    request = Request(
        messages, max_tokens=max_tokens, sampling=Sampling(temperature=0.0), constraint=grounded.constraint,
        corpus=tuple(p.text for p in grounded.passages),
    )  # fmt: skip
    return "".join(e.text for e in engine.stream(request) if isinstance(e, TokenEvent))


def plain(sentence: str) -> str:
    return re.sub(r"\W+", " ", folded(sentence)[0]).strip()


def answers(
    library: Library, rows: Sequence[Row], engine: LocalEngine, embedder: LlamaEmbedder | None, extractive: bool
) -> dict[str, Any]:
    """Both stages on every row: what is refused, and what the answers cite."""
    refused, precisions, recalls = [], [], []
    invented = quoted = sentences = unsupported = 0
    started = time.perf_counter()
    for row in rows:
        grounded = ground(library, row.text, embedder=embedder, count_tokens=engine.count_tokens, extractive=extractive)
        if grounded.refusal:
            refused.append(True)
            continue
        made = grounded.check(answer(engine, grounded, 24 if extractive else 96))
        refused.append(made.refused)
        texts = [p.text for p in grounded.passages]
        if extractive:
            for line in made.text.splitlines():  # one chosen sentence each
                sentences += 1
                words = plain(re.sub(r" ?\[\d+\]$", "", line))
                unsupported += not any(words in plain(t) for t in texts)
        elif not made.refused:
            checked = check(made.text, grounded.passages, question=row.text, embedder=embedder)
            sentences += checked.n_sentences
            unsupported += checked.n_sentences - checked.n_supported
            quoted += len(checked.quotes)
            invented += sum(q.n is None for q in checked.quotes)
        if row.gold and not made.refused:
            cited = [plain(s) for c in made.citations for s in _sentences(c.quote)]
            p, r = precision_recall(cited, [plain(g) for g in row.gold])
            precisions.append(p)
            recalls.append(r)
    name = "extract" if extractive else "generate"
    result: dict[str, Any] = {"refusals": show(f"{name}: before and after the model", scored(rows, refused))}
    result["citation_precision"], result["citation_recall"] = measured(precisions), measured(recalls)
    result |= {
        "sentences": sentences, "not_in_passages": unsupported, "quotes": quoted, "invented_quotes": invented,
        "seconds_per_question": (time.perf_counter() - started) / len(rows),
    }  # fmt: skip
    print(
        f"  {name}: citation precision {result['citation_precision']['mean']:.3f}, recall"
        f" {result['citation_recall']['mean']:.3f}; {sentences} sentences, {unsupported} without support;"
        f" {quoted} quotes, {invented} invented; {result['seconds_per_question']:.2f} s a question", flush=True,
    )  # fmt: skip
    return result


def _sentences(text: str) -> list[str]:
    return [text[a:b] for a, b in sentence_spans(text)]


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
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.data:
        sys.exit("Set LOCALLLM_BENCH_DATA to the folder of the public collections.")
    embedder = BenchEmbedder(options.embedder)
    if options.calibrate:
        calibration(Path(options.data), options.work, embedder)
        return
    rows = rows_of(Path(options.data))
    library = build(options.work, "clapnq", ((f"{i:03}.md", r.passage) for i, r in enumerate(rows)), embedder)
    found = [
        (Nearness(r.text, embedder).of(search(library, r.text, embedder, 5)), search(library, r.text, None, 5))
        for r in rows
    ]
    rows = [
        Row(r.text, r.passage, r.gold, r.answerable, relevance(f), f.best_cosine or 0.0, by_words.best_coverage)
        for r, (f, by_words) in zip(rows, found, strict=True)
    ]
    print(f"ClapNQ: {sum(r.answerable for r in rows)} answerable questions, {sum(not r.answerable for r in rows)} not")
    print("(published on another set, MTRAG ClapNQ, with a 30B model: haiku.rag, refusal precision 0.33, recall 0.44)")
    results: dict[str, Any] = {"before the model": refusals(rows, thresholds_of(library))}
    if not options.gate_only:
        engine = LocalEngine(EngineSpec(options.model, n_ctx=4096))
        for name, n in (("extract", options.extract), ("generate", options.generate)):
            some = [r for kind in (True, False) for r in [r for r in rows if r.answerable == kind][:n]]
            if some:
                results[name] = answers(library, some, engine, embedder, name == "extract")
        engine.close()
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), "utf-8")


if __name__ == "__main__":
    main()
