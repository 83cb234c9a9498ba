"""How well a library finds and answers: the measures, and the user's own questions put to them.

A question file is CSV (columns ``question``, ``expected``, ``sentences``) or JSONL (``{"question": ..., "expected":
..., "sentences": ...}``). ``expected`` names files by the end of their path, several separated by ``;`` or as a JSON
list; empty means that the documents do not answer the question. ``sentences``, which may be left out, holds the
sentences of the documents that answer it, separated by ``|`` or as a JSON list.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.errors import InputError
from localllm.rag.nearness import Nearness
from localllm.rag.search import Mode, SearchResult, search
from localllm.rag.thresholds import calibrate, keep_thresholds, relevance, thresholds_of

if TYPE_CHECKING:
    from localllm.engine.protocol import Embedder
    from localllm.rag.index import Library
    from localllm.rag.rerank import Reranker


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the files that answer it."""

    text: str
    expected: tuple[str, ...] = ()
    """Ends of paths; empty when the documents do not answer it."""
    sentences: tuple[str, ...] = ()
    """Sentences of the documents that answer it, where they are known."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """How well unanswerable questions are told from answerable ones."""

    answerable: int
    unanswerable: int
    refused_rightly: int
    refused_wrongly: int

    @property
    def precision(self) -> float:
        """Of the questions turned away, the share that had no answer."""
        refused = self.refused_rightly + self.refused_wrongly
        return self.refused_rightly / refused if refused else 0.0

    @property
    def recall(self) -> float:
        """Of the questions without an answer, the share that was turned away."""
        return self.refused_rightly / self.unanswerable if self.unanswerable else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @property
    def false_refusals(self) -> float:
        """Of the questions with an answer, the share that was turned away."""
        return self.refused_wrongly / self.answerable if self.answerable else 0.0

    @classmethod
    def of(cls, answerable: Sequence[bool], refused: Sequence[bool]) -> Refusals:
        """Counted over questions: whether each has an answer, and whether it was turned away."""
        pairs = list(zip(answerable, refused, strict=True))
        return cls(
            sum(has for has, _ in pairs), sum(not has for has, _ in pairs), sum(no and not has for has, no in pairs),
            sum(no and has for has, no in pairs),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """Scores of one library on one question file."""

    mode: Mode
    questions: int
    hit_at_1: float
    hit_at_k: float
    ndcg_at_10: float
    k: int
    refusals: Refusals
    missed: tuple[str, ...]
    """Answerable questions whose file was not among the first k passages."""
    threshold: float | None = None
    """Below this relevance a question is turned away, after the run; None without an embedder."""
    calibrated: bool = False
    """The threshold was learned from these questions and stored with the library."""
    note: str = ""


def read_questions(path: Path) -> list[Question]:
    """The questions of a file.

    Raises:
        InputError: The file can't be read, or a line is not a question; the message names the line.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read: {error}.") from error
    rows: list[tuple[int, object]] = []
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    rows.append((number, json.loads(line)))
                except ValueError as error:
                    raise InputError(f"{path}, line {number} is not JSON.", "One object per line.") from error
    else:
        reader = csv.DictReader(text.splitlines())
        rows = [(reader.line_num, row) for row in reader]
    questions = []
    for number, row in rows:
        if not isinstance(row, dict) or not isinstance(asked := row.get("question"), str) or not asked.strip():
            raise InputError(f"{path}, line {number}: there is no question.", "The columns are question and expected.")
        try:
            names, sentences = _several(row.get("expected"), ";"), _several(row.get("sentences"), "|")
        except TypeError:
            raise InputError(f"{path}, line {number}: `expected` must name files, and `sentences` be texts.") from None
        questions.append(Question(asked.strip(), names, sentences))
    if not questions:
        raise InputError(f"{path} holds no questions.", "The columns are question and expected.")
    return questions


def _several(value: object, separator: str) -> tuple[str, ...]:
    """The texts of a cell or of a list, without empty ones; TypeError for anything else."""
    texts = value.split(separator) if isinstance(value, str) else value or ()
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise TypeError
    return tuple(text.strip() for text in texts if text.strip())


