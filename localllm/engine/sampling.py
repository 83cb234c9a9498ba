"""TokenSampler: the user's sampling settings as a function from logits to a token."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from localllm.engine.drafting import Draws
from localllm.engine.protocol import Sampling

if TYPE_CHECKING:
    from localllm.llama.sampler import Chain


class TokenSampler:
    """Chooses one token after the other for one answer.

    Greedy is an argmax in numpy, a tenth of the cost of a native sampler over the whole vocabulary. Everything else
    goes through llama.cpp's samplers. One random number is drawn per token, so that a seed gives the same answer with
    and without drafts. Logits are changed in place: they are overwritten by the next evaluation anyway.

    Args:
        sampling: The settings.
        n_vocab: Length of the logits.
        history: Tokens before the answer; the repetition penalty looks back into them.
    """

    def __init__(self, sampling: Sampling, n_vocab: int, history: Sequence[int] = ()) -> None:
        self._penalty = sampling.repeat_penalty
        last_n = sampling.repeat_last_n if self._penalty != 1.0 else 0
        self._recent: deque[int] = deque(history[-last_n:] if last_n else (), maxlen=last_n)
        bias = {t: b for t, b in sampling.logit_bias.items() if 0 <= t < n_vocab}
        self._bias_ids = np.fromiter(bias, np.intp, len(bias))
        self._bias = np.fromiter(bias.values(), np.float32, len(bias))
        self._chain: Chain | None = None
        self.seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        if sampling.temperature > 0:
            from localllm.llama.sampler import Chain

            self._chain = Chain(
                n_vocab,
                temperature=sampling.temperature,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                min_p=sampling.min_p,
                seed=self.seed,
            )
        self.plain = self._chain is None and not last_n and not bias
        """Choosing is an argmax and `accept` does nothing."""

    @property
    def greedy(self) -> bool:
        """The likeliest token is chosen, and nothing is drawn."""
        return self._chain is None

    def choose(self, logits: NDArray[np.float32]) -> int:
        """The token for these logits, shape (n_vocab,), after bias and penalty."""
        if len(self._bias):
            logits[self._bias_ids] += self._bias
        if self._recent:
            ids = np.fromiter(set(self._recent), np.intp)
            values = logits[ids]
            logits[ids] = np.where(values > 0, values / self._penalty, values * self._penalty)
        return self.choose_again(logits)

    def choose_again(self, logits: NDArray[np.float32]) -> int:
        """Choose from logits that went through `choose` before, after some were set to minus infinity."""
        return int(logits.argmax()) if self._chain is None else self._chain.draw(logits)

    def ahead(self, n: int) -> Draws:
        """The draws of the tokens behind the next `n`, for guessing them; not where it is greedy."""
        assert self._chain is not None
        return self._chain.ahead(n)

    def accept(self, token: int) -> None:
        """The token was emitted."""
        self._recent.append(token)

    def close(self) -> None:
        """Free the native samplers."""
        if self._chain is not None:
            self._chain.close()
