"""Slots: the sequences of the KV cache, and the token ids they hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from localllm.engine.backend import Backend, SharingBackend
from localllm.engine.protocol import Cancel

_LEAST_SHIFT = 16
"""A shift makes room for at least this part of the window: it turns every key that stays, and so must be rare."""


class Slot:
    """What one sequence of the cache holds, as token ids.

    The ids are those that were evaluated, never text cut into tokens again: another cut of the same text would throw
    the cache away.
    """

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.tokens: list[int] = []
        self.used = 0.0
        """When it was used last, on the monotonic clock."""
        self.session = ""
        """The chat it belongs to."""
        self.dirty = False
        """It changed since the chat was saved."""
        self.busy = False
        """An answer is being written in it."""
        self.shared = 0
        """Tokens at its beginning, at most, that another sequence holds in the same cells."""
        self._shifted_behind: int | None = None
        """Behind so many tokens the state is not that of the tokens alone: it knows of some that were forgotten."""

    def holds(self, prompt: Sequence[int]) -> int:
        """How many tokens of `prompt`, from its first, need not be evaluated again."""
        n = common_prefix(self.tokens, prompt)
        return n if self._shifted_behind is None else min(n, self._shifted_behind)

    def keep_prefix(self, backend: Backend, prompt: Sequence[int]) -> int:
        """Forget everything from the first token that differs from `prompt`; returns how many tokens stay.

        The last token of the prompt is always evaluated again, for its logits.
        """
        self.cut(backend, min(self.holds(prompt), len(prompt) - 1))
        self.used = time.monotonic()
        return len(self.tokens)

    def cut(self, backend: Backend, n: int) -> None:
        """Keep the first `n` tokens; none where the model can't forget a part (recurrent ones)."""
        if n >= len(self.tokens):
            return
        if not backend.seq_rm(self.seq, n):
            backend.seq_rm(self.seq, 0)
            n = 0
        del self.tokens[n:]
        self.shared = min(self.shared, n)

    def shift(self, backend: Backend, keep: int) -> int:
        """Forget the first half of what lies behind the first `keep` tokens; the rest moves up.

        What moved up may be written on. It is never taken for the state of a prompt, nor saved, as it was computed
        with what is forgotten now: `end_shift` lets it go.

        Returns:
            How many tokens were forgotten; 0 where there are too few, or where this kind of memory can't do it.
        """
        n = (len(self.tokens) - keep) // 2
        if n < max(1, backend.n_ctx // _LEAST_SHIFT) or self.shared > keep:
            return 0
        if not backend.seq_shift(self.seq, keep, keep + n):
            return 0
        del self.tokens[keep : keep + n]
        self._shifted_behind = keep
        self.dirty = False
        return n

    def end_shift(self, backend: Backend) -> None:
        """The answer that needed a shift is over: hold only what was never shifted."""
        if self._shifted_behind is not None:
            self.cut(backend, self._shifted_behind)
            self._shifted_behind = None

    def cut_to_cache(self, backend: Backend) -> None:
        """After an aborted evaluation: hold what the cache still holds."""
        del self.tokens[backend.n_past(self.seq) :]


class Slots:
    """All sequences of a context.

    Args:
        n_seq: How many.
    """

    def __init__(self, n_seq: int = 1) -> None:
        self._slots = [Slot(seq) for seq in range(n_seq)]

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    def choose(
        self, backend: SharingBackend, prompt: Sequence[int], session: str, give_up: Callable[[Slot], None]
    ) -> Slot:
        """The sequence that holds most of the prompt, unless that would cost another chat its state.

        `give_up` is called with a sequence before another chat takes it over, or before a request of no chat at all
        (`session` empty, as of idle work) throws a part of it away.

        Where another chat only shares the beginning (system prompt, documents), the longest unused sequence takes that
        beginning over: both then hold it in the same cells.
        """
        free = [s for s in self._slots if not s.busy]
        if not free:
            raise ValueError("every sequence is busy")
        best = max(self._slots, key=lambda s: (s.holds(prompt), s.session == session, -s.used))
        shared = best.holds(prompt)
        mine = shared == len(best.tokens) or len(self._slots) == 1 or (session and best.session == session)
        if mine and not best.busy:
            if best.session != session and (session or shared < len(best.tokens)):
                give_up(best)
            return best
        oldest = min(free, key=lambda s: s.used)
        give_up(oldest)
        if oldest is not best and shared > oldest.holds(prompt):
            if oldest.tokens:
                backend.seq_rm(oldest.seq, 0)
            backend.seq_cp(best.seq, oldest.seq, 0, shared)
            oldest.tokens = best.tokens[:shared]
            oldest.shared, best.shared = shared, max(shared, best.shared)
            oldest.session, oldest.dirty = "", False
        return oldest


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    return next(i for i in range(n) if a[i] != b[i])


def prefill_slot(
    backend: Backend, slot: Slot, prompt: Sequence[int], cancel: Cancel | None = None
) -> Iterator[int | None]:
    """Evaluate what of `prompt` lies behind the tokens of the slot, with logits for the last token.

    It is cut by number, never by what a batch took: another cut rounds otherwise, and so might end another way.

    Yields:
        Tokens evaluated so far, after each batch, or None, and then nothing more, when it was cancelled.
    """
    first = len(slot.tokens)
    while (held := len(slot.tokens)) < len(prompt):
        if cancel is not None and cancel.is_set():
            yield None
            return
        batch = list(prompt[held : held + backend.n_batch])
        is_last = held + len(batch) == len(prompt)
        if not backend.decode(slot.seq, batch, held, 1 if is_last else 0):
            slot.tokens = list(prompt[: backend.n_past(slot.seq)])
            yield None
            return
        slot.tokens += batch
        yield held + len(batch) - first
