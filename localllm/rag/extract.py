"""Answers for small models: the model chooses sentences by number, code prints them.

A grammar lets nothing but the numbers of existing sentences through, so that no word of the answer is invented,
however small the model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localllm.engine.protocol import ConstraintSpec
from localllm.events import Citation, Passage, SupportState
from localllm.rag.prompting import clean
from localllm.rag.sentences import sentence_spans
from localllm.rag.stem import content_stems

if TYPE_CHECKING:
    from localllm.engine.protocol import Embedder

MAX_CANDIDATES = 8
MAX_CHOSEN = 3
_MAX_EMBEDDED = 32
"""Sentences that are compared by meaning; more would be felt as waiting."""
_MIN_WORDS = 4

SYSTEM = "You choose the sentences that answer a question. You reply with sentence numbers only."


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that may be chosen."""

    number: int
    """From 1, by relevance."""
    passage: Passage
    start: int
    end: int
    """Span in the passage's text."""
    score: float

    @property
    def text(self) -> str:
        """The document's own words."""
        return self.passage.text[self.start : self.end]


def candidates(
    question: str, passages: Sequence[Passage], embedder: Embedder | None = None, limit: int = MAX_CANDIDATES
) -> list[Candidate]:
    """The sentences of the passages that have most to do with the question, best first.

    Args:
        question: As the user asked it.
        passages: Where sentences are taken from.
        embedder: Compares by meaning too; None compares words alone.
        limit: Sentences at most.
    """
    spots = [(p, a, b) for p in passages for a, b in sentence_spans(p.text) if len(p.text[a:b].split()) >= _MIN_WORDS]
    if not spots:
        spots = [(p, a, b) for p in passages for a, b in sentence_spans(p.text)]
    wanted = set(content_stems(question))
    stems = [set(content_stems(p.text[a:b])) for p, a, b in spots]
    weight = {w: math.log(1 + len(spots) / (1 + sum(w in s for s in stems))) for w in wanted}
    total = sum(weight.values()) or 1.0
    words = [sum(weight[w] for w in wanted & s) / total for s in stems]
    scores = [0.8 * w + 0.2 * p.score for w, (p, _, _) in zip(words, spots, strict=True)]
    if embedder is not None and spots:
        first = sorted(range(len(spots)), key=lambda i: -scores[i])[:_MAX_EMBEDDED]
        vectors = embedder.embed([_cut(question, embedder)] + [_cut(_in_place(*spots[i]), embedder) for i in first])
        close = vectors[1:] @ vectors[0]
        scores = [-1.0] * len(spots)
        for i, c in zip(first, close.tolist(), strict=True):
            scores[i] = 0.5 * c + 0.5 * words[i]
    best = sorted(range(len(spots)), key=lambda i: (-scores[i], i))[:limit]
    return [Candidate(n, *spots[i], scores[i]) for n, i in enumerate(best, 1)]


def choice_prompt(question: str, sentences: Sequence[Candidate]) -> str:
    """What the model is asked."""
    listed = "\n".join(f"{c.number}. {' '.join(clean(c.text).split())}" for c in sentences)
    return (
        f"Sentences:\n{listed}\n\nQuestion: {question.strip()}\n"
        "Which sentences answer the question? Reply with their numbers, best first, such as 2, 1."
    )


def choice_constraint(sentences: Sequence[Candidate]) -> ConstraintSpec:
    """Lets one to three numbers of existing sentences through, nothing else."""
    number = "(" + "|".join(str(c.number) for c in sentences) + ")"
    return ConstraintSpec("regex", f"{number}(, {number}){{0,{MAX_CHOSEN - 1}}}")


def chosen(reply: str, sentences: Sequence[Candidate]) -> list[Candidate]:
    """The sentences that a reply names, in the order of their documents; the first when it names none."""
    by_number = {c.number: c for c in sentences}
    numbers = dict.fromkeys(int(n) for n in re.findall(r"\d+", reply))
    found = [by_number[n] for n in numbers if n in by_number][:MAX_CHOSEN] or list(sentences[:1])
    return sorted(found, key=lambda c: (c.passage.n, c.start))


def compose(found: Sequence[Candidate]) -> tuple[str, tuple[Citation, ...]]:
    """The answer in the documents' own words, and a citation for each sentence."""
    parts = [f"{' '.join(clean(c.text).split())} [{c.passage.n}]" for c in found]
    return "\n".join(parts), tuple(_citation(c) for c in found)


def _citation(c: Candidate) -> Citation:
    p = c.passage
    line = p.line + p.text.count("\n", 0, c.start)
    return Citation(p.n, p.source, p.page, line, p.start + c.start, p.start + c.end, c.text, SupportState.VERIFIED)


def _in_place(passage: Passage, a: int, b: int) -> str:
    """A sentence with what its place says of it."""
    place = passage.heading or passage.title
    return f"{place}\n{passage.text[a:b]}" if place else passage.text[a:b]


def _cut(text: str, embedder: Embedder) -> str:
    spans = embedder.token_spans(text)
    room = max(1, embedder.max_tokens - 4)
    return text if len(spans) <= room else text[: spans[room - 1][1]]
