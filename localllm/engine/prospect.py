"""What a draft model promises before it drafts: the length to plan with, and the seconds that this would save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localllm.engine.acceptance import Acceptance
from localllm.engine.lengths import best_plan

_TRUSTED = 0.85
"""A draft model that is right at least so often needs no allowance: its drafts don't fail as a whole."""
_SURE = 1.5
"""Catching up has to promise so many times what it takes: an answer may end any time."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """A draft model at one place of an answer. Times are seconds.

    Args:
        row: Costs of the target, by batch size.
        per_token: What drafting a token costs.
        reading: What the draft model has to read first takes.
        to_beat: Tokens per second that are to be had without it now.
        ahead: Tokens that are still to come.
        pace: Plain steps per token of late, without it.
    """

    row: Sequence[float]
    per_token: float
    reading: float
    to_beat: float
    ahead: float
    pace: float

    def trusts(self, record: Acceptance, limit: int) -> bool:
        """Whether a draft of at most `limit` tokens is hardly ever wrong, or pays however bad the record allows it."""
        at_worst = record.at_worst()
        return at_worst > _TRUSTED or best_plan(at_worst, self.row, limit, self.per_token)[1] * self.row[1] > 1.0

    def plan(self, chance: float, bearable: int) -> tuple[int, float]:
        """The best length, and the seconds that drafting promises to save, reading paid.

        Args:
            chance: Of each draft token.
            bearable: The longest draft that may be lost; 0 for none.
        """
        if not bearable:
            return 0, 0.0
        row = self.row
        k, rate = best_plan(chance, row, bearable, self.per_token)
        step = (row[k + 1] + k * self.per_token) * (rate / self.to_beat - 1.0)
        rest = self.ahead * (min(self.pace * row[1], 1.0 / self.to_beat) - 1.0 / rate)
        return k, min(step, max(step, rest) - _SURE * self.reading)
