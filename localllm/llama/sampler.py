"""Chain: llama.cpp's own samplers, applied to logits that we hold."""

from __future__ import annotations

import ctypes
from copy import copy

import numpy as np
from numpy.typing import NDArray

from localllm.llama._api import C, quick

_ROWS = 32
"""Tokens per column of the search for the likeliest."""
_CERTAIN = np.zeros(1, np.float32)
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
        self._array = C.llama_token_data_array()
        self._reference = ctypes.byref(self._array)
        self._make_room(n_vocab)

    def _make_room(self, n_vocab: int) -> None:
        self._above = np.empty(n_vocab, np.bool_)
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._candidates = np.zeros(n_vocab, _CANDIDATE)
        self._pointer = ctypes.cast(self._candidates.ctypes.data, C.llama_token_data_p)

    def ahead(self, n: int) -> Chain:
        """A chain that draws with the random numbers of this one's draws behind its next `n`; this one stays as it is.

        Both work in the same memory, so one draw has to be over before the next. The copy is to be closed as well.
        """
        other = copy(self)
        other._chain = C.llama_sampler_clone(self._chain)
        for _ in range(n):  # every draw takes one number, however few the candidates
            other.draw(_CERTAIN)
        return other

    def _add(self, sampler: object) -> None:
        C.llama_sampler_chain_add(self._chain, sampler)

    def draw(self, logits: NDArray[np.float32]) -> int:
        """A token id drawn from these logits, shape (n_vocab,), which stay as they are."""
        if len(logits) > len(self._ids):  # those of a draft model, whose vocabulary may be larger
            self._make_room(len(logits))
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

    @property
    def chance(self) -> float:
        """The probability that the last draw had of its outcome, after all samplers, 0 to 1."""
        return float(self._array.data[self._array.selected].p)

    def _shortlist(self, logits: NDArray[np.float32]) -> NDArray[np.intp] | None:
        """Ids of the k likeliest tokens and few others, or None where that would be most of the vocabulary.

        The vocabulary is dealt out to columns. Where k columns reach a value, so do k tokens: the k-th highest of the
        columns' best lies below none of the k likeliest.
        """
        n_columns = len(logits) // _ROWS
        if self._top_k > n_columns // 2:
            return None
        best = logits[: _ROWS * n_columns].reshape(_ROWS, n_columns).max(0)
        best.partition(n_columns - self._top_k)
        bound = best[n_columns - self._top_k]
        if bound == -np.inf:  # a mask leaves fewer than k tokens
            return None
        np.greater_equal(logits, bound, out=self._above[: len(logits)])
        ids: NDArray[np.intp] = np.flatnonzero(self._above[: len(logits)])
        return ids

    def close(self) -> None:
        """Free the samplers. Safe to call twice."""
        if self._chain:
            C.llama_sampler_free(self._chain)
            self._chain = None

    def __del__(self) -> None:
        self.close()
