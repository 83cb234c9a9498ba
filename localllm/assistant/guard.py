"""The place of the guard model: another one than the model that answers, loaded when a rule first asks it."""

from __future__ import annotations

from collections.abc import Callable, Generator

from localllm.assistant.slot import EngineSlot, Opener
from localllm.engine.protocol import Cancel, Engine
from localllm.events import Loading


class GuardSlot:
    """Holds one guard model at a time.

    Args:
        find: How the model of a name is loaded.
    """

    def __init__(self, find: Callable[[str], Opener]) -> None:
        self._find = find
        self._name = ""
        self._slot: EngineSlot | None = None

    def load(self, name: str, cancel: Cancel | None = None) -> Generator[Loading, None, Engine | None]:
        """Yield how far the load is, then return the engine; None when cancelled. One of another name is closed.

        Raises:
            ModelError: The model can't be loaded.
        """
        if self._slot is None or name != self._name:
            self.close()
            self._name, self._slot = name, EngineSlot(opener=self._find(name))
        return (yield from self._slot.load(cancel))

    @property
    def engine(self) -> Engine | None:
        """The loaded guard model, if there is one now."""
        return self._slot.engine if self._slot is not None else None

    def close(self) -> None:
        """Close what is loaded; safe to call twice."""
        if self._slot is not None:
            self._slot.close()
        self._slot = None
