"""Quantize: llama.cpp's own conversion of one GGUF file into a smaller one."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localllm.errors import ModelError
from localllm.llama._api import C
from localllm.llama.log import native_log

FILE_TYPES: dict[str, int] = {
    name.removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_").removeprefix("ALL_"): getattr(C, name)
    for name in dir(C)
    if name.startswith("LLAMA_FTYPE_") and name != "LLAMA_FTYPE_GUESSED"
}
"""``Q4_0``, ``Q8_0``, ``Q4_K_M``, ... as llama.cpp numbers them."""


def quantize_file(
    source: Path,
    target: Path,
    file_type: str,
    *,
    n_threads: int = 0,
    allow_requantize: bool = True,
    pure: bool = False,
    quantize_output: bool = True,
    tensor_types: Mapping[str, str] | None = None,
    prune_layers: Sequence[int] = (),
) -> None:
    """Write `source` again as `target` with other weight types or fewer layers; blocks until it is done.

    `target` is written under a temporary name and renamed when whole.

    Args:
        source: A validated GGUF file.
        target: Where the result goes.
        file_type: A key of `FILE_TYPES`, or ``COPY`` to keep the types.
        n_threads: 0 means all cores.
        allow_requantize: Accept a source that is quantized already, at some loss.
        pure: The same type for every tensor.
        quantize_output: Quantize the output layer too.
        tensor_types: ggml type names by a pattern of tensor names, such as ``{"attn_v": "Q8_0"}``.
        prune_layers: Numbers of layers to leave out.

    Raises:
        ModelError: llama.cpp could not do it; the message carries its own last words.
        ValueError: There is no such type.
    """
    log = native_log()
    params = C.llama_model_quantize_default_params()
    params.nthread = n_threads
    params.allow_requantize = allow_requantize
    params.pure = pure
    params.quantize_output_tensor = quantize_output
    if file_type == "COPY":
        params.only_copy = True
    elif file_type in FILE_TYPES:
        params.ftype = FILE_TYPES[file_type]
    else:
        raise ValueError(f"there is no file type {file_type!r}")
    keep: list[Any] = []  # what the parameters point to
    if tensor_types:
        overrides = (C.llama_model_tensor_override * (len(tensor_types) + 1))()
        for override, (pattern, name) in zip(overrides, tensor_types.items(), strict=False):
            override.pattern = pattern.encode()
            override.type = _tensor_type(name)
        keep.append(overrides)
        params.tt_overrides = overrides
    if prune_layers:
        layers = (ctypes.c_int32 * (len(prune_layers) + 1))(*prune_layers, -1)
        keep.append(layers)
        params.prune_layers = layers
    part = target.with_name(target.name + ".part")
    try:
        with log.capture():
            code = C.llama_model_quantize(os.fsencode(source), os.fsencode(part), ctypes.byref(params))
        if code:
            reason = log.first_error() or f"code {code}"
            raise ModelError(f"{source.name} could not be converted to {file_type}: {reason}.")
        part.chmod(0o600)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _tensor_type(name: str) -> int:
    value = getattr(C, f"GGML_TYPE_{name.upper()}", None)
    if value is None:
        raise ValueError(f"there is no tensor type {name!r}")
    return int(value)
