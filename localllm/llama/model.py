"""Model: the weights of one GGUF file, loaded."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from localllm.errors import ModelLoadFailed
from localllm.llama._api import C
from localllm.llama.devices import device_handles
from localllm.llama.log import native_log
from localllm.llama.vocab import Vocab


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the loader put the model, read from its own messages."""

    layers: tuple[str, ...] = ()
    """Device of each layer, the output layer last."""
    buffers: dict[str, int] = field(default_factory=dict)
    """Bytes of weights per buffer type, such as ``CPU_REPACK`` or ``CUDA0``."""

    @property
    def n_gpu_layers(self) -> int:
        """Layers that are not on the CPU."""
        return sum(name != "CPU" for name in self.layers)


class Model:
    """Weights and vocabulary.

    Args:
        path: A GGUF file that was validated before: llama.cpp ends the process on some damaged ones.
        n_gpu_layers: Layers on the GPU; -1 for all that fit.
        main_gpu: The device that holds what is not split.
        tensor_split: Share of each device; empty lets llama.cpp decide.
        devices: Names of the devices to use; None for all.
        load: ``memory`` reads the weights into memory of our own, ``mmap`` maps the file.
        vocab_only: Load no weights, for tokenizing alone.
        on_progress: Called with 0 to 1 while loading; returning False stops the load.

    Raises:
        ModelLoadFailed: llama.cpp refused the file, or the load was stopped.
    """

    def __init__(
        self,
        path: Path,
        *,
        n_gpu_layers: int = 0,
        main_gpu: int = 0,
        tensor_split: Sequence[float] = (),
        devices: Sequence[str] | None = None,
        load: Literal["memory", "mmap"] = "mmap",
        vocab_only: bool = False,
        on_progress: Callable[[float], bool] | None = None,
    ) -> None:
        self.path = path
        log = native_log()
        params = C.llama_model_default_params()
        params.n_gpu_layers = n_gpu_layers
        params.main_gpu = main_gpu
        params.vocab_only = vocab_only
        params.use_extra_bufts = True
        params.load_mode = C.LLAMA_LOAD_MODE_NONE if load == "memory" else C.LLAMA_LOAD_MODE_MMAP
        keep: list[Any] = []  # what the parameters point to must live until the load is over
        if tensor_split:
            shares = (ctypes.c_float * max(C.LLAMA_MAX_DEVICES, len(tensor_split)))(*tensor_split)
            keep.append(shares)
            params.tensor_split = shares
        if devices is not None:
            handles = device_handles(devices)
            keep.append(handles)
            params.devices = ctypes.cast(handles, ctypes.c_void_p)
        if on_progress is not None:
            params.progress_callback = C.llama_progress_callback(lambda fraction, _user: bool(on_progress(fraction)))
            keep.append(params.progress_callback)
        with log.capture() as lines:
            self._pointer = C.llama_model_load_from_file(os.fsencode(path), params)
        if not self._pointer:
            reason = log.first_error() or "llama.cpp gave no reason"
            raise ModelLoadFailed(
                f"{path.name} could not be loaded: {reason}.", "The log file of the worker has more; try another file."
            )
        self.placement = read_placement(lines)
        self.vocab = Vocab(C.llama_model_get_vocab(self._pointer))
        self.n_params: int = C.llama_model_n_params(self._pointer)
        self.size_bytes: int = C.llama_model_size(self._pointer)
        self.n_layer: int = C.llama_model_n_layer(self._pointer)
        self.n_embd: int = C.llama_model_n_embd(self._pointer)
        self.n_ctx_train: int = C.llama_model_n_ctx_train(self._pointer)
        self.n_swa: int = C.llama_model_n_swa(self._pointer)
        self.recurrent: bool = C.llama_model_is_recurrent(self._pointer) or C.llama_model_is_hybrid(self._pointer)
        self.has_encoder: bool = C.llama_model_has_encoder(self._pointer)
        self.has_decoder: bool = C.llama_model_has_decoder(self._pointer)

    @property
    def pointer(self) -> Any:
        """The native handle.

        Raises:
            ValueError: The model was closed.
        """
        if not self._pointer:
            raise ValueError("the model was closed")
        return self._pointer

    def metadata(self, key: str) -> str:
        """A value of the file's header as text; empty when there is none."""
        size = 256
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = C.llama_model_meta_val_str(self.pointer, key.encode(), buffer, size)
            if n < 0:
                return ""
            if n < size:
                return buffer.value.decode("utf-8", "replace")
            size = n + 1

    @property
    def architecture(self) -> str:
        """``general.architecture``: ``llama``, ``qwen3``, ``bert``, ..."""
        return self.metadata("general.architecture")

    @property
    def quantization(self) -> str:
        """Name of the file's weight type, such as ``Q4_1``."""
        name: bytes | None = C.llama_ftype_name(C.llama_model_ftype(self.pointer))
        return name.decode().split(" (")[0] if name else "unknown"

    @property
    def chat_template(self) -> str:
        """The chat template in the file; empty when there is none."""
        text: bytes | None = C.llama_model_chat_template(self.pointer, None)
        return text.decode("utf-8", "replace") if text else ""

    @property
    def rerank_template(self) -> str:
        """How a question and a passage are put to a reranker that was made of a chat model; empty for others."""
        text: bytes | None = C.llama_model_chat_template(self.pointer, b"rerank")
        return text.decode("utf-8", "replace") if text else ""

    def close(self) -> None:
        """Free the weights; contexts of this model must be closed before. Safe to call twice."""
        if self._pointer:
            C.llama_model_free(self._pointer)
            self._pointer = None


def read_placement(lines: Sequence[str]) -> Placement:
    """Find out from the loader's messages where each layer and each buffer went."""
    text = "".join(lines)
    layers = re.findall(r"layer\s+\d+ assigned to device (\S+?),", text)
    buffers: dict[str, int] = {}
    for name, mib in re.findall(r"(\S+) model buffer size =\s+([\d.]+) MiB", text):
        buffers[name] = buffers.get(name, 0) + round(float(mib) * 1024 * 1024)
    return Placement(tuple(layers), buffers)
