"""Sources of drafts as the controller sees them: a drafter, its record, and when to try it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from localllm.engine.acceptance import Acceptance
from localllm.engine.drafting import Drafter, DrawsAhead

_FIRST_PROBE, _LAST_PROBE = 32, 4096
"""Tokens between probes, at least and at most."""
_DOUBT = 0.5
"""In an answer that has not copied yet a match is doubted more than in an average one by that share of its doubt."""
_CERTAIN = 0.985
"""Matches of this confidence are dozens of tokens long, which is no chance."""
_DRAWN_ALIKE = 0.8
"""Where two models find the same token likeliest, they are taken to draw the same one that often, at first."""
_PATIENCE = 1.2
"""Tokens that should have been right before that doubt weighs as much as what was seen."""
_FADE = 0.97
"""Per proposal: how fast it is forgotten whether the answer copies."""


@runtime_checkable
class StepwiseDrafter(Drafter, Protocol):
    """A drafter whose tokens cost time, so that it is asked for one after the other."""

    @property
    def evaluated(self) -> int:
        """Tokens that the last proposal really cost; what was left over from an earlier draft costs nothing."""
        ...

    def lag(self, context: Sequence[int]) -> int:
        """Tokens of `context` that it would have to read first."""
        ...

    def propose_while(self, context: Sequence[int], k: int, go_on: Callable[[Sequence[float]], bool]) -> list[int]:
        """At most `k` tokens, as long as `go_on` (given the confidences so far) says so; it always drafts one."""
        ...


@runtime_checkable
class DrawingDrafter(Protocol):
    """A drafter that can draw as the target does, so that both agree also where the likeliest is not drawn."""

    def draw_with(self, draws: DrawsAhead | None) -> None:
        """Draw the drafts of the answer that begins like this; None takes the likeliest tokens."""
        ...


@runtime_checkable
class AheadReader(Protocol):
    """A drafter that has to read a prompt before it can draft, and may do so in idle time."""

    def read_ahead(self, prompt: Sequence[int], go_on: Callable[[], bool]) -> None:
        """Read what the next prompt begins with, for as long as `go_on` says so."""
        ...


@runtime_checkable
class Reader(Protocol):
    """A drafter that copies from texts beside the prompt."""

    def read(self, corpus: Sequence[Sequence[int]]) -> None:
        """Token ids of the texts that the next answer may copy from."""
        ...


@dataclass(slots=True)
class DraftSource:
    """One drafter and what was learned about it lately."""

    drafter: Drafter
    acceptance: Acceptance
    stepwise: StepwiseDrafter | None
    reader: Reader | None
    drawn: Acceptance = field(default_factory=Acceptance)
    """The record of answers above temperature 0; `acceptance` holds that of the present answer."""
    greedy: Acceptance = field(default_factory=Acceptance)
    proposal: list[int] = field(default_factory=list)
    """Tokens proposed and not yet compared with what the target emitted."""
    confidences: list[float] = field(default_factory=list)
    drafted: int = 0
    wait: int = _FIRST_PROBE
    """Tokens until the next probe."""
    interval: int = _LAST_PROBE
    expected: float = 0.0
    followed: float = 0.0
    """Proposals of this answer whose first token should have been right, and was, sent or not; both fade."""

    def __post_init__(self) -> None:
        self.greedy = self.acceptance
        self.greedy.counted = self.stepwise is None
        self.drawn.even = isinstance(self.drafter, DrawingDrafter)

    def begin(self, drawn: bool = False) -> None:
        """A new answer: whether it copies has to be seen anew, and what is drawn is guessed less often."""
        if drawn and not self.drawn.trials:
            if self.drawn.even:
                self.drawn.start_evenly(_DRAWN_ALIKE * self.greedy.lately())
            else:
                self.drawn.start_from(self.greedy)
        self.acceptance = self.drawn if drawn else self.greedy
        self.acceptance.turn_the_page()
        self.drafted = 0
        self.proposal, self.confidences = [], []
        self.expected = self.followed = 0.0

    @property
    def certain(self) -> bool:
        """The proposal goes on from a match too long for chance."""
        return bool(self.confidences) and self.confidences[0] >= _CERTAIN

    def faith(self) -> float:
        """At most 1: the share of its usual chance that the match that is proposed has in this answer.

        How often matches were right is an average over answers that copy and answers that don't. So an answer counts
        as one that doesn't until a few matches, which cost nothing to watch, were right.
        """
        at_first = 1.0 - _DOUBT * (1.0 - self.confidences[0])
        return min((self.followed + at_first * _PATIENCE) / (self.expected + _PATIENCE), 1.0)

    def ask(self, context: Sequence[int], limit: int) -> None:
        """Let the drafter propose at most `limit` tokens that may follow."""
        self.proposal = self.drafter.propose(context, limit)
        self.confidences = list(self.drafter.confidence()) if self.proposal else []

    def wait_again(self, longest: int) -> None:
        """Back off after a probe: after a gain step by step, otherwise at once."""
        self.interval = min(2 * self.interval, max(_FIRST_PROBE, min(longest, _LAST_PROBE)))
        self.wait = self.interval

    def encourage(self) -> None:
        """A gain is expected; should that change, it is looked into soon."""
        self.wait = self.interval = _FIRST_PROBE

    def score(self, emitted: Sequence[int]) -> None:
        """Compare the proposal with the target's own tokens, whether or not it was sent: each is a free trial."""
        done = 0
        if emitted and self.proposal and self.stepwise is None:
            chance = self.acceptance.calibrated(self.confidences[:1])[0]
            self.expected = self.expected * _FADE + chance
            self.followed = self.followed * _FADE + (self.proposal[0] == emitted[0])
        for token in emitted:
            if done == len(self.proposal):
                break
            hit = self.proposal[done] == token
            self.acceptance.observe(self.confidences[done], hit)
            if not hit:
                done = len(self.proposal)
                break
            done += 1
        del self.proposal[:done], self.confidences[:done]

    def grew(self, emitted: Sequence[int]) -> None:
        """The answer grew by these tokens, whoever proposed them."""
        self.score(emitted)
        self.wait -= len(emitted)
