"""What becomes of questions that are put to the model as well: refusals, citations, and words that nothing supports."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.engine.protocol import Embedder, Engine, Request, Sampling, TokenEvent
from localllm.events import Citation, Message, Role
from localllm.rag.answer import GroundedQuestion, ground
from localllm.rag.evaluate import Question, Refusals, named_by, precision_recall
from localllm.rag.grounding import check
from localllm.rag.quotes import folded
from localllm.rag.sentences import sentence_spans

if TYPE_CHECKING:
    from localllm.rag.index import Library
    from localllm.rag.rerank import Reranker

_CHOICE_TOKENS = 24
"""Room for three numbers."""
_MARKS = re.compile(r" ?\[\d+\]$")


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """Of answers made as `localllm ask` makes them, drawn greedily."""

    extractive: bool
    """The model chose sentences; otherwise it wrote."""
    refusals: Refusals
    """Turned away before the model or after it."""
    precisions: tuple[float, ...] = field(repr=False)
    """Of each answered question that has an answer: the share of its citations that are right."""
    recalls: tuple[float, ...] = field(repr=False)
    """The share of what should be cited that is."""
    sentences: int
    unsupported: int
    """Sentences that no passage supports; of chosen ones those that are not the documents' own words."""
    quotes: int
    invented_quotes: int

    @property
    def citation_precision(self) -> float:
        """Mean over the answered questions; 0 without any."""
        return sum(self.precisions) / len(self.precisions) if self.precisions else 0.0

    @property
    def citation_recall(self) -> float:
        """Mean over the answered questions; 0 without any."""
        return sum(self.recalls) / len(self.recalls) if self.recalls else 0.0


def score_answers(
    library: Library,
    questions: Sequence[Question],
    engine: Engine,
    *,
    embedder: Embedder | None = None,
    extractive: bool = False,
    n_passages: int = 5,
    max_tokens: int = 200,
    cache_folder: Path | None = None,
    reranker: Reranker | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> AnswerScores:
    """Ask every question and score the answers.

    A citation is right when it names one of the expected files, or, where the question knows the sentences that answer
    it, when it cites one of them.

    Args:
        library: Where the answers are.
        questions: With the files, or the sentences, that answer them.
        engine: Writes or chooses.
        embedder: Of the library's vectors, or None.
        extractive: The model chooses sentences.
        n_passages: Passages at most.
        max_tokens: Of a written answer.
        cache_folder: See `search`.
        reranker: See `search`.
        report: Called with the number of questions done.
    """
    refused: list[bool] = []
    precisions, recalls = [], []
    sentences = unsupported = quotes = invented = 0
    for done, question in enumerate(questions, 1):
        grounded = ground(
            library, question.text, embedder=embedder, n_passages=n_passages, count_tokens=engine.count_tokens,
            extractive=extractive, cache_folder=cache_folder, reranker=reranker,
        )  # fmt: skip
        made = None if grounded.refusal else grounded.check(_answer(engine, grounded, max_tokens))
        refused.append(made is None or made.refused)
        report(done)
        if made is None or made.refused:
            continue
        if extractive:
            texts = [plain_words(p.text) for p in grounded.passages]
            lines = [plain_words(_MARKS.sub("", line)) for line in made.text.splitlines()]  # a chosen sentence each
            sentences += len(lines)
            unsupported += sum(not any(line in text for text in texts) for line in lines)
        else:
            checked = check(made.text, grounded.passages, question=question.text, embedder=embedder)
            sentences += checked.n_sentences
            unsupported += checked.n_sentences - checked.n_supported
            quotes += len(checked.quotes)
            invented += sum(q.n is None for q in checked.quotes)
        if question.expected:
            precision, recall = _right(made.citations, question)
            precisions.append(precision)
            recalls.append(recall)
    answerable = [bool(q.expected) for q in questions]
    return AnswerScores(
        extractive, Refusals.of(answerable, refused), tuple(precisions), tuple(recalls), sentences, unsupported, quotes,
        invented,
    )  # fmt: skip


def plain_words(text: str) -> str:
    """Words alone, folded, for comparing sentences whatever their typography."""
    return re.sub(r"\W+", " ", folded(text)[0]).strip()


def _answer(engine: Engine, grounded: GroundedQuestion, max_tokens: int) -> str:
    messages = (Message(Role.SYSTEM, grounded.system), Message(Role.USER, grounded.question))
    request = Request(
        messages, max_tokens=_CHOICE_TOKENS if grounded.hidden else max_tokens, sampling=Sampling(temperature=0.0),
        constraint=grounded.constraint, corpus=tuple(p.text for p in grounded.passages),
    )  # fmt: skip
    return "".join(e.text for e in engine.stream(request) if isinstance(e, TokenEvent))


def _right(citations: Sequence[Citation], question: Question) -> tuple[float, float]:
    """Precision and recall of an answer's citations, by sentences where they are known, else by files."""
    if question.sentences:
        cited = [plain_words(c.quote[a:b]) for c in citations for a, b in sentence_spans(c.quote)]
        return precision_recall(cited, [plain_words(s) for s in question.sentences])
    files = [named_by(c.source, question.expected) or c.source for c in citations]
    return precision_recall(files, question.expected)
