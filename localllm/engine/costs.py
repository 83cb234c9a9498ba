"""What an evaluation costs: seconds of the target for a batch of b tokens, and seconds of each drafter per token.

Curves differ per machine, model and quantization, and have steps (kernels work on groups of rows), so nothing is
assumed about their shape: measured sizes are knots, sizes between them are interpolated. Contexts are grouped into
buckets, because attention makes every step dearer as the context grows.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from localllm.engine.protocol import Cancel

SIZES = (1, 4, 8, 2, 16, 12, 3, 6, 24, 32, 5, 7, 10, 14, 20, 48, 64)
"""Batch sizes in the order in which calibration measures them, the most telling first."""

_BUCKET = 512
_CLIP = 0.7
"""Largest step of one observation in log seconds: a hiccup of the machine moves an estimate by at most a part of it."""
_SETTLED = 12
"""Observations after which a size that gets slower speaks for the machine, and no longer for its own bad estimate."""
_CROWD = 1.5
"""Plain steps that got this much quicker than they were when the others were measured say that a crowd has left."""
_OPTIMISM = 0.15
_LEAST = 0.95
"""No batch is cheaper than this share of a plain step, whatever a disturbed measurement says."""
_REBUILD = 0.05
"""Share of the newest observation in the cost of a rebuilt graph."""
_REBUILDS = 3
"""Pairs of plain steps, behind a batch and behind the first, that calibration takes for it."""
_FRESH = 64
"""Observations of a bucket after which a size that had none follows the drift of those that had."""


class CostTable:
    """Seconds per evaluation, learned online.

    Args:
        max_batch: Largest batch that will be asked for, in tokens.
    """

    def __init__(self, max_batch: int = 65) -> None:
        self.max_batch = max_batch
        self._buckets: dict[int, _Curve] = {}
        self._draft: dict[str, float] = {}
        self._catch_up: dict[str, float] = {}
        self.rebuild = 0.0
        """Seconds that a plain step takes longer behind a batch: the graph of another size has to be built anew."""

    @staticmethod
    def bucket(n_context: int) -> int:
        """The group of context lengths: 0 up to 511 tokens, then one per doubling."""
        return (n_context // _BUCKET).bit_length()

    @property
    def known(self) -> bool:
        """A plain step was measured at least once."""
        return any(1 in curve.knots for curve in self._buckets.values())

    def row(self, n_context: int) -> list[float]:
        """Seconds for a batch of b tokens at index b, for b up to `max_batch`; index 0 is 0. Don't change it."""
        return self._curve(self.bucket(n_context)).row()

    def plain(self, n_context: int) -> float:
        """Seconds of a plain step (one token) that follows another."""
        return self._curve(self.bucket(n_context)).plain

    def observe(self, n_tokens: int, n_context: int, seconds: float, behind_batch: bool = False) -> None:
        """The target evaluated a batch of `n_tokens` behind `n_context` tokens in `seconds`.

        Args:
            n_tokens: 1 for a plain step.
            n_context: Tokens before.
            seconds: What it took.
            behind_batch: The evaluation before had another size than one.
        """
        if not (1 <= n_tokens <= self.max_batch and seconds > 0):
            return
        curve = self._curve(self.bucket(n_context))
        if n_tokens == 1 and behind_batch and curve.plain > 0:
            self.rebuild += _REBUILD * (min(max(seconds - curve.plain, 0.0), curve.plain) - self.rebuild)
            seconds = max(seconds - self.rebuild, 0.5 * seconds)
        curve.observe(n_tokens, seconds)

    def plain_steps_seen(self, n_context: int) -> int:
        """Plain steps that were observed in this bucket since the table was made or read."""
        return self.seen(1, n_context)

    def seen(self, n_tokens: int, n_context: int) -> int:
        """The same of batches of `n_tokens`."""
        return self._curve(self.bucket(n_context)).observed.get(n_tokens, 0)

    def draft(self, name: str) -> float:
        """Seconds per drafted token of this drafter; 0 where it was never measured."""
        return self._draft.get(name, 0.0)

    def observe_draft(self, name: str, seconds_per_token: float) -> None:
        """A drafted token took this long."""
        self._draft[name] = _moved(self._draft.get(name), seconds_per_token)

    def catch_up(self, name: str) -> float:
        """Seconds per token that the drafter reads to catch up; 0 where it was never measured."""
        return self._catch_up.get(name, 0.0)

    def observe_catch_up(self, name: str, seconds_per_token: float) -> None:
        """Reading a token that others had produced took this long."""
        self._catch_up[name] = _moved(self._catch_up.get(name), seconds_per_token)

    def _curve(self, bucket: int) -> _Curve:
        curve = self._buckets.get(bucket)
        if curve is None:
            near = min(self._buckets, key=lambda b: abs(b - bucket), default=None)
            curve = _Curve(self.max_batch, {} if near is None else dict(self._buckets[near].knots))
            self._buckets[bucket] = curve
        return curve

    def to_json(self) -> dict[str, Any]:
        """The table as plain data."""
        return {
            "buckets": {str(b): {str(n): t for n, t in sorted(c.knots.items())} for b, c in self._buckets.items()},
            "draft": dict(self._draft),
            "catch_up": dict(self._catch_up),
            "rebuild": self.rebuild,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], max_batch: int = 65) -> CostTable:
        """The table from `to_json`.

        Raises:
            ValueError: The data can't be such a table.
        """
        table = cls(max_batch)
        try:
            for bucket, knots in data["buckets"].items():
                clean = {int(n): _seconds(t) for n, t in knots.items()}
                table._buckets[int(bucket)] = _Curve(max_batch, {n: t for n, t in clean.items() if 1 <= n <= max_batch})
            table._draft = {str(name): _seconds(t) for name, t in data["draft"].items()}
            table._catch_up = {str(name): _seconds(t) for name, t in data["catch_up"].items()}
            table.rebuild = _seconds(data.get("rebuild", 0.0))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a cost table: {error}") from error
        return table


