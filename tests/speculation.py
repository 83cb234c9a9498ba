"""A simulated machine for the controller: a clock that only moves when something is evaluated."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from localllm.engine.controller import Controller
from localllm.engine.costs import CostTable, calibrate
from localllm.engine.drafting import Draws, DrawsAhead
from localllm.engine.ledger import Ledger
from localllm.engine.lengths import best_plan

# Seconds of a batch of b tokens in units of a plain step, at the sizes given; lines between, the last slope beyond.
# The first four were measured on two cores (EPYC, AVX-512), the others are what bandwidth-bound machines look like.
CURVES: dict[str, dict[int, float]] = {
    "Q4_1, no repacking": {1: 1, 2: 1.92, 3: 2.71, 4: 3.0, 5: 3.84, 8: 4.91, 12: 7.02, 16: 9.1, 32: 17.6, 64: 33.4},
    "Q4_0, repacked": {1: 1, 2: 1.71, 4: 2.31, 8: 3.44, 16: 5.45, 32: 10.3, 64: 20.0},
    "Q8_0, a wall at two": {1: 1, 2: 3.0, 3: 3.5, 4: 3.8, 5: 5.2, 8: 5.3, 12: 6.7, 16: 7.7, 32: 14.1, 64: 23.7},
    "F16, a wall and then flat": {
        1: 1,
        2: 2.9,
        3: 3.06,
        4: 3.14,
        5: 3.4,
        8: 4.67,
        12: 5.59,
        16: 6.74,
        32: 12.9,
        64: 20.6,
    },
    "bandwidth-bound, nearly free": {1: 1, 8: 1.1, 16: 1.3, 32: 1.9, 64: 3.2},
    "steps of eight": {1: 1, 2: 1.6, 8: 1.7, 9: 2.9, 16: 3.0, 17: 4.3, 24: 4.4, 25: 5.7, 32: 5.8, 33: 7.0, 64: 11.5},
}


def cost(curve: dict[int, float], b: int) -> float:
    sizes = sorted(curve)
    for low, high in pairwise(sizes):
        if low <= b <= high:
            return curve[low] + (curve[high] - curve[low]) * (b - low) / (high - low)
    return curve[sizes[-1]] * b / sizes[-1]


@dataclass
class Machine:
    """Evaluations that take what a curve says, times noise."""

    curve: dict[int, float]
    plain_seconds: float = 0.02
    noise: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    now: float = 0.0
    slowdown: float = 1.0
    rebuild: float = 0.0
    """Plain steps that one behind a batch takes longer."""
    last: int = 1

    def clock(self) -> float:
        return self.now

    def step(self, b: int) -> None:
        wobble = self.rng.lognormvariate(0.0, self.noise) if self.noise else 1.0
        steps = cost(self.curve, b) + (self.rebuild if b == 1 and self.last != 1 else 0.0)
        self.last = b
        self.now += steps * self.plain_seconds * wobble * self.slowdown

    def work(self, plain_steps: float) -> None:
        self.now += plain_steps * self.plain_seconds * self.slowdown


class ScriptedDrafter:
    """Knows the text, and errs at each token with a chance of its own; a stepwise drafter with a price per token.

    Args:
        machine: Pays for the drafting.
        truth: The tokens of the text.
        right: Chance that a drafted token is right, by position in the text.
        price: Of a drafted token, in plain steps.
        honest: States its chance as its confidence; otherwise always 0.9.
    """

    name = "scripted"

    def __init__(
        self, machine: Machine, truth: Sequence[int], right: Callable[[int], float], price: float, honest: bool = True
    ) -> None:
        self.machine, self.truth, self.right, self.price, self.honest = machine, truth, right, price, honest
        self.evaluated = 0
        self._confidence: list[float] = []
        self._rng = random.Random(3)

    def begin(self, prompt: Sequence[int]) -> None: ...

    def lag(self, context: Sequence[int]) -> int:
        return 1

    def propose(self, context: Sequence[int], k: int) -> list[int]:
        return self.propose_while(context, k, lambda _: True)

    def propose_while(self, context: Sequence[int], k: int, go_on: Callable[[Sequence[float]], bool]) -> list[int]:
        draft: list[int] = []
        self._confidence = []
        at = len(context)
        while len(draft) < k and at + len(draft) < len(self.truth):
            chance = self.right(at + len(draft))
            truth = self.truth[at + len(draft)]
            draft.append(truth if self._rng.random() < chance else truth + 1)
            self._confidence.append(chance if self.honest else 0.9)
            self.machine.work(self.price)
            if not go_on(self._confidence):
                break
        self.evaluated = len(draft)
        return draft

    def confidence(self) -> Sequence[float]:
        return self._confidence

    def observe(self, accepted: Sequence[int], n_drafted_accepted: int) -> None: ...

    def close(self) -> None: ...


def no_draws(n: int) -> Draws:
    """For drafters that don't draw: says only that the answer is drawn."""
    raise AssertionError("nobody asked for draws")


