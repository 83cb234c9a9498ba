"""How likely a model finds a text: a check that text written under rules is still the model's own kind of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path


class Scorer:
    """The free model's own opinion of a text."""

    def __init__(self, path: Path, threads: int) -> None:
        from localllm.llama.context import Context as LlamaContext
        from localllm.llama.model import Model

        self._model = Model(path)
        self._context = LlamaContext(self._model, n_ctx=4096, n_batch=256, n_outputs_max=256, n_threads=threads)

    def mean(self, prompt: Sequence[int], answer: Sequence[int]) -> float:
        """Mean log-likelihood per token of the answer behind the prompt."""
        import numpy as np

        tokens = [*prompt, *answer][:4000]
        if not answer:
            return math.nan
        self._context.clear()
        total, n = 0.0, 0
        for start in range(0, len(tokens) - 1, 256):
            batch = tokens[start : start + 256]
            self._context.decode(0, batch, start, len(batch))
            for row in range(len(batch)):
                following = start + row + 1
                if len(prompt) <= following < len(tokens):
                    logits = self._context.logits(row).astype(np.float64)
                    top = logits.max()
                    total += float(logits[tokens[following]] - top - np.log(np.exp(logits - top).sum()))
                    n += 1
        return total / n if n else math.nan

    def close(self) -> None:
        self._context.close()
        self._model.close()
