"""Chain: llama.cpp's own samplers, applied to logits that we hold."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from localllm.llama._api import C, quick

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Chain:
    """Top-k, top-p, min-p, temperature and the draw, in this order, with a random state of its own.

    Top-k stands first, so that the others sort at most k candidates instead of the whole vocabulary. What can't be
    among the k is dropped in numpy before: a pass of comparisons instead of building 12 bytes per token of the
    vocabulary. That changes nothing in the outcome, as any token that top-k would keep is above the threshold.

    Args:
        n_vocab: Length of the logits.
        temperature: Above 0.
        top_k: 0 keeps all.
        top_p: 1 keeps all.
        min_p: 0 keeps all.
        seed: Of the draw; 32 bits of it count.
    """

    def __init__(self, n_vocab: int, *, temperature: float, top_k: int, top_p: float, min_p: float, seed: int) -> None:
        self._chain = C.llama_sampler_chain_init(C.llama_sampler_chain_default_params())
        if top_k > 0:
            self._add(C.llama_sampler_init_top_k(top_k))
        if top_p < 1:
            self._add(C.llama_sampler_init_top_p(top_p, 1))
        if min_p > 0:
            self._add(C.llama_sampler_init_min_p(min_p, 1))
        self._add(C.llama_sampler_init_temp(temperature))
        self._add(C.llama_sampler_init_dist(seed & 0xFFFFFFFF))
        self._top_k = top_k
        self._window = 8.0
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._candidates = np.zeros(n_vocab, _CANDIDATE)
        self._array = C.llama_token_data_array()
        self._pointer = ctypes.cast(self._candidates.ctypes.data, C.llama_token_data_p)
        self._reference = ctypes.byref(self._array)

    def _add(self, sampler: object) -> None:
        C.llama_sampler_chain_add(self._chain, sampler)

    def draw(self, logits: NDArray[np.float32]) -> int:
        """A token id drawn from these logits, shape (n_vocab,), which stay as they are."""
        ids = self._shortlist(logits) if self._top_k else None
        if ids is None:
            n = len(logits)
            candidates = self._candidates[:n]
            candidates["id"] = self._ids[:n]
            candidates["logit"] = logits
        else:
            n = len(ids)
            candidates = self._candidates[:n]
            candidates["id"] = ids
            candidates["logit"] = logits[ids]
        array = self._array
        array.data = self._pointer
        array.size = n
        array.selected = -1
        array.sorted = False
        quick.sampler_apply(self._chain, self._reference)
        return int(array.data[array.selected].id)

    def _shortlist(self, logits: NDArray[np.float32]) -> NDArray[np.intp] | None:
        """Ids of a superset of the k likeliest tokens, or None when it would be most of the vocabulary."""
        best, window = float(logits.max()), self._window
        for _ in range(3):
            ids = np.flatnonzero(logits > best - window)
            if len(ids) >= self._top_k:
                self._window = 0.8 * window if len(ids) > 1024 + 8 * self._top_k else window
                return ids
            window *= 1.5
        return None  # under a mask there may be no k tokens at all, which says nothing about the next position

    def close(self) -> None:
        """Free the samplers. Safe to call twice."""
        if self._chain:
            C.llama_sampler_free(self._chain)
            self._chain = None

    def __del__(self) -> None:
        self.close()
