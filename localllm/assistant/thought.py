"""How long a model thought aloud before it answered."""

from __future__ import annotations

import time
from collections.abc import Callable

OPEN, CLOSE = "<think>", "</think>"
"""What reasoning stands between, at the head of an answer."""


class Thought:
    """Adds up the time in which an answer grew while its reasoning went on.

    Args:
        seconds: How long was thought about what stands already.
        clock: Seconds.
    """

    def __init__(self, seconds: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        """From the first token of the reasoning to its end, or to now."""
        self._clock = clock
        self._since: float | None = None
        """When the last token of a reasoning that goes on came."""

    def follow(self, text: str) -> None:
        """This is how far the answer stands now."""
        now = self._clock()
        if self._since is not None:
            self.seconds += now - self._since
        self._since = now if text.lstrip().startswith(OPEN) and CLOSE not in text else None
