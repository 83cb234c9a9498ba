"""Answers for small models: the model chooses sentences by number, code prints them.

A grammar lets nothing but the numbers of existing sentences through, so that no word of the answer is invented,
however small the model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from localllm.engine.protocol import ConstraintSpec
from localllm.events import Citation, Passage, SupportState
from localllm.rag.alignment import aligned
from localllm.rag.nearness import MAX_SENTENCES, Nearness
from localllm.rag.prompting import clean
from localllm.rag.segment import without_opening_may
from localllm.rag.sentences import sentence_spans
from localllm.rag.stem import content_stems

MAX_CANDIDATES = 5
MAX_CHOSEN = 3
_WORTH = 0.8
"""A sentence with less than this share of the best one's score is not offered: small models choose what they see."""
_LONG = 300
"""Characters from which something of many lines is a table or a listing: each of its lines may be chosen."""
_TITLE_WORDS, _TITLE_CHARS = 8, 60
_HEADING = re.compile(r"#{1,6}\s[^\n]*(?:\n\s*|$)")
_BULLET = re.compile(r"(?:[-*•]|\d{1,3}[.)])\s+")
_WORD = re.compile(r"\w+")
_PARTS = re.compile(
    r"(?:[,;?]\s*|\s+)(?:and|or)\s+(?=(?:what|which|who|whom|whose|when|where|why|how)\b)|[?;]\s+(?=\w)", re.IGNORECASE
)
"""Where a question goes on to ask something else."""
_SAYS = re.compile(r"""[.!?…:;。！？।|=(){}]|\d""")
"""What a line has that is no title."""

SYSTEM = "You choose the sentences that answer a question. You reply with sentence numbers only."


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that may be chosen."""

    number: int
    """From 1, by relevance."""
    passage: Passage
    """As the model may read it."""
    start: int
    end: int
    """Span in the passage's text."""
    score: float
    original: Passage
    """As it stands in the document; the same as `passage` where no guard changed it."""

    @property
    def text(self) -> str:
        """The document's own words, without what a guard took out."""
        return self.passage.text[self.start : self.end]


def candidates(
    question: str,
    passages: Sequence[Passage],
    nearness: Nearness | None = None,
    limit: int = MAX_CANDIDATES,
    originals: Mapping[int, Passage] | None = None,
) -> list[Candidate]:
    """The sentences of the passages that have most to do with the question, best first.

    Half of what counts is the meaning (the cosine of question and sentence under its title), the rest the share of the
    question's words, weighed by rarity, and the rank of the passage. Titles are no sentences, and neither is what says
    nothing that a better one doesn't say. A question in several parts gets the best sentence of each.

    Args:
        question: As the user asked it.
        passages: Where sentences are taken from.
        nearness: Compares by meaning too; None compares words alone.
        limit: Sentences at most.
        originals: The passages by number as they stand in the documents, where a guard changed them.
    """
    spots = [(p, a, b) for p in passages for a, b in _sentences(p.text)]
    if not spots:
        spots = [(p, a, b) for p in passages for a, b in sentence_spans(p.text)]
    wanted = set(content_stems(without_opening_may(question)))
    stems = [set(content_stems(p.text[a:b])) for p, a, b in spots]
    weight = {w: math.log(1 + len(spots) / (1 + sum(w in s for s in stems))) for w in wanted}
    total = sum(weight.values()) or 1.0
    titles = {p.n: set(content_stems(f"{p.title} {p.heading}")) for p in passages}
    here = [s | titles[p.n] if s & wanted else s for s, (p, _, _) in zip(stems, spots, strict=True)]
    words = [sum(weight[w] for w in wanted & s) / total for s in here]
    scores = [0.8 * w + 0.2 * p.score for w, (p, _, _) in zip(words, spots, strict=True)]
    if nearness is not None and spots:
        first = sorted(range(len(spots)), key=lambda i: -scores[i])[:MAX_SENTENCES]
        close = nearness.cosines([_in_place(*spots[i]) for i in first])
        scores = [-1.0] * len(spots)
        for i, c in zip(first, close, strict=True):
            scores[i] = 0.5 * c + 0.3 * words[i] + 0.2 * spots[i][0].score
    ranked = _saying_more(
        sorted(range(len(spots)), key=lambda i: (-scores[i], i)), [p.text[a:b] for p, a, b in spots], limit
    )
    best = [i for i in ranked if scores[i] >= _WORTH * scores[ranked[0]]]
    for part in _PARTS.split(question)[1:]:
        # "... and which part is it?" asks for a sentence that has little to do with the question before it.
        asked = wanted & set(content_stems(part))
        shares = [sum(weight[w] for w in asked & s) for s in stems]
        other = max(range(len(spots)), key=lambda i: (shares[i], scores[i]), default=None)
        if other is not None and other not in best and 2 * shares[other] >= sum(weight[w] for w in asked) > 0:
            best.append(other)
    return [
        Candidate(n, *spots[i], scores[i], (originals or {}).get(spots[i][0].n, spots[i][0]))
        for n, i in enumerate(best, 1)
    ]


def _saying_more(ranked: Sequence[int], sentences: Sequence[str], limit: int) -> list[int]:
    """The first `limit` that have a word which no better one has: a report may lie there as Word file and as PDF."""
    kept: dict[int, set[str]] = {}
    for i in ranked:
        if len(kept) == limit:
            break
        words = set(_WORD.findall(sentences[i].lower()))
        if not any(words <= others for others in kept.values()):
            kept[i] = words
    return list(kept)


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    """Spans of what can answer a question: no headings, no bullets before it, long tables by line."""
    for start, end in sentence_spans(text):
        parts = [(start, end)]
        if end - start > _LONG and text.count("\n", start, end) >= 2:
            parts = [(start + m.start(), start + m.end()) for m in re.finditer(r"[^\n]+", text[start:end])]
        for a, b in parts:
            while heading := _HEADING.match(text, a, b):
                a = heading.end()
            bullet = _BULLET.match(text, a, b)
            if bullet:
                a = bullet.end()
            said = text[a:b]
            titled = not bullet and len(said.split()) <= _TITLE_WORDS and len(said) < _TITLE_CHARS
            if content_stems(said) and not (titled and "\n" not in said and not _SAYS.search(said)):
                yield a, b


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
    more = min(MAX_CHOSEN, len(sentences)) - 1
    return ConstraintSpec("regex", f"{number}(, {number}){{0,{more}}}" if more else number)


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
    p = c.original
    start, end = aligned(p.text, c.passage.text)(c.start, c.end)
    return Citation.of(p, start, end, SupportState.VERIFIED)


def _in_place(passage: Passage, a: int, b: int) -> str:
    """A sentence with what its place says of it."""
    place = passage.heading or passage.title
    return f"{place}\n{passage.text[a:b]}" if place else passage.text[a:b]