def evaluate(
    library: Library,
    questions: Sequence[Question],
    embedder: Embedder | None = None,
    *,
    k: int = 8,
    mode: Mode = "hybrid",
    learn: bool = False,
    cache_folder: Path | None = None,
    reranker: Reranker | None = None,
) -> Report:
    """Put every question to the search and score what comes back.

    Args:
        library: Which.
        questions: With the files that answer them.
        embedder: Of its vectors, or None.
        k: Passages that count as found.
        mode: Of the search.
        learn: Store the refusal threshold that suits these questions with the library. The scores of the report are
            then those of the old threshold, so that nothing is scored on what it was learned from.
        cache_folder: See `search`.
        reranker: See `search`.
    """
    thresholds = thresholds_of(library)
    found: list[SearchResult] = []
    first = at_k = gain = 0.0
    missed = []
    answerable = [q for q in questions if q.expected]
    for question in questions:
        result = search(library, question.text, embedder, k, mode, cache_folder=cache_folder, reranker=reranker)
        if embedder is not None and result.best_cosine is not None:
            result = Nearness(question.text, embedder).of(result)
        found.append(result)
        if not question.expected:
            continue
        ranked = list(dict.fromkeys(hit.source for hit in result.hits))
        grades = {named_by(s, question.expected): 1.0 for s in ranked if named_by(s, question.expected)}
        names = [named_by(s, question.expected) or s for s in ranked]
        first += hit_at(names, grades, 1)
        at_k += hit_at(names, grades, len(names))
        gain += ndcg(names, dict.fromkeys(question.expected, 1.0))
        if not grades:
            missed.append(question.text)
    refusals = Refusals.of([bool(q.expected) for q in questions], [thresholds.refuses(r) for r in found])
    learned = learn and bool(answerable)
    if learned:
        yes = [r for q, r in zip(questions, found, strict=True) if q.expected]
        no = [r for q, r in zip(questions, found, strict=True) if not q.expected]
        threshold = calibrate([relevance(r) for r in yes], [relevance(r) for r in no])
        if found[0].best_cosine is not None:
            keep_thresholds(library, relevance=threshold)
        else:
            keep_thresholds(library, coverage=threshold)
    n = max(1, len(answerable))
    used = found[0].mode if found else mode
    return Report(
        used, len(questions), first / n, at_k / n, gain / n, k, refusals, tuple(missed),
        thresholds_of(library).relevance if used != "keyword" else None, learned, found[0].note if found else "",
    )  # fmt: skip


def hit_at(ranked: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """1 when one of the first `k` is relevant, else 0."""
    return float(any(relevant.get(name, 0) > 0 for name in ranked[:k]))


def ndcg(ranked: Sequence[str], relevant: Mapping[str, float], k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first `k`, 0 to 1."""
    gained = sum(relevant.get(name, 0.0) / math.log2(i + 2) for i, name in enumerate(ranked[:k]))
    ideal = sum(g / math.log2(i + 2) for i, g in enumerate(sorted(relevant.values(), reverse=True)[:k]))
    return gained / ideal if ideal else 0.0


def span_recall(gold: Sequence[tuple[int, int]], found: Sequence[tuple[int, int]]) -> float:
    """Share of the characters in `gold` spans that `found` spans hold."""
    wanted = {i for a, b in gold for i in range(a, b)}
    held = {i for a, b in found for i in range(a, b)}
    return len(wanted & held) / len(wanted) if wanted else 0.0


def precision_recall(cited: Sequence[str], gold: Sequence[str]) -> tuple[float, float]:
    """Precision and recall of cited sentences; with nothing cited, both are 0."""
    right = len(set(cited) & set(gold))
    return (right / len(set(cited)) if cited else 0.0), (right / len(set(gold)) if gold else 0.0)


def named_by(source: str, expected: Sequence[str]) -> str:
    """The expected name that a path ends in, at a folder's border; empty when there is none."""
    path = "/" + source.replace("\\", "/").lstrip("/")
    return next((n for n in expected if path.endswith("/" + n.replace("\\", "/").lstrip("/"))), "")