def calibrate(
    table: CostTable,
    step: Callable[[int], None],
    clock: Callable[[], float],
    *,
    seconds: float = 1.0,
    n_context: int = 0,
    cancel: Cancel | None = None,
) -> None:
    """Measure plain and batched steps for about `seconds`, the most telling sizes first.

    Args:
        table: Receives the medians.
        step: Evaluates a batch of that many tokens, with logits for all of them, and forgets it again.
        clock: Seconds.
        seconds: Time to spend; a plain step and a batch of four are measured whatever they take.
        n_context: Tokens in the context while measuring.
        cancel: Ends the measuring early.
    """
    behind: list[float] = []  # plain steps, each behind a batch
    rebuilds: list[float] = []
    ratios: dict[int, list[float]] = {}

    def timed(n: int) -> float:
        started = clock()
        step(n)
        return clock() - started

    end = clock() + seconds
    step(1)  # the first evaluation pays for buffers and cold weights
    plain = min(timed(1), timed(1))
    sizes = [n for n in SIZES if 1 < n <= table.max_batch]

    def measure(n: int) -> None:
        # Other programs come and go while this measures: each size is compared with plain steps of about that
        # time, and with the middle one of three, because a single one may have been held up.
        took = timed(n)
        behind.append(timed(1))
        if len(rebuilds) < _REBUILDS:
            rebuilds.append(behind[-1] - timed(1))
        ratios.setdefault(n, []).append(took / _median(behind[-3:]))

    def cancelled() -> bool:
        return cancel is not None and cancel.is_set()

    for round_ in range(8):
        for n in sizes:
            expected = plain * (_median(ratios[n]) if n in ratios else 0.7 * n)
            needed = round_ == 0 and n == sizes[0]
            if (needed or clock() + expected <= end) and not cancelled():
                measure(n)
    for n, larger in pairwise(sorted(ratios)):
        # a large model leaves time for each size once: where a larger batch took less, this one was held up
        while len(ratios[n]) < 3 and _median(ratios[n]) > _median(ratios[larger]) and not cancelled():
            measure(n)
    usual = _median(behind) if behind else plain
    table.rebuild = min(max(_median(rebuilds), 0.0), 0.5 * usual) if rebuilds else 0.0
    curve = table._curve(table.bucket(n_context))
    curve.set(1, usual - table.rebuild, max(len(behind), 2))
    measured = sorted(ratios)
    rising = _rising([_median(ratios[n]) for n in measured], [len(ratios[n]) for n in measured])
    for n, ratio in zip(measured, rising, strict=True):
        curve.set(n, usual * max(ratio, _LEAST), len(ratios[n]))


def _rising(values: Sequence[float], weights: Sequence[int]) -> list[float]:
    """The nearest sequence that never falls: a larger batch costs no less, so what looks cheaper was disturbed.

    Neighbours in the wrong order share their geometric mean (pool adjacent violators).
    """
    pools: list[tuple[float, int, int]] = []  # log of the value, weight, members
    for value, weight in zip(values, weights, strict=True):
        pool = (math.log(value), weight, 1)
        while pools and pools[-1][0] > pool[0]:
            log, w, members = pools.pop()
            pool = (log * w + pool[0] * pool[1]) / (w + pool[1]), w + pool[1], members + pool[2]
        pools.append(pool)
    return [math.exp(log) for log, _, members in pools for _ in range(members)]


