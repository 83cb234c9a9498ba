"""LlamaBackend: a llama.cpp context as the decode loop wants it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from localllm.engine.threads import ThreadGovernor, even_parts_are_quicker
from localllm.llama.context import Context
from localllm.llama.model import Model
from localllm.llama.work_split import can_split, split_evenly


class LlamaBackend(Context):
    """A context that knows its vocabulary, shares its window between sequences, and adapts its threads to the machine.

    Args:
        model: Must stay open as long as this backend.
        n_ctx: Window of each sequence.
        n_seq: Sequences.
        governor: Decides the thread count from step times; None keeps it fixed.
        options: As for `Context`.
    """

    def __init__(
        self, model: Model, *, n_ctx: int, n_seq: int = 1, governor: ThreadGovernor | None = None, **options: Any
    ) -> None:
        super().__init__(model, n_ctx=n_ctx * n_seq, n_seq=n_seq, **options)
        self.n_ctx //= n_seq
        self.eog = model.vocab.eog
        self.piece = model.vocab.piece
        self._governor = governor
        self._split_chosen = False
        if governor is not None:
            self.set_threads(governor.n_threads, governor.n_threads)

    def look_around(self) -> None:
        """Adapt the thread count to what other programs use now; called before a prompt is read, and when idle."""
        governor = self._governor
        if governor is not None and governor.look(at_rest=True):
            self.set_threads(governor.n_threads, governor.n_threads)
            self._choose_split()

    def warm_up(self) -> None:
        """Evaluate a token, so that the first answer does not pay for page faults and thread starts.

        Where there are several threads, some more, to see how the work is best divided among them. The sequences are
        empty before and after.
        """
        self._step()
        self._choose_split()

    def _choose_split(self) -> None:
        """Try once how the work is best divided, as soon as there are several threads; what sequences hold stays."""
        past = self.n_past(0)
        if self._split_chosen or self.n_threads == 1 or (past and (self.model.recurrent or past >= self.n_ctx)):
            return
        self._split_chosen = True
        if can_split():
            split_evenly(even_parts_are_quicker(self._step, split_evenly))

    def _step(self) -> None:
        """Evaluate a token behind what sequence 0 holds, and forget it."""
        vocab, past = self.model.vocab, self.n_past(0)
        token = next(t for t in (vocab.bos, vocab.eos, 0) if 0 <= t < vocab.n_tokens)
        super().decode(0, [token], past, 1)
        self.seq_rm(0, past)

    def decode(self, seq: int, tokens: Sequence[int], pos: int, n_outputs: int) -> bool:
        """As `Context.decode`; steps of one token are timed to adapt the thread count."""
        governor = self._governor
        if governor is None or len(tokens) != 1:
            return super().decode(seq, tokens, pos, n_outputs)
        started = time.perf_counter()
        done = super().decode(seq, tokens, pos, n_outputs)
        if governor.observe(time.perf_counter() - started):
            self.set_threads(governor.n_threads, governor.n_threads)
        return done
