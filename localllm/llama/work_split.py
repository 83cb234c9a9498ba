"""Work split: whether the threads of a matrix product fetch its rows in chunks, or have one part of it each.

ggml lets threads fetch the next chunk from a common counter, so that a quick core does more than a slow one. Where two
cores share no cache that costs more than it gives: every fetch is a round trip between them, and what part of the
weights a core reads is another with every token. Each thread has a fixed part where ggml believes the machine to be a
NUMA one (``ggml_is_numa`` in ggml-cpu.c and repack.cpp; measured in llama.cpp's pull request 6915), and that depends on
the number of nodes that the system lists, which knows nothing of caches, and on no parameter. So that number is set
here. It decides how rows are divided, never what is computed: logits stay the same bit for bit.

The number has no name outside ggml. Its address is read from the machine code of ``ggml_is_numa``, and believed only
when that function answers as it was told to; where anything is unexpected, all stays as ggml has it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

from localllm.llama._api import library

_ENDBR64 = b"\xf3\x0f\x1e\xfa"
_COMPARE = b"\x83\x3d"  # cmpl $1, offset(%rip)
_ANSWER = b"\x01\x0f\x97\xc0\xc3"  # ... seta %al; ret
_INSTRUCTION = 7
"""Bytes of the comparison; the offset counts from behind it."""
_MOST_PROCESSORS = 512
"""That ggml knows of (``GGML_NUMA_MAX_CPUS``)."""


def can_split() -> bool:
    """Whether the way of dividing can be chosen in this process: so far on Linux, on x86-64 processors."""
    return _nodes() is not None


def split_evenly(even: bool) -> None:
    """Give each thread a fixed part of every matrix, or let them fetch chunks, in all contexts of this process.

    To be called while nothing is evaluated; without effect where `can_split` is false.
    """
    if (nodes := _nodes()) is not None:
        nodes.value = 2 if even else 1


def splits_evenly() -> bool:
    """What ggml does now."""
    is_numa = _function("ggml_is_numa", ctypes.c_bool)
    return is_numa is not None and bool(is_numa())


@cache
def _nodes() -> ctypes.c_uint32 | None:
    """ggml's number of NUMA nodes, or None where it is not to be had."""
    is_numa, count = _function("ggml_is_numa", ctypes.c_bool), _function("ggml_numa_init", None)
    if sys.platform != "linux" or platform.machine() != "x86_64" or is_numa is None or count is None or _pinned():
        return None
    address = _compared_address(ctypes.cast(is_numa, ctypes.c_void_p).value or 0)
    if not _writable(address):
        return None
    count(0)  # ggml counts nodes and processors, and binds no thread
    nodes = ctypes.c_uint32.from_address(address)
    before = nodes.value
    if not 0 < before <= 8 or bool(is_numa()) != (before > 1):
        return None
    answers = []
    for value in (2, 1):
        nodes.value = value
        answers.append(bool(is_numa()))
    if answers != [True, False]:
        nodes.value = before
        return None
    return nodes


def _function(name: str, restype: Any) -> Any:
    lib = library("ggml-cpu")
    try:
        function: Any = lib[name] if lib is not None else None
    except AttributeError:
        return None
    if function is not None:
        function.argtypes, function.restype = ([] if restype is not None else [ctypes.c_int]), restype
    return function


def _compared_address(function: int) -> int:
    """Address of the number that a function compares with one, all that it does; 0 where its code is another."""
    code = ctypes.string_at(function, len(_ENDBR64) + _INSTRUCTION + len(_ANSWER)) if function else b""
    start = len(_ENDBR64) if code.startswith(_ENDBR64) else 0
    compare, answer = code[start : start + 2], code[start + 6 :]
    if compare != _COMPARE or not answer.startswith(_ANSWER):
        return 0
    offset = int.from_bytes(code[start + 2 : start + 6], "little", signed=True)
    return function + start + _INSTRUCTION + offset


def _writable(address: int) -> bool:
    """Whether four bytes at this address are data of this process."""
    try:
        maps = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    for line in maps:
        span, rights = line.split()[:2]
        start, end = (int(number, 16) for number in span.split("-"))
        if start <= address <= end - 4:
            return rights.startswith("rw")
    return False


def _pinned() -> bool:
    """Whether someone chose this process's processors: with fixed parts ggml frees its first thread to run on all."""
    allowed, processors = os.sched_getaffinity(0), os.cpu_count() or 1
    if processors > _MOST_PROCESSORS:
        return True
    try:
        os.sched_setaffinity(0, range(processors))
        free = os.sched_getaffinity(0) == allowed
        os.sched_setaffinity(0, allowed)
    except OSError:
        return True
    return not free
