"""What an answer says, checked against the passages it was made from.

Code does the attribution, whatever the model claims: marks of passages that do not exist are dropped, sentences without
a mark get the passage that supports them, and sentences that no passage supports are marked. A sentence is supported
when most of its content words stand together in one passage and every number, date and name of it does. Words between
quotation marks must be found in a passage literally (see `rag.quotes`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localllm.events import Citation, Passage, Span, SupportState
from localllm.rag.quotes import QuoteMatch, find_quote, quotes_in
from localllm.rag.segment import STOP_WORDS
from localllm.rag.sentences import embeddable, sentence_spans
from localllm.rag.stem import content_stems, stem

if TYPE_CHECKING:
    from localllm.engine.protocol import Embedder

VERIFIED_SHARE = 0.8
"""Share of a sentence's content words in one place of a passage from which it is verified."""
NEAR_SHARE = 0.5
"""The same for a near match; below it a sentence is unsupported."""
NEAR_COSINE = 0.75
"""Cosine of a sentence and a source sentence that makes a near match of a paraphrase with fewer words in common."""
_MARK = re.compile(r"\s?\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_NAME = re.compile(r"\b[^\W\d_a-z][\w’'-]*(?:\s+[^\W\d_a-z][\w’'-]*)*")
_NO_NAMES = STOP_WORDS | {"mr", "mrs", "ms", "dr", "prof", "sir", "yes", "answer", "passage", "passages"}
_NUMBER_WORDS = {
    w: str(n)
    for n, w in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
}


@dataclass(frozen=True, slots=True)
class QuoteCheck:
    """A quotation in an answer, and where it stands."""

    span: Span
    """In the answer, without the quotation marks."""
    n: int | None
    """Number of the passage; None when it was not found."""
    match: QuoteMatch


@dataclass(frozen=True, slots=True)
class Grounding:
    """An answer after the check."""

    text: str
    """With marks that can be followed: false ones dropped, missing ones added."""
    citations: tuple[Citation, ...]
    """One for each mark in `text`, in order."""
    unsupported: tuple[Span, ...]
    """Sentences, numbers, names and quotations in `text` that no passage supports."""
    quotes: tuple[QuoteCheck, ...] = ()
    n_sentences: int = 0
    """Sentences that claim something."""
    n_supported: int = 0
    dropped_marks: int = 0
    """Marks of passages that do not exist."""

    @property
    def supported(self) -> bool:
        """Whether any sentence stands on a passage; where none does, the answer is not in the documents."""
        return self.n_supported > 0


@dataclass(frozen=True, slots=True)
class Support:
    """The best place for one sentence."""

    passage: Passage
    start: int
    end: int
    """Span in the passage's own text."""
    state: SupportState
    share: float
    """Of the content words found there, 0 to 1."""
    missing: tuple[str, ...] = ()
    """Numbers and names that the passage lacks."""


