"""Backend: what the decode loop needs of whatever evaluates tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Backend(Protocol):
    """Evaluates tokens of sequences: `engine.llama_backend.LlamaBackend`, or a script in the tests."""

    @property
    def n_ctx(self) -> int:
        """Tokens that one sequence may hold."""
        ...

    @property
    def n_batch(self) -> int:
        """Tokens of one evaluation at most."""
        ...

    @property
    def n_outputs_max(self) -> int:
        """Rows of logits of one evaluation at most."""
        ...

    @property
    def n_vocab(self) -> int:
        """Length of a row of logits."""
        ...

    @property
    def eog(self) -> frozenset[int]:
        """Tokens that end a turn."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none for control tokens."""
        ...

    def decode(self, seq: int, tokens: Sequence[int], pos: int, n_outputs: int) -> bool:
        """Evaluate `tokens` at `pos` and on; the last `n_outputs` give logits. False when it was aborted."""
        ...

    def logits(self, row: int) -> NDArray[np.float32]:
        """One row of the last evaluation's logits; valid until the next, may be changed in place."""
        ...

    def seq_rm(self, seq: int, start: int, end: int = -1) -> bool:
        """Forget positions from `start` on; False where the model can't forget a part."""
        ...

    def seq_shift(self, seq: int, start: int, end: int) -> bool:
        """Forget positions from `start` up to `end` and move those behind them down; False where it can't."""
        ...

    def n_past(self, seq: int) -> int:
        """Positions of the sequence in the cache."""
        ...


class SharingBackend(Backend, Protocol):
    """A backend whose sequences can hold cells in common."""

    def seq_cp(self, source: int, target: int, start: int = 0, end: int = -1) -> None:
        """Let `target` hold the positions of `source` too."""
        ...
