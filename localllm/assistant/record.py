"""One answer on its way into the history: about every second while it grows, and whole at its end, however it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from localllm.assistant.thought import Thought
from localllm.errors import HistoryError
from localllm.events import Finished, FinishReason, Passage, Repairing, Token
from localllm.history import History, MessageState

SECONDS_BETWEEN_SAVES = 1.0


class AnswerRecord:
    """Keeps a growing answer in the history.

    Args:
        history: Where.
        message_id: The message that was added for it.
        text: What stands already.
        clock: Seconds, for the time between saves and that of the reasoning.
        thinking_seconds: How long was thought about what stands already.
    """

    def __init__(
        self,
        history: History,
        message_id: int,
        text: str = "",
        clock: Callable[[], float] = time.monotonic,
        thinking_seconds: float = 0.0,
    ) -> None:
        self.text = text
        self._clock = clock
        self.passages: tuple[Passage, ...] = ()
        self._thought = Thought(thinking_seconds, clock)
        self._history = history
        self._id = message_id
        self._saved = clock()
        self._closed = False

    def follow(self, event: Token | Repairing) -> None:
        """The answer grew, or was taken back."""
        self.text = event.kept if isinstance(event, Repairing) else self.text + event.text
        self._thought.follow(self.text)
        now = self._clock()
        if now - self._saved >= SECONDS_BETWEEN_SAVES:
            self._saved = now
            try:
                self._history.update_message(self._id, content=self.text)
            except HistoryError:
                return  # said once, at the end: the answer itself must not stop for it

    def finish(self, finished: Finished) -> Finished:
        """Store the whole answer; returns it with the time of its reasoning, and a note when it could not be stored."""
        self._closed = True
        finished = replace(finished, stats=replace(finished.stats, thinking_seconds=self._thought.seconds))
        stopped = finished.reason in (FinishReason.CANCELLED, FinishReason.LENGTH)
        try:
            self._history.update_message(
                self._id,
                content=finished.text,
                state=MessageState.STOPPED if stopped else MessageState.COMPLETE,
                reason=finished.reason.value,
                model=finished.model,
                draft=finished.draft,
                stats=finished.stats,
                citations=finished.citations,
                unsupported=finished.unsupported,
                passages=finished.nearest or self.passages,
                verdict=finished.verdict,
                notes=finished.notes,
            )
        except HistoryError as error:
            note = f"The answer could not be kept: {error.message}"
            return replace(finished, notes=(*finished.notes, note))
        return finished

    def interrupt(self, error: BaseException) -> None:
        """Generation ended without a `Finished`: keep what there is, marked."""
        if self._closed:
            return
        self._closed = True
        by_user = isinstance(error, (GeneratorExit, KeyboardInterrupt))
        try:
            self._history.update_message(
                self._id,
                content=self.text,
                state=MessageState.STOPPED if by_user else MessageState.ERROR,
                reason=FinishReason.CANCELLED.value if by_user else str(error) or type(error).__name__,
                passages=self.passages or None,
            )
        except HistoryError:
            return  # the error that ended the turn is the one to show