@dataclass
class Outcome:
    seconds: float
    tokens: int
    lengths: list[int]
    controller: Controller

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def steps(machine: Machine, controller: Controller, truth: Sequence[int], context: list[int]) -> Iterator[int]:
    """Decode this text under a controller, behind `context`, which grows; yields the length of each step's draft."""
    while len(context) < len(truth):
        limit = min(controller.costs.max_batch - 2, len(truth) - len(context) - 1)
        draft = list(controller.choose(context, limit).tokens)
        before = machine.now
        machine.step(1 + len(draft))
        emitted: list[int] = []
        for token in [*draft, -1]:
            emitted.append(truth[len(context) + len(emitted)])
            if emitted[-1] != token:
                break
        controller.observe(emitted, len(emitted) - 1, len(draft), 1 + len(draft), machine.now - before)
        context += emitted
        yield len(draft)


def decode(
    machine: Machine,
    controller: Controller,
    truth: Sequence[int],
    n_prompt: int = 1,
    draws: DrawsAhead | None = None,
) -> float:
    """Decode this text behind its first `n_prompt` tokens under a controller; the seconds it took."""
    context = list(truth[: n_prompt + 1])
    controller.begin(context[:-1], draws=draws)
    started = machine.now
    for _ in steps(machine, controller, truth, context):
        pass
    return machine.now - started


def simulate(
    machine: Machine,
    drafter: ScriptedDrafter,
    *,
    calibrated: bool = True,
    ledger: Ledger | None = None,
    skip: int = 0,
) -> Outcome:
    """Decode the drafter's text on the machine under a fresh controller; the first `skip` tokens are not timed."""
    costs = CostTable()
    if calibrated:
        calibrate(costs, machine.step, machine.clock, seconds=60 * machine.plain_seconds)
        costs.observe_draft(drafter.name, drafter.price * machine.plain_seconds)
    controller = Controller(costs, [drafter], clock=machine.clock, ledger=ledger)
    truth = drafter.truth
    context = [truth[0], truth[1]]
    controller.begin(context[:1])
    started, untimed, lengths = machine.now, 2, []
    for length in steps(machine, controller, truth, context):
        lengths.append(length)
        if skip and skip <= len(context) < len(truth):
            started, untimed, skip = machine.now, len(context), 0
    return Outcome(machine.now - started, len(truth) - untimed, lengths, controller)


def best_fixed(machine: Machine, chance: float, price: float, limit: int = 31) -> tuple[int, float]:
    """The best fixed length, 0 included, and its tokens per second, when every token is right with `chance`."""
    row = [0.0, *(cost(machine.curve, b) * machine.plain_seconds for b in range(1, limit + 2))]
    k, rate = best_plan(chance, row, limit, price * machine.plain_seconds)
    plain = 1.0 / row[1]
    return (k, rate) if rate > plain else (0, plain)
