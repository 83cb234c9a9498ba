"""Watch: carries a cancellation into a running evaluation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from localllm.engine.protocol import Cancel

_PERIOD = 0.02


class Watch:
    """While the block runs, looks at `cancel` fifty times a second and stops the evaluation once it is set.

    The decode loop looks at `cancel` between evaluations only, and reading a long prompt is one evaluation.

    Args:
        cancel: None needs no watching, and neither does what has an attribute `immediate`: whoever sets it stops the
            evaluation too.
        stop: Stops the evaluation that is running, from any thread.
    """

    def __init__(self, cancel: Cancel | None, stop: Callable[[], None]) -> None:
        self._cancel = cancel
        self._stop = stop
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        if self._cancel is not None and not getattr(self._cancel, "immediate", False):
            self._thread = threading.Thread(target=self._look, name="cancel", daemon=True)
            self._thread.start()
        return self

    def _look(self) -> None:
        assert self._cancel is not None
        while not self._over.wait(_PERIOD):
            if self._cancel.is_set():
                self._stop()
                return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
