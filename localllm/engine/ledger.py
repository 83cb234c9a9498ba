"""The regret ledger: what speculation may lose against plain decoding, and has lost.

The unit is a plain step, so that sums stay comparable when the machine's speed changes. There are two accounts:

- the *allowance* is what answers may lose. Every token adds `refill` to it, up to `most`, a few steps; an answer that
  lost pays from it, and one that gained fills it again. So n tokens in a row of which no answer gained do not lose more
  than

      refill * n + most

  with costs as estimated, whatever the drafters do and however much was gained before;
- the *balance* is everything that was gained and lost, plus a grant. It bears what is invested: reading a prompt with
  a draft model, which pays later in the answer or, where that is short, never.

Within an answer what it gained itself may be staked too. Two kinds of draft need no allowance, but the balance: those
of a model that is hardly ever wrong, as long as the answer has not lost one already; and of a copy as many tokens as
are accepted nine times of ten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SURE = 0.9
"""The first tokens of a copy, all of which are accepted with this chance, are hardly ever lost."""


@dataclass(slots=True)
class Ledger:
    """Two accounts, in plain steps."""

    share: float = 0.01
    """What a token adds to the balance."""
    refill: float = 0.003
    """What a token adds to the allowance."""
    most: float = math.inf
    grant: float = 12.0
    """The balance of a new ledger, once per machine and model."""
    cap: float = 64.0
    """The balance never exceeds this."""
    boldest: float = 14.0
    """What the draft of a trusted model may risk at most."""
    balance: float = math.nan
    """Not a number means: the grant."""
    allowance: float = math.inf
    lost: float = 0.0
    """Losses of all speculative steps, gains not counted, since this ledger was opened."""
    gained: float = 0.0
    tokens: int = 0
    """Tokens emitted, plain ones included."""
    begun: int = 0
    """`tokens` when this answer began."""
    answer: float = 0.0
    """What this answer gained so far, investments not counted; negative where it lost."""

    def __post_init__(self) -> None:
        if math.isnan(self.balance):
            self.balance = self.grant

    @property
    def net_loss(self) -> float:
        """Plain steps lost to speculation so far; negative where it gained."""
        return self.lost - self.gained

    @property
    def room(self) -> float:
        """What this answer may still lose."""
        return self.allowance + self.answer

    @property
    def sound(self) -> bool:
        """This answer has not lost more than its tokens earned and an allowance holds."""
        return self.answer + self.share * (self.tokens - self.begun) >= -self.most

    def begin(self, most: float) -> None:
        """A new answer starts: what the last one lost is taken from the allowance, what it gained fills it again.

        Args:
            most: The allowance never exceeds this.
        """
        self.most = most
        self.allowance = min(max(self.allowance + self.answer, 0.0), most)
        self.answer, self.begun = 0.0, self.tokens

    def allows(self, risk: float, investment: float = 0.0, trusted: bool = False, sure: float = 0.0) -> bool:
        """True where a step may be tried that loses `risk` plain steps at worst: half of what is there, never all.

        Args:
            risk: What it would lose.
            investment: What it takes beside, once, for the good of later steps; the allowance is not for that.
            trusted: Total failure is unheard of: up to `boldest` the balance alone has to bear it while the answer is
                `sound`.
            sure: Plain steps of the risk that are hardly ever lost; the balance alone has to bear them.
        """
        bold = trusted and risk <= self.boldest and self.sound
        return 2.0 * (risk + investment) <= self.balance and (bold or 2.0 * (risk - sure) <= self.room)

    def longest_copy(self, chances: Sequence[float], row: Sequence[float]) -> int:
        """Tokens of the longest draft that could be borne, when drafting was free.

        Args:
            chances: Of each token, that it is accepted when those before it are.
            row: Seconds of the target with k draft tokens at index k + 1.
        """
        sure, reach = 0, 1.0
        for chance in chances:
            reach *= chance
            if reach < _SURE:
                break
            sure += 1
        return self.longest_draft(len(chances), row, sure=sure)

    def longest_draft(
        self,
        k: int,
        row: Sequence[float],
        per_token: float = 0.0,
        drafting: float = 0.0,
        reading: float = 0.0,
        trusted: bool = False,
        sure: int = 0,
    ) -> int:
        """Tokens of the longest draft, of at most k, whose rejection as a whole could be borne.

        Args:
            k: Tokens.
            row: As for `longest_copy`.
            per_token: Seconds that drafting each token takes.
            drafting: Seconds that drafting took already.
            reading: Seconds that the drafter reads first, for the good of later drafts too.
            trusted: The drafter is hardly ever wrong.
            sure: The first tokens that are hardly ever rejected.
        """
        plain = row[1]
        while k:
            risk = (row[k + 1] + k * per_token + drafting) / plain - 1.0
            if self.allows(risk, reading / plain, trusted, min(sure, k)):
                break
            k -= 1
        return k

    def settle(self, tokens: int, worth: float, spent: float, invested: float = 0.0) -> None:
        """A step is over.

        Args:
            tokens: What it emitted.
            worth: What plain decoding would have taken for them, in plain steps.
            spent: What the step took, drafting included.
            invested: The part of it that was no loss of this step.
        """
        gain = worth - spent
        if gain < 0:
            self.lost -= gain
        else:
            self.gained += gain
        self.tokens += tokens
        self.balance = min(self.cap, self.balance + self.share * tokens + gain)
        self.allowance = min(self.most, self.allowance + self.refill * tokens)
        self.answer += gain + invested
