"""When a question is turned away before anything is generated: "not in your documents".

What counts is how near the nearest passage is: the cosine of it or of its nearest sentence, and the share of the
question's words that one passage covers, weighed by rarity; their mean tells answerable questions from others better
than either. Without an embedder the share stands alone. Thresholds belong to one embedder, and a library may hold its
own, learned by ``docs eval`` from the user's questions.

The more passages there are, the nearer the nearest is by chance. So the built-in thresholds hold for a library as large
as the one they were learned in; in smaller ones less is enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from localllm.rag.search import SearchResult

if TYPE_CHECKING:
    from localllm.rag.index import Library

DEFAULT_COVERAGE = 0.50
"""Without an embedder: turned away below this share of the question's words."""
DEFAULT_FALSE_REFUSALS = 0.10
"""Share of answerable questions that calibration lets be turned away at most."""
BY_NAME = {"all-minilm-l6-v2": (0.55, 0.70)}
"""Relevance and sure cosine by a part of the embedder's name, learned as docs/answers.md says."""
LEARNED_IN = 240
"""Passages of the library that they were learned in."""
_LEAST_SHARE = 0.5
"""Of a threshold that is asked in the smallest libraries."""
UNKNOWN = (0.0, 2.0)
"""By other embedders nothing is turned away until `docs eval` has learned a threshold."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Below them a question is turned away."""

    relevance: float
    """Mean of cosine and coverage; used with an embedder."""
    coverage: float = DEFAULT_COVERAGE
    """Used without one."""
    sure: float = 2.0
    """A cosine from which a question is never turned away, whatever its words: a paraphrase may share none."""

    def refuses(self, found: SearchResult) -> bool:
        """Whether the passages say too little that a search found in the mode that the question is answered in."""
        if not found.hits:
            return True
        if found.best_cosine is not None:
            return found.best_cosine < self.sure and relevance(found) < self.relevance
        return found.best_coverage < self.coverage


def relevance(found: SearchResult) -> float:
    """How near the nearest passage is: mean of cosine and coverage, or the coverage alone without an embedder."""
    if found.best_cosine is None:
        return found.best_coverage
    return (found.best_cosine + found.best_coverage) / 2


def thresholds_of(library: Library) -> Thresholds:
    """The library's own thresholds where it has any for its active embedder, else the built-in ones for its size."""
    active, share = library.active_model, share_for(library.count_chunks())
    own = library.get("thresholds", {})
    if not isinstance(own, dict):
        own = {}
    coverage = float(own.get("coverage", DEFAULT_COVERAGE * share))
    if active is None:
        return Thresholds(UNKNOWN[0], coverage, UNKNOWN[1])
    name = active.name.lower()
    built_in, sure = next((values for part, values in BY_NAME.items() if part in name), UNKNOWN)
    return Thresholds(float(own.get(active.fingerprint, built_in * share)), coverage, sure * share)


def share_for(n_passages: int) -> float:
    """Share of the built-in thresholds that a library of this size asks for: grows with the log of its passages."""
    return min(1.0, max(_LEAST_SHARE, math.log1p(n_passages) / math.log1p(LEARNED_IN)))


def keep_thresholds(library: Library, *, relevance: float | None = None, coverage: float | None = None) -> None:
    """Store thresholds with the library, the relevance under the fingerprint of its active embedder."""
    own = dict(library.get("thresholds", {}) or {})
    active = library.active_model
    if relevance is not None and active is not None:
        own[active.fingerprint] = relevance
    if coverage is not None:
        own["coverage"] = coverage
    library.put("thresholds", own)


def calibrate(
    answerable: Sequence[float], unanswerable: Sequence[float], false_refusals: float = DEFAULT_FALSE_REFUSALS
) -> float:
    """The threshold that turns away most unanswerable questions at no more than this share of answerable ones.

    Args:
        answerable: Best score of each question that the documents answer.
        unanswerable: The same of questions that they do not answer; may be empty.
        false_refusals: Share of `answerable` below the threshold at most.

    Returns:
        0 when there are no answerable questions.
    """
    if not answerable:
        return 0.0
    ordered = sorted(answerable)
    highest = ordered[int(false_refusals * len(ordered))]
    below = [s for s in unanswerable if s < highest]
    # Between the last score that may be turned away and the first that may not: the middle is the safest cut.
    lower = max((s for s in [*ordered, *below] if s < highest), default=highest)
    return (lower + highest) / 2