class _Curve:
    """Seconds against batch size in one bucket."""

    def __init__(self, max_batch: int, knots: dict[int, float]) -> None:
        self.knots = knots
        self._base = dict(knots)
        """What was measured together, so that the ratios are right whatever else ran meanwhile."""
        self._row = [0.0] * (max_batch + 1)
        self._stale = (1, max_batch)
        """The sizes of the row that are to be filled again before it is read; none where the second is smaller."""
        self._sizes = sorted(knots)
        self.observed: dict[int, int] = {}
        self._counts: dict[int, int] = {}
        self._last: dict[int, int] = {}
        self._streak: dict[int, int] = {}
        self._ticks = 0
        self._drift = 0.0

    @property
    def plain(self) -> float:
        """Seconds of a plain step, 0.0 while nothing is known."""
        return self.knots[1] if 1 in self.knots else self.row()[1]

    def row(self) -> list[float]:
        """Seconds by batch size."""
        low, high = self._stale
        if low <= high:
            self._refill(low, high)
            self._stale = (len(self._row), 0)
        return self._row

    def _touch(self, low: int, high: int) -> None:
        """The row is wrong from one size to another; filling it waits until somebody asks."""
        before = self._stale
        self._stale = (min(low, before[0]), max(high, before[1]))

    def set(self, n: int, seconds: float, count: int = 1) -> None:
        self.knots[n] = self._base[n] = seconds
        self._counts[n] = count
        self._sizes = sorted(self.knots)
        self._touch(1, len(self._row) - 1)

    def observe(self, n: int, seconds: float) -> None:
        self._ticks += 1
        count = self._counts.get(n, 0)
        self._counts[n] = count + 1
        self.observed[n] = self.observed.get(n, 0) + 1
        self._last[n] = self._ticks
        expected = self.knots[n] if n in self.knots else self.row()[n]
        if expected <= 0:  # the very first measurement of this bucket
            self.set(n, seconds)
            return
        # A sliding mean of the logarithm, quick at first, with hiccups cut off: close to a median. Where the same is
        # cut off again and again it is no hiccup.
        error = math.log(seconds / expected)
        streak = self._streak.get(n, 0)
        clip = _CLIP * max(1, abs(streak) - 2)
        self._streak[n] = 0 if abs(error) < _CLIP else max(streak, 0) + 1 if error > 0 else min(streak, 0) - 1
        move = max(1 / (count + 2), 0.08) * max(-clip, min(clip, error))
        if n not in self.knots:
            insort(self._sizes, n)
        self.knots[n] = expected * math.exp(move)
        if count >= _SETTLED:
            self._drift += move
        if n == 1 and _CROWD * self.knots[1] < self._base.get(1, 0.0):
            self._leave_crowd()
        elif abs(self._drift) > 0.02:
            self._follow(n)
            self._touch(1, len(self._row) - 1)
        else:
            i = bisect_left(self._sizes, n)
            low = self._sizes[i - 1] if i else 0
            last_two = i >= len(self._sizes) - 2  # the slope beyond the largest size hangs on these
            self._touch(low + 1, len(self._row) - 1 if last_two else self._sizes[i + 1])

    def _leave_crowd(self) -> None:
        """The table was measured beside other programs: sizes that were not measured of late keep their ratio."""
        base, plain = self._base, self.knots[1]
        for n, seconds in base.items():
            if self._ticks - self._last.get(n, -_FRESH) >= _FRESH:
                self.knots[n] = seconds * plain / base[1]
        self._base = dict(self.knots)
        self._drift = 0.0
        self._touch(1, len(self._row) - 1)

    def _follow(self, n: int) -> None:
        """Sizes that were not measured of late share half of the drift of the one that was."""
        factor = math.exp(self._drift / 2)
        for other in self._sizes:
            if other != n and self._ticks - self._last.get(other, -_FRESH) >= _FRESH:
                self.knots[other] *= factor
        self._drift = 0.0

    def _refill(self, start: int, end: int) -> None:
        sizes, row = self._sizes, self._row
        if not sizes:
            return
        for b in range(start, end + 1):
            i = bisect_left(sizes, b)
            if i == 0:  # at or below the smallest known size
                row[b] = self._hoped(sizes[0]) * b / sizes[0]
            elif i < len(sizes):
                low, high = sizes[i - 1], sizes[i]
                at_low, at_high = self._hoped(low), self._hoped(high)
                row[b] = at_low + (at_high - at_low) * (b - low) / (high - low)
            else:  # beyond the largest: go on at the last slope, and never cheaper than half the mean per token
                top = sizes[-1]
                low = sizes[-2] if len(sizes) > 1 else 0
                at_top = self._hoped(top)
                slope = (at_top - (self._hoped(low) if low else 0.0)) / (top - low)
                row[b] = at_top + max(slope, at_top / top / 2) * (b - top)

    def _hoped(self, n: int) -> float:
        """Seconds of a measured size; one that was seldom measured is taken to be a little cheaper than it looked.

        So it gets its chance to be measured.
        """
        seconds = self.knots[n]
        return seconds * (1.0 - _OPTIMISM / (1 + self._counts.get(n, 1))) if n > 1 else seconds


def _moved(before: float | None, seconds: float) -> float:
    if before is None or before <= 0:
        return max(seconds, 0.0)
    if seconds <= 0:
        return before
    return before * math.exp(0.1 * max(-_CLIP, min(_CLIP, math.log(seconds / before))))


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _seconds(value: object) -> float:
    number = float(value)  # type: ignore[arg-type]
    if not (math.isfinite(number) and 0 <= number < 3600):
        raise ValueError(f"{number} is no number of seconds")
    return number
