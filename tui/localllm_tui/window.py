"""Which messages of a long branch stand on the screen: a stretch of it, at most `MOST` long."""

from __future__ import annotations

from dataclasses import dataclass

STEP = 40
"""Messages shown at first, and added each time that more are asked for."""
MOST = 160
"""Messages shown at once; what is furthest from what was asked for makes room."""


@dataclass(frozen=True, slots=True)
class Window:
    """Messages `first` up to `last` of a branch."""

    first: int = 0
    last: int | None = None
    """None goes to the end, and grows with it."""

    def earlier(self, n: int) -> Window:
        """More of the beginning, of a branch of `n` messages."""
        first = max(0, self.first - STEP)
        return _fitting(first, min(self.end(n), first + MOST), n)

    def later(self, n: int) -> Window:
        """More of the end."""
        last = min(n, self.end(n) + STEP)
        return _fitting(max(self.first, last - MOST), last, n)

    def end(self, n: int) -> int:
        """`last`, or the length of the branch."""
        return n if self.last is None else min(self.last, n)


def newest(n: int) -> Window:
    """The end of a branch of `n` messages."""
    return Window(max(0, n - STEP))


def around(at: int, n: int) -> Window:
    """Where message `at` stands, with what was said right before it."""
    first = max(0, at - 2)
    return newest(n) if first >= n - STEP else _fitting(first, min(n, first + MOST), n)


def _fitting(first: int, last: int, n: int) -> Window:
    return Window(first, None if last >= n else last)
