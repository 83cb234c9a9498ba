"""One running answer: its events are read in a thread of its own and handed to the screen in batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from localllm.events import Event, Finished, Token, TurnStarted

Start = Callable[[threading.Event], Generator[Event, None, None]]
"""Begins a turn of the assistant, given what cancels it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The turn ended with an error; the text so far is in the history."""

    error: BaseException


Happening = Event | Failed


class Turn:
    """Reads one turn of the assistant.

    At most one notice is on its way to the screen at any time: the next follows when the screen has drained the batch,
    so that a fast model can't flood it. The end alone is told at once.

    Args:
        chat_id: The chat that is answered.
        start: Begins the turn; runs in the thread.
        notify: Called from the thread when there is something to drain.
        temporary: The chat is kept in memory only.
        prefix: The answer that is continued.
    """

    def __init__(
        self,
        chat_id: int,
        start: Start,
        notify: Callable[[Turn], None],
        *,
        temporary: bool = False,
        prefix: str = "",
    ) -> None:
        self.chat_id = chat_id
        self.temporary = temporary
        self.question_id: int | None = None
        self.answer_id: int | None = None
        self.text = prefix
        """The answer as far as it was drained."""
        self.n_tokens = 0
        self.first_token_at = 0.0
        self.last_token_at = 0.0
        self.over = False
        """Its end was shown; set by the screen."""
        self.ended = False
        """Its last event is there to be drained."""
        self._cancel = threading.Event()
        self._start = start
        self._notify = notify
        self._lock = threading.Lock()
        self._batch: list[Happening] = []
        self._noticed = False
        self._thread = threading.Thread(target=self._run, name="localllm-turn", daemon=True)

    def begin(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the answer to end; the text so far is kept. Harmless when repeated."""
        self._cancel.set()

    @property
    def stopping(self) -> bool:
        """`stop` was called."""
        return self._cancel.is_set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; False when it takes longer."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def tokens_per_second(self) -> float:
        """So far, from the first token to the last."""
        seconds = self.last_token_at - self.first_token_at
        return (self.n_tokens - 1) / seconds if seconds > 0.05 else 0.0

    def drain(self) -> list[Happening]:
        """What happened since the last call, in order; neighbouring tokens are joined into one."""
        with self._lock:
            batch, self._batch, self._noticed = self._batch, [], False
        joined: list[Happening] = []
        pieces: list[str] = []
        count = 0
        for happening in batch:
            if isinstance(happening, Token):
                pieces.append(happening.text)
                count += happening.n_tokens
                continue
            if pieces:
                joined.append(Token("".join(pieces), count))
                pieces, count = [], 0
            joined.append(happening)
            if isinstance(happening, TurnStarted):
                self.question_id, self.answer_id = happening.question_id, happening.answer_id
        if pieces:
            joined.append(Token("".join(pieces), count))
        return joined

    def _run(self) -> None:
        try:
            for event in self._start(self._cancel):
                self._put(event)
        except BaseException as error:
            self._put(Failed(error))

    def _put(self, happening: Happening) -> None:
        if isinstance(happening, Token):
            self.last_token_at = time.perf_counter()
            if not self.n_tokens:
                self.first_token_at = self.last_token_at
            self.n_tokens += happening.n_tokens
        with self._lock:
            self._batch.append(happening)
            self.ended = isinstance(happening, Finished | Failed)
            quiet, self._noticed = not self._noticed or self.ended, True
        if quiet:
            self._notify(self)