def check(
    answer: str, passages: Sequence[Passage], *, question: str = "", embedder: Embedder | None = None
) -> Grounding:
    """Check an answer.

    Args:
        answer: As the model wrote it, with marks such as ``[2]``.
        passages: What it was made from; `Passage.n` are the numbers that exist.
        question: Names and numbers of the question are known, not claimed.
        embedder: Recognises paraphrases; without one only words count.
    """
    by_n = {p.n: p for p in passages}
    sources = {p.n: _Source(p) for p in passages}
    out: list[str] = []
    citations: list[Citation] = []
    unsupported: list[Span] = []
    n_sentences = n_supported = dropped = length = at = 0
    for a, b in sentence_spans(answer):
        gap = answer[at:a]
        at = b
        raw = answer[a:b]
        marks = [int(n) for m in _MARK.finditer(raw) for n in re.findall(r"\d+", m[1])]
        valid = list(dict.fromkeys(n for n in marks if n in by_n))
        dropped += len(marks) - sum(n in by_n for n in marks)
        said = _MARK.sub("", raw).strip()
        out.append(gap)
        length += len(gap)
        if not content_stems(said):
            out.append(said)
            length += len(said)
            continue
        n_sentences += 1
        cited = [
            s for n in valid if (s := support(said, sources[n], question, embedder)).state != SupportState.NOT_FOUND
        ]
        if not cited:
            others = [support(said, s, question, embedder) for s in sources.values()]
            found = max(others, key=_rank, default=None)
            if found is not None and found.state != SupportState.NOT_FOUND:
                cited = [found]
        start = length
        if cited:
            n_supported += 1
            text = _with_marks(said, [s.passage.n for s in cited])
            citations += [_citation(s) for s in cited]
            missing = set.intersection(*(set(s.missing) for s in cited))
        else:
            # The marks stay, so that the reader sees what was claimed; each of them is reported as not found.
            text = _with_marks(said, valid)
            citations += [_citation(support(said, sources[n], question, embedder)) for n in valid]
            unsupported.append(Span(start, start + len(said)))
            missing = set()
        for fact in sorted(missing):
            i = said.find(fact)
            if i >= 0:
                unsupported.append(Span(start + i, start + i + len(fact)))
        out.append(text)
        length += len(text)
    text = "".join(out)
    quotes = tuple(_check_quote(text, span, passages) for span in quotes_in(text))
    unsupported += [q.span for q in quotes if q.n is None and not _inside(q.span, unsupported)]
    unsupported.sort(key=lambda s: (s.start, s.end))
    return Grounding(text, tuple(citations), tuple(unsupported), quotes, n_sentences, n_supported, dropped)


def quote_remarks(found: Grounding) -> list[str]:
    """What the reader should know of quotations that do not stand in the passages as they are quoted."""
    remarks = []
    for quote in found.quotes:
        text = " ".join(found.text[quote.span.start : quote.span.end].split())
        if quote.n is None:
            remarks.append(f"The quote “{text}” stands in no passage.")
        elif quote.match.state == SupportState.NEAR:
            remarks.append(f"A quote differs from passage {quote.n}, [-quoted-]{{+there+}}: “{quote.match.diff}”.")
    return remarks


class _Source:
    """A passage, cut into sentences once."""

    def __init__(self, passage: Passage) -> None:
        self.passage = passage
        self.spans = sentence_spans(passage.text) or [(0, len(passage.text))]
        self.stems = [frozenset(content_stems(passage.text[a:b])) for a, b in self.spans]
        around = f"{passage.title} {passage.heading}"
        self.around = frozenset(content_stems(around))
        self.facts = _known(f"{around} {passage.text}")
        self._vectors: object = None

    def cosines(self, sentence: str, embedder: Embedder) -> list[float]:
        """Cosine of a sentence with each sentence here."""
        import numpy as np

        if self._vectors is None:
            texts = [embeddable(self.passage.text[a:b], embedder) for a, b in self.spans]
            self._vectors = embedder.embed(texts)
        query = embedder.embed([embeddable(sentence, embedder)])[0]
        return [float(x) for x in np.asarray(self._vectors) @ query]


def support(sentence: str, source: _Source | Passage, question: str = "", embedder: Embedder | None = None) -> Support:
    """How well a passage supports a sentence, and where."""
    if isinstance(source, Passage):
        source = _Source(source)
    wanted = set(content_stems(sentence))
    shares = [_share(wanted, here, source.around) for here in source.stems]
    best = max(range(len(shares)), key=lambda i: shares[i])
    first = last = best
    share = shares[best]
    for i in (best - 1, best + 1):  # a sentence may draw on two neighbours
        if 0 <= i < len(shares):
            both = _share(wanted, source.stems[best] | source.stems[i], source.around)
            if both > share + 0.1:
                first, last, share = min(best, i), max(best, i), both
    missing = tuple(f for f in facts_in(sentence) if not _has(f, source.facts) and not _has(f, _known(question)))
    numbers = [f for f in missing if f[0].isdigit()]
    if share < NEAR_SHARE and embedder is not None and not missing:
        cosines = source.cosines(sentence, embedder)
        close = max(range(len(cosines)), key=lambda i: cosines[i])
        if cosines[close] >= NEAR_COSINE:
            a, b = source.spans[close]
            return Support(source.passage, a, b, SupportState.NEAR, share)
    if share >= VERIFIED_SHARE and not missing:
        state = SupportState.VERIFIED
    elif share >= NEAR_SHARE and not numbers:
        state = SupportState.NEAR
    else:
        state = SupportState.NOT_FOUND
    return Support(source.passage, source.spans[first][0], source.spans[last][1], state, share, missing)


