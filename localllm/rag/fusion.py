"""Two rankings into one.

Scores of the keyword and the vector side are stretched to 0..1 over the union of what both found, and averaged (a
convex combination). Where one side found next to nothing its scores mean little, and ranks are fused instead
(reciprocal rank fusion).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

WEIGHT = 0.5
"""Of the vector side; the even split, not tuned to any collection."""
FEW = 5
"""A side with fewer hits than this is fused by ranks."""
_RRF_K = 60


def fuse(keyword: Mapping[int, float], cosine: Mapping[int, float], *, by_rank: bool) -> dict[int, float]:
    """Fused relevance, 0 to 1, of every id on either side.

    Args:
        keyword: BM25 of the ids that the keyword side found, larger is better.
        cosine: Cosines; ids of the keyword side should be here too with their true cosine. nan counts as the lowest.
        by_rank: Fuse ranks instead of scores.
    """
    if by_rank:
        scores: dict[int, float] = {}
        for side in (keyword, cosine):
            for rank, i in enumerate(_ranked(side), 1):
                scores[i] = scores.get(i, 0.0) + _RRF_K / 2 / (_RRF_K + rank)
        return scores
    ids = keyword.keys() | cosine.keys()
    left = stretch({i: keyword.get(i, 0.0) for i in ids})
    right = stretch({i: cosine.get(i, math.nan) for i in ids})
    return {i: (1 - WEIGHT) * left[i] + WEIGHT * right[i] for i in ids}


def stretch(scores: Mapping[int, float]) -> dict[int, float]:
    """Scores moved to 0..1 by their smallest and largest; equal scores become 1, nan becomes 0."""
    known = [s for s in scores.values() if not math.isnan(s)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    if high <= low:
        return {i: 0.0 if math.isnan(s) else 1.0 for i, s in scores.items()}
    return {i: 0.0 if math.isnan(s) else (s - low) / (high - low) for i, s in scores.items()}


def _ranked(scores: Mapping[int, float]) -> Sequence[int]:
    known = [i for i, s in scores.items() if not math.isnan(s)]
    return sorted(known, key=lambda i: (-scores[i], i))
