"""How matrices are divided among threads: the quicker way is found, and no logit depends on it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from localllm.engine import llama_backend
from localllm.engine.llama_backend import LlamaBackend
from localllm.engine.threads import ThreadGovernor, even_parts_are_quicker
from localllm.llama import work_split
from localllm.llama.model import Model
from tests.models import CHAT, need


@pytest.fixture
def model() -> Iterator[Model]:
    need(CHAT)
    if not work_split.can_split():
        pytest.skip("the work can't be divided otherwise on this system")
    before = work_split.splits_evenly()
    opened = Model(CHAT)
    yield opened
    opened.close()
    work_split.split_evenly(before)


def test_no_logit_depends_on_how_the_work_is_divided(model: Model) -> None:
    backend = LlamaBackend(model, n_ctx=256, n_batch=64, n_outputs_max=40, n_threads=2)
    try:
        backend.decode(0, list(range(1000, 1040)), 0, 1)
        for size in (1, 2, 7, 40):
            found = []
            for even in (False, True):
                work_split.split_evenly(even)
                backend.decode(0, list(range(500, 500 + size)), 40, size)
                found.append(np.array([backend.logits(row) for row in range(size)]))
                backend.seq_rm(0, 40)
            assert np.array_equal(found[0], found[1])
    finally:
        backend.close()


def test_ggml_does_as_it_was_told(model: Model) -> None:
    for even in (True, False, True):
        work_split.split_evenly(even)
        assert work_split.splits_evenly() is even


class Quieter(ThreadGovernor):
    """One thread while the machine is crowded; all of them after `leave`."""

    def __init__(self) -> None:
        super().__init__(2)
        self.n_threads = 1
        self.crowded = True

    def look(self, at_rest: bool = False) -> bool:
        changed, self.n_threads = not self.crowded and self.n_threads == 1, 1 if self.crowded else 2
        return changed


def test_what_a_crowd_hid_is_tried_when_it_has_left(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    def try_both(step: object, split: object) -> bool:
        tried.append(step)
        return False

    monkeypatch.setattr(llama_backend, "even_parts_are_quicker", try_both)
    governor = Quieter()
    backend = LlamaBackend(model, n_ctx=256, n_batch=64, n_threads=2, governor=governor)
    try:
        backend.warm_up()
        assert not tried  # one thread divides nothing
        backend.decode(0, [1000, 1001, 1002], 0, 1)
        backend.look_around()
        governor.crowded = False
        backend.look_around()
        assert len(tried) == 1
        assert backend.n_past(0) == 3  # the chat is still there
        governor.crowded = True
        governor.n_threads = 1
        governor.crowded = False
        backend.look_around()
        assert len(tried) == 1
    finally:
        backend.close()


def test_another_thread_count_evaluates_nothing_where_nothing_can_be_chosen(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_backend, "can_split", lambda: False)
    governor = Quieter()
    backend = LlamaBackend(model, n_ctx=256, n_batch=64, n_threads=2, governor=governor)
    try:
        backend.warm_up()
        steps: list[object] = []
        monkeypatch.setattr(backend, "_step", lambda: steps.append(1))
        governor.crowded = False
        backend.look_around()
        assert backend.n_threads == 2
        assert not steps
    finally:
        backend.close()


@pytest.mark.parametrize(("shared", "even", "quicker"), [(5.0, 3.6, True), (5.0, 5.0, False), (5.0, 7.0, False)])
def test_the_quicker_way_is_found(shared: float, even: float, quicker: bool) -> None:
    now, way, steps = 0.0, False, 0

    def step() -> None:
        nonlocal now, steps
        steps += 1
        now += (even if way else shared) / 1000

    def split(on: bool) -> None:
        nonlocal way
        way = on

    assert even_parts_are_quicker(step, split, lambda: now) is quicker
    assert steps == 16


def test_a_large_model_is_tried_on_four_tokens_alone() -> None:
    now, steps = 0.0, 0

    def step() -> None:
        nonlocal now, steps
        steps += 1
        now += 0.5

    assert not even_parts_are_quicker(step, lambda on: None, lambda: now)
    assert steps == 4


def test_the_first_step_of_each_way_does_not_count() -> None:
    """It finds the weights where the other way has left them."""
    times = iter([9.0, 5.0, 9.0, 4.0] * 4)
    now = 0.0

    def step() -> None:
        nonlocal now
        now += next(times) / 1000

    assert even_parts_are_quicker(step, lambda on: None, lambda: now)


@pytest.mark.skipif(sys.platform != "linux" or (os.cpu_count() or 1) < 2, reason="needs Linux and two processors")
def test_a_process_that_was_given_one_processor_keeps_to_it() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {0}); from localllm.llama.work_split import can_split; "
        "print(can_split(), os.sched_getaffinity(0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["False", "{0}\n"]


def compared(code: bytes) -> tuple[int, int]:
    """Where `code` lies, and the address that is found in it."""
    buffer = ctypes.create_string_buffer(code + bytes(16))
    start = ctypes.addressof(buffer)
    return start, work_split._compared_address(start)


@pytest.mark.parametrize("prefix", [b"", b"\xf3\x0f\x1e\xfa"])
def test_the_number_is_found_in_the_code_that_compares_it(prefix: bytes) -> None:
    start, address = compared(prefix + b"\x83\x3d\x10\x00\x00\x00\x01\x0f\x97\xc0\xc3")
    assert address == start + len(prefix) + 7 + 16


@pytest.mark.parametrize(
    "code",
    [
        b"\x83\x3d\x10\x00\x00\x00\x02\x0f\x97\xc0\xc3",  # compares with two
        b"\x83\x3d\x10\x00\x00\x00\x01\x0f\x94\xc0\xc3",  # asks for equality
        b"\x31\xc0\xc3",  # always says no
        b"",
    ],
)
def test_other_code_is_not_believed(code: bytes) -> None:
    assert compared(code)[1] == 0


def test_code_is_no_place_to_write_to() -> None:
    strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value
    number = ctypes.c_uint32()
    if sys.platform == "linux":
        assert not work_split._writable(strlen or 0)
        assert work_split._writable(ctypes.addressof(number))
    assert not work_split._writable(8)
