"""The regret ledger: what speculation may lose against plain decoding, and has lost.

The unit is a plain step, so that balances stay comparable when the machine's speed changes. Plain decoding earns
`share` per token; a speculative step is paid what it produced and charged what it took. A step is allowed only if even
its total failure would cost no more than half the balance; reading the prompt with a draft model counts like that too.
Hence, with costs as estimated,

    total loss <= share * tokens + the grant at the start

whatever the drafters do, and gains can be gambled away only up to `cap`. That is a bound over many answers. Within one
answer only its own gains and an allowance may be staked, so that what a copy gained is not lost on the story after it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Ledger:
    """A balance in plain steps."""

    share: float = 0.01
    grant: float = 16.0
    """The balance of a new ledger: a few steps, once per machine and model, to find out what is worth doing."""
    cap: float = 64.0
    balance: float = math.nan
    """Not a number means: the grant."""
    lost: float = 0.0
    """Losses of all speculative steps, gains not counted, since this ledger was opened."""
    gained: float = 0.0
    tokens: int = 0
    """Tokens emitted, plain ones included."""
    room: float = math.inf
    """What is left to stake in this answer."""

    def __post_init__(self) -> None:
        if math.isnan(self.balance):
            self.balance = self.grant

    @property
    def net_loss(self) -> float:
        """Plain steps lost to speculation so far; negative where it gained."""
        return self.lost - self.gained

    def begin(self, allowance: float) -> None:
        """A new answer starts: of the balance it may stake so much before it has gained anything itself."""
        self.room = min(max(self.balance, 0.0), allowance)

    def allows(self, risk: float, investment: float = 0.0, trusted: bool = False) -> bool:
        """True where a step that loses `risk` plain steps at worst may be tried: half the balance, never all of it.

        Args:
            risk: What it would lose.
            investment: What it takes beside, once, for the good of later steps; the answer's allowance is not for that.
            trusted: Total failure is unheard of: the balance alone has to bear it.
        """
        return 2.0 * (risk + investment) <= self.balance and (trusted or 2.0 * risk <= self.room)

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
        self.room = min(self.cap, self.room + self.share * tokens + gain + invested)
