"""Drafting: what the decode loop knows of speculation. Tokens are proposed, and it is decided how many and by whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from localllm.events import Speculation


class Drafter(Protocol):
    """Proposes tokens that the target is likely to produce. It can never change the text."""

    @property
    def name(self) -> str:
        """Shown in stats: ``ngram``, or the draft model's name."""
        ...

    def begin(self, prompt: Sequence[int]) -> None:
        """A new answer starts behind this prompt."""
        ...

    def propose(self, context: Sequence[int], k: int) -> list[int]:
        """At most `k` tokens that may follow `context` (prompt and answer so far)."""
        ...

    def confidence(self) -> Sequence[float]:
        """For the last proposal: the drafter's own probability of each token, 0 to 1."""
        ...

    def observe(self, accepted: Sequence[int], n_drafted_accepted: int) -> None:
        """These tokens were emitted; the first `n_drafted_accepted` of them had been proposed."""
        ...

    def close(self) -> None:
        """Release what the drafter holds."""
        ...


class Draws(Protocol):
    """The target's own draws of tokens to come, made before: its settings, and the random numbers that it will use."""

    def draw(self, logits: NDArray[np.float32]) -> int:
        """The next draw, from these logits, which stay as they are."""
        ...

    @property
    def chance(self) -> float:
        """The probability that the last draw had of its outcome, 0 to 1."""
        ...

    def close(self) -> None:
        """Free them."""
        ...


DrawsAhead = Callable[[int], Draws]
"""The draws of the tokens behind the next n."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens to be verified in one step of the decode loop."""

    tokens: Sequence[int] = ()
    drafter: str | None = None
    """Name of the drafter that proposed them."""


class Controller(Protocol):
    """Decides in every step how many tokens to draft, zero included, and which drafter to ask.

    The decode loop calls `begin` once per answer, then in every step `choose` before the evaluation of the target and
    `observe` after it. `engine.speculate.make_controller` makes the real one.
    """

    def begin(
        self, prompt: Sequence[int], corpus: Sequence[Sequence[int]] = (), draws: DrawsAhead | None = None
    ) -> None:
        """A new answer starts behind this prompt; `corpus` holds token ids of texts that it may copy from.

        `draws` are those of its tokens, to be asked in `choose`; None where the likeliest ones are taken.
        """
        ...

    def choose(self, context: Sequence[int], limit: int, legal: Callable[[Sequence[int]], int] | None = None) -> Draft:
        """The draft of this step: at most `limit` tokens that may follow `context`, or none for a plain step.

        `context` is the prompt and the answer so far, the token that is evaluated next included. It is the loop's own
        list: it may be read until `observe`, never changed. `legal` says how many tokens of a draft a constraint lets
        pass; the draft that is returned has no others.
        """
        ...

    def observe(self, emitted: Sequence[int], accepted: int, drafted: int, batch: int, seconds: float) -> None:
        """The step is over.

        Args:
            emitted: The tokens that the target decided on: the accepted ones first, then its own. Tokens that a
                constraint forces are in the context of the next `choose`, never here.
            accepted: How many of the `drafted` tokens the target agreed with.
            drafted: Tokens of the draft that were sent to the target.
            batch: Tokens that the target evaluated in this step.
            seconds: Wall time of that evaluation alone.
        """
        ...

    def plain_seconds(self, n_past: int) -> float:
        """Expected wall time of a step that evaluates one token, 0.0 while nothing is known."""
        ...

    def report(self) -> Speculation:
        """What happened since `begin`; the loop takes the speedup from it."""
        ...

    def close(self) -> None:
        """Release the drafters."""
        ...
