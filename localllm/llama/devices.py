"""Devices: the processors that this build of llama.cpp can use, and what of the CPU it makes use of."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from localllm.errors import ModelLoadFailed
from localllm.llama._api import C, library
from localllm.llama.log import native_log

Kind = Literal["cpu", "gpu", "igpu", "accel"]
_KINDS: tuple[Kind, ...] = ("cpu", "gpu", "igpu", "accel", "accel")


@dataclass(frozen=True, slots=True)
class NativeDevice:
    """One device of the ggml backends; memory in bytes, 0 where the backend does not say."""

    name: str
    description: str
    kind: Kind
    memory_free: int
    memory_total: int


@cache
def _backend() -> Any:
    """libggml and libggml-base with the types of the functions used here."""
    native_log()
    ggml, base = library("ggml"), library("ggml-base")
    if ggml is None or base is None:
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    for lib, name, argtypes, restype in (
        (ggml, "ggml_backend_dev_count", [], size),
        (ggml, "ggml_backend_dev_get", [size], pointer),
        (ggml, "ggml_backend_dev_by_name", [ctypes.c_char_p], pointer),
        (base, "ggml_backend_dev_name", [pointer], ctypes.c_char_p),
        (base, "ggml_backend_dev_description", [pointer], ctypes.c_char_p),
        (base, "ggml_backend_dev_type", [pointer], ctypes.c_int),
        (base, "ggml_backend_dev_memory", [pointer, ctypes.POINTER(size), ctypes.POINTER(size)], None),
    ):
        function: Any = getattr(lib, name)
        function.argtypes, function.restype = argtypes, restype
    return ggml, base


def list_devices() -> list[NativeDevice]:
    """Every device, in llama.cpp's order."""
    if (libs := _backend()) is None:
        return []
    ggml, base = libs
    devices = []
    for i in range(ggml.ggml_backend_dev_count()):
        handle = ggml.ggml_backend_dev_get(i)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        base.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
        devices.append(
            NativeDevice(
                base.ggml_backend_dev_name(handle).decode("utf-8", "replace"),
                base.ggml_backend_dev_description(handle).decode("utf-8", "replace"),
                _KINDS[min(base.ggml_backend_dev_type(handle), len(_KINDS) - 1)],
                free.value,
                total.value,
            )
        )
    return devices


def device_handles(names: Sequence[str]) -> Any:
    """A NULL-terminated array of device handles for the model parameters.

    Raises:
        ModelLoadFailed: There is no device of that name.
    """
    libs = _backend()
    array = (ctypes.c_void_p * (len(names) + 1))()
    for i, name in enumerate(names):
        handle = libs[0].ggml_backend_dev_by_name(name.encode()) if libs else None
        if not handle:
            known = ", ".join(d.name for d in list_devices()) or "none"
            raise ModelLoadFailed(f"There is no device {name!r}.", f"Devices of this build: {known}.")
        array[i] = handle
    return array


def supports_gpu() -> bool:
    """Whether this build can put layers on anything but the CPU."""
    native_log()
    return bool(C.llama_supports_gpu_offload())


def cpu_features() -> dict[str, bool]:
    """What of the processor this build of llama.cpp makes use of (``AVX2``, ``AVX512``, ``NEON``, ``OPENMP``, ...)."""
    native_log()
    features: dict[str, bool] = {}
    for part in C.llama_print_system_info().decode("utf-8", "replace").split("|"):
        name, _, value = part.rpartition("=")
        if name.strip():
            features[name.split(":")[-1].strip()] = value.strip() == "1"
    return features


def version() -> str:
    """llama.cpp's own version, as it reports it."""
    text: bytes | None = C.llama_version()
    return text.decode("utf-8", "replace") if text else ""