def facts_in(sentence: str) -> list[str]:
    """Numbers, dates and names that a sentence claims, as they are written."""
    facts = [m[0] for m in _NUMBER.finditer(sentence)]
    for match in _NAME.finditer(sentence):
        words = match[0].split()
        if match.start() == _first_letter(sentence):
            words = words[1:]  # any word is capitalised there
        while words and words[0].lower() in STOP_WORDS:
            words = words[1:]
        facts += [w.removesuffix("'s").removesuffix("’s") for w in words if w.lower() not in _NO_NAMES]
    return list(dict.fromkeys(f for f in facts if len(f) > 1 or f.isdigit()))


def _known(text: str) -> frozenset[str]:
    """Every number and stem of a text, for looking facts up."""
    found = {_plain_number(m[0]) for m in _NUMBER.finditer(text)}
    for word in re.findall(r"[^\W_]+(?:[’'-][^\W_]+)*", text.lower()):
        for part in (word, *re.split(r"[’'-]", word)):
            found.add(stem(part))
            if part in _NUMBER_WORDS:
                found.add(_NUMBER_WORDS[part])
    return frozenset(found)


def _has(fact: str, known: frozenset[str]) -> bool:
    if fact[0].isdigit():
        return _plain_number(fact) in known
    return stem(fact.lower()) in known or all(stem(p) in known for p in re.split(r"[’'-]", fact.lower()) if p)


def _plain_number(text: str) -> str:
    """``1,000`` and ``1000`` are one number."""
    return re.sub(r",(?=\d{3}(?:\D|$))", "", text)


def _share(wanted: set[str], here: frozenset[str], around: frozenset[str]) -> float:
    """Words found; those that only the title has count, as long as the sentence itself has some."""
    if not wanted:
        return 0.0
    inside = wanted & here
    return len(inside | (wanted & around if inside else set())) / len(wanted)


def _rank(found: Support) -> tuple[bool, int, float, float]:
    order = (SupportState.NOT_FOUND, SupportState.NEAR, SupportState.VERIFIED)
    return (not found.missing, order.index(found.state), found.share, found.passage.score)


def _first_letter(sentence: str) -> int:
    match = re.search(r"\w", sentence)
    return match.start() if match else 0


def _with_marks(sentence: str, numbers: Sequence[int]) -> str:
    """Marks before the full stop: ``... hours [1].``"""
    if not numbers:
        return sentence
    marks = " " + "".join(f"[{n}]" for n in numbers)
    body = sentence.rstrip(".!?。！？")
    return body + marks + sentence[len(body) :]


def _citation(found: Support) -> Citation:
    return Citation.of(found.passage, found.start, found.end, found.state)


def _check_quote(text: str, span: tuple[int, int], passages: Sequence[Passage]) -> QuoteCheck:
    quote = _MARK.sub("", text[span[0] : span[1]])
    best = QuoteCheck(Span(*span), None, QuoteMatch(SupportState.NOT_FOUND))
    for passage in passages:
        match = find_quote(quote, passage.text)
        if match.state == SupportState.VERIFIED:
            return QuoteCheck(Span(*span), passage.n, match)
        if match.state == SupportState.NEAR and match.ratio > best.match.ratio:
            best = QuoteCheck(Span(*span), passage.n, match)
    return best


def _inside(span: Span, others: Sequence[Span]) -> bool:
    return any(o.start <= span.start and span.end <= o.end for o in others)
