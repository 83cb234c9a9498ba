"""The place of the loaded engine: opened once, waited for by anyone, opened anew after it died."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

from localllm.engine.protocol import Cancel, Engine
from localllm.errors import EngineClosed
from localllm.events import Loading

Opener = Callable[[Callable[[Loading], None]], Engine]
"""Loads an engine; calls its argument with how far it is."""


class EngineSlot:
    """Holds one engine, or loads it in a thread of its own.

    Args:
        engine: A loaded one.
        opener: Loads one when it is first needed, and again after `drop`.
    """

    def __init__(self, engine: Engine | None = None, opener: Opener | None = None) -> None:
        if engine is None and opener is None:
            raise ValueError("an engine or an opener is needed")
        self._engine = engine
        self._opener = opener
        self._lock = threading.Lock()
        self._load: _Load | None = None
        self._closed = False

    @property
    def engine(self) -> Engine | None:
        """The loaded engine, if there is one now."""
        return self._engine

    def load(self, cancel: Cancel | None = None) -> Generator[Loading, None, Engine | None]:
        """Yield how far the load is, then return the engine; None when cancelled (the load goes on by itself).

        Raises:
            ModelError: The model can't be loaded.
        """
        with self._lock:
            if self._closed:
                raise EngineClosed("The assistant was closed.")
            if self._engine is not None:
                return self._engine
            if self._load is None:
                assert self._opener is not None
                self._load = _Load(self._opener)
            load = self._load
        shown: Loading | None = None
        while not load.done.wait(0.02):
            if cancel is not None and cancel.is_set():
                return None
            if load.progress is not None and load.progress != shown:
                shown = load.progress
                yield shown
        with self._lock:
            if self._load is load:
                self._load = None
                self._engine = load.engine
        if load.error is not None:
            raise load.error
        if load.progress is not None and load.progress != shown:
            yield load.progress
        return load.engine

    def died(self) -> None:
        """The engine is gone: forget it, where another can be opened."""
        if self._opener is not None:
            self.drop()

    def replace(self, opener: Opener) -> None:
        """Close what is loaded; the next `load` uses this opener."""
        self.drop()
        self._opener = opener

    def drop(self) -> None:
        """Close the engine; one that can be opened is opened anew by the next `load`."""
        with self._lock:
            engine, load = self._engine, self._load
            self._engine = self._load = None
        if engine is not None:
            engine.close()
        if load is not None:
            load.abandon()

    def close(self) -> None:
        """Close for good; safe to call twice."""
        self._closed = True
        self.drop()


class _Load:
    """One load, in a thread."""

    def __init__(self, opener: Opener) -> None:
        self.done = threading.Event()
        self.progress: Loading | None = None
        self.engine: Engine | None = None
        self.error: BaseException | None = None
        self._abandoned = False
        self._opener = opener
        threading.Thread(target=self._run, name="localllm-load", daemon=True).start()

    def _run(self) -> None:
        try:
            self.engine = self._opener(self._report)
        except BaseException as error:  # raised again in the thread that waits
            self.error = error
        self.done.set()
        if self._abandoned and self.engine is not None:
            self.engine.close()

    def _report(self, progress: Loading) -> None:
        self.progress = progress

    def abandon(self) -> None:
        """Nobody waits any more: close the engine once it is there."""
        self._abandoned = True
        if self.done.is_set() and self.engine is not None:
            self.engine.close()
