"""How often a drafter is right when it says how sure it is: its own probabilities, calibrated online."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

EDGES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
"""Upper bounds of the groups of confidence; the last group is all above."""

_WINDOW = 256.0
"""Trials that a group remembers: older ones fade."""
_FADE = 0.993
"""What is left of a trial in the overall record after the next one."""
_QUICK = 0.92
"""The same in the short record that notices when a text stops being easy."""
_RECOVERY = 0.1
"""How much of a setback each token makes good that was right after all."""
_PRIOR, _EVEN_PRIOR = 2.0, 6.0
"""Trials that the prior is worth: the stated confidence, and the rate of all."""


class Acceptance:
    """One drafter's record: hits and trials per group of confidence, and lately overall.

    A trial is a proposed token whose predecessors were all accepted, and for which the target's own token is known.

    Args:
        trust: Prior share of a drafter's stated confidence that is believed, 0 to 1.
    """

    def __init__(self, trust: float = 0.9) -> None:
        self.trust = trust
        self.even = False
        """What is not known of a confidence yet is taken from all: of tokens drawn as the target draws them, unlikely
        ones are nearly as often right as likely ones."""
        self.counted = False
        """A confidence is itself a count of how often such tokens were right: there is nothing to be corrected."""
        self._hits = [0.0] * (len(EDGES) + 1)
        self._trials = [0.0] * (len(EDGES) + 1)
        self._lately = 0.0
        self._weight = 0.0
        self._expected = self._recent_hits = self._recent = 0.0

    @property
    def trials(self) -> float:
        """Trials remembered, all groups together."""
        return sum(self._trials)

    def calibrated(self, confidences: Sequence[float], wary: bool = False) -> list[float]:
        """The chance that each token is accepted, given that all before it are.

        Where the last dozen trials went worse than the long record explains, all chances are lowered; `wary` does so
        at the first sign, otherwise two standard deviations are chance.
        """
        lately = self.lately() if self.even else 0.0
        setback, recovery = self._setback(0.0 if wary else 2.0), _RECOVERY if wary else 0.0
        out: list[float] = []
        for c in confidences:
            out.append(setback * self._believed(c, lately))
            setback += recovery * (1.0 - setback)
        return out

    def _believed(self, confidence: float, lately: float) -> float:
        if self.counted:
            return confidence
        g = bisect_right(EDGES, confidence)
        weight, expected = (_EVEN_PRIOR, lately) if self.even else (_PRIOR, self.trust * confidence)
        return (self._hits[g] + weight * expected) / (self._trials[g] + weight)

    def _setback(self, deviations: float) -> float:
        expected, n = self._expected, self._recent
        spread = deviations * math.sqrt(max(expected * (1.0 - expected / n), 0.0) + 0.25) if n > 0 else 1.0
        return 1.0 if self._recent_hits >= expected - spread else (self._recent_hits + 1.0) / (expected + 1.0)

    def lately(self) -> float:
        """Chance that the next drafted token is accepted, from trials of any confidence.

        The last hundred or so trials speak, or the last dozen where those differ by more than chance explains.
        """
        prior = 0.75 * self.trust
        mean = (self._lately + prior) / (self._weight + 1.0)
        n = self._recent
        if n > 3 and abs(self._recent_hits - n * mean) > 2.5 * math.sqrt(n * mean * (1.0 - mean) + 0.25):
            return (self._recent_hits + mean) / (n + 1.0)
        return mean

    def at_best(self) -> float:
        """`lately`, as high as the few trials allow: about one standard error above, and more where there are few."""
        mean, n = self.lately(), self._weight + 1.0
        return min(mean + math.sqrt(mean * (1.0 - mean) / n) + 0.5 / n, 1.0)

    def at_worst(self) -> float:
        """`lately`, two standard errors lower."""
        mean, n = self.lately(), self._weight + 1.0
        return mean - 2.0 * math.sqrt(mean * (1.0 - mean) / n) - 1.0 / n

    def turn_the_page(self) -> None:
        """Another text begins: how the last dozen trials went says nothing about it."""
        self._expected = self._recent_hits = self._recent = 0.0

    def observe(self, confidence: float, hit: bool) -> None:
        """One trial."""
        g = bisect_right(EDGES, confidence)
        believed = self._believed(confidence, self.lately() if self.even else 0.0)
        self._expected = self._expected * _QUICK + believed
        self._recent_hits = self._recent_hits * _QUICK + hit
        self._recent = self._recent * _QUICK + 1.0
        if self._trials[g] >= _WINDOW:
            self._hits[g] *= 0.5
            self._trials[g] *= 0.5
        self._trials[g] += 1.0
        self._hits[g] += hit
        self._lately = self._lately * _FADE + hit
        self._weight = self._weight * _FADE + 1.0

    def start_from(self, other: Acceptance, share: float = 0.8, trials: float = 12.0) -> None:
        """Take over another record as a first guess.

        Args:
            other: Of the same drafter where it is right more often.
            share: Of its hits that are expected here.
            trials: What the guess is worth at most, per group and overall.
        """
        for g, (h, t) in enumerate(zip(other._hits, other._trials, strict=True)):
            self._trials[g] = min(t, trials)
            self._hits[g] = share * h * self._trials[g] / t if t else 0.0
        self._weight = min(other._weight, trials)
        self._lately = share * other._lately * self._weight / other._weight if other._weight else 0.0

    def start_evenly(self, rate: float, trials: float = 12.0) -> None:
        """Begin with one rate for all confidences.

        Args:
            rate: Of hits, expected.
            trials: What the guess is worth.
        """
        self._weight, self._lately = trials, trials * rate

    def to_json(self) -> dict[str, Any]:
        """The record as plain data."""
        return {"hits": self._hits, "trials": self._trials, "lately": self._lately, "weight": self._weight}

    @classmethod
    def from_json(cls, data: dict[str, Any], trust: float = 0.9) -> Acceptance:
        """The record from `to_json`.

        Raises:
            ValueError: The data can't be such a record.
        """
        record = cls(trust)
        try:
            hits = [float(x) for x in data["hits"]]
            trials = [float(x) for x in data["trials"]]
            lately, weight = float(data["lately"]), float(data["weight"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an acceptance record: {error}") from error
        numbers = [*hits, *trials, lately, weight]
        if len(hits) != len(EDGES) + 1 or len(trials) != len(hits) or not all(map(math.isfinite, numbers)):
            raise ValueError("not an acceptance record: wrong length or no numbers")
        if any(not 0 <= h <= t <= _WINDOW + 1 for h, t in zip(hits, trials, strict=True)) or not 0 <= lately <= weight:
            raise ValueError("not an acceptance record: more hits than trials")
        record._hits, record._trials, record._lately, record._weight = hits, trials, lately, weight
        return record
