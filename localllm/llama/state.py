"""State: the KV cache of one sequence as bytes, and back."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from localllm.llama._api import C
from localllm.llama.context import Context


def read_state(context: Context, seq: int) -> NDArray[np.uint8]:
    """The state of a sequence, in llama.cpp's own format, which depends on the model and on the cache types."""
    size = C.llama_state_seq_get_size(context.pointer, seq)
    data = np.empty(size, np.uint8)
    written = C.llama_state_seq_get_data(context.pointer, _bytes_at(data), size, seq)
    return data[:written]


def write_state(context: Context, seq: int, data: NDArray[np.uint8]) -> bool:
    """Replace the state of a sequence by bytes from `read_state`; False when they don't suit this context.

    The bytes must be known to be whole: llama.cpp checks shapes and types, not contents.
    """
    data = np.ascontiguousarray(data)
    context.seq_rm(seq, 0)
    return bool(C.llama_state_seq_set_data(context.pointer, _bytes_at(data), len(data), seq))


def _bytes_at(data: NDArray[np.uint8]) -> object:
    return ctypes.cast(data.ctypes.data, ctypes.POINTER(ctypes.c_uint8))
