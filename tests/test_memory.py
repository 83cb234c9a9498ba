"""The memory estimate: checked against what llama.cpp allocates, monotonous everywhere, and honest about limits."""

from __future__ import annotations

import ctypes
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.errors import ModelDoesNotFit
from localllm.models import ram
from localllm.models.header import Header, read_header
from localllm.models.memory import RESERVE, Load, context_window, fits, gpu_layers, kv_bytes, largest_context
from localllm.models.tensor_types import row_bytes
from tests.gguf_files import write_model

STARTER = Path(__file__).parent.parent / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
MIB = 1 << 20


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Header:
    return read_header(write_model(tmp_path_factory.mktemp("m") / "tiny.gguf"))


def variant(folder: Path, **changes: Any) -> Header:
    return read_header(write_model(folder / "variant.gguf", **changes))


def test_rows_are_sized_as_ggml_does() -> None:
    assert [row_bytes(t, 256) for t in ("f16", "Q8_0", "q4_0", "q5_1", "f32")] == [512, 272, 144, 192, 1024]
    with pytest.raises(ValueError, match="q9_9"):
        row_bytes("q9_9", 1)


def test_the_window_is_the_models_own_up_to_a_bound_and_rounded_up(tiny: Header, tmp_path: Path) -> None:
    assert context_window(tiny) == 4096
    assert context_window(variant(tmp_path, llama__context_length=131_072)) == 8192
    assert (context_window(tiny, 1000), context_window(tiny, 1024)) == (1024, 1024)


def test_the_cache_is_as_large_as_its_rows(tiny: Header) -> None:
    per_token_layer = 2 * (2 * 16) * 2  # K and V, 2 heads of 16, two bytes each
    assert kv_bytes(tiny, 4096, Load()) == 4096 * 2 * per_token_layer
    assert kv_bytes(tiny, 4096, Load(kv_type="q8_0")) == 4096 * 2 * 2 * 34
    assert kv_bytes(tiny, 4096, Load(kv_type="f16", kv_type_v="q8_0")) == 4096 * 2 * (64 + 34)


def test_layers_without_attention_cost_no_cache(tmp_path: Path) -> None:
    assert kv_bytes(variant(tmp_path, llama__attention__head_count_kv=[2, 0]), 1024, Load()) == 1024 * 128


def test_layers_with_a_window_hold_the_window_only(tmp_path: Path) -> None:
    changes = {"llama__attention__sliding_window": 512, "llama__attention__sliding_window_pattern": [True, False]}
    header = variant(tmp_path, **changes)
    assert kv_bytes(header, 8192, Load(n_batch=512)) == (1024 + 8192) * 128
    assert kv_bytes(header, 512, Load(n_batch=512)) == 2 * 512 * 128


def test_recurrent_layers_hold_a_state_that_does_not_grow(tmp_path: Path) -> None:
    changes = {
        "llama__attention__head_count_kv": [2, 0], "llama__ssm__conv_kernel": 4, "llama__ssm__inner_size": 128,
        "llama__ssm__state_size": 16, "llama__ssm__group_count": 1,
    }  # fmt: skip
    header = variant(tmp_path, **changes)
    state = 4 * (3 * (128 + 2 * 16) + 16 * 128)
    assert kv_bytes(header, 1024, Load()) == 1024 * 128 + state
    assert kv_bytes(header, 2048, Load()) == 2048 * 128 + state


def test_a_draft_model_is_counted_with_its_cache(tiny: Header) -> None:
    alone, both = fits(tiny, available=0), fits(tiny, draft=tiny, available=0)
    assert both.draft == alone.total and both.total == 2 * alone.total


def test_the_verdict_knows_a_reserve(tiny: Header) -> None:
    total = fits(tiny, available=0).total
    verdicts = [fits(tiny, available=n).verdict for n in (total - 1, total, total + RESERVE - 1, total + RESERVE, 0)]
    assert verdicts == ["no", "tight", "tight", "fits", "fits"]


def test_what_does_not_fit_is_refused_with_both_figures(tiny: Header) -> None:
    fits(tiny, available=1 << 40).check()
    with pytest.raises(ModelDoesNotFit, match=r"needs \d+ MiB with a context of 4,096 tokens, and 0 MiB are free"):
        fits(tiny, available=1).check()


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 200_000), more=st.integers(0, 50_000), kind=st.sampled_from(["f32", "f16", "q8_0", "q4_0"]))
def test_a_longer_window_never_costs_less(tiny: Header, n: int, more: int, kind: str) -> None:
    assert fits(tiny, Load(n, kind), available=0).total <= fits(tiny, Load(n + more, kind), available=0).total


@settings(max_examples=60, deadline=None)
@given(available=st.integers(0, 40 * MIB))
def test_the_longest_window_fits_and_the_next_does_not(tiny: Header, available: int) -> None:
    longest = largest_context(tiny, Load(), available)
    assert longest % 256 == 0 and longest <= tiny.n_ctx_train
    if longest:
        assert fits(tiny, Load(longest), available=0).total <= available
    if longest < tiny.n_ctx_train:
        assert fits(tiny, Load(longest + 256), available=0).total > available


@settings(max_examples=60, deadline=None)
@given(free=st.integers(0, 20 * MIB), more=st.integers(0, 20 * MIB))
def test_more_gpu_memory_never_takes_fewer_layers(tiny: Header, free: int, more: int) -> None:
    few, many = gpu_layers(tiny, Load(), free, reserve=0), gpu_layers(tiny, Load(), free + more, reserve=0)
    assert 0 <= few <= many <= tiny.n_layer + 1


def test_all_layers_and_the_output_go_to_a_large_gpu(tiny: Header) -> None:
    assert gpu_layers(tiny, Load(), 80 << 30) == 3
    assert gpu_layers(tiny, Load(), 1 << 20) == 0


# ---- what this computer has ---------------------------------------------------------------------------------------


def test_the_system_says_what_is_free() -> None:
    assert 0 < ram.available_memory() <= ram.total_memory()


def test_the_figures_of_linux_are_read(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       1000 kB\nMemAvailable:    400 kB\nHugePages_Total:       0\n")
    assert ram._meminfo(tmp_path / "meminfo") == {"MemTotal": 1_024_000, "MemAvailable": 409_600, "HugePages_Total": 0}


@pytest.mark.parametrize(
    ("files", "room"),
    [
        ({}, None),
        ({"memory.max": "max"}, None),
        ({"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 1\ninactive_file 200\n"}, 500),
        ({"memory.max": "1000", "memory.current": "1700", "memory.stat": ""}, 0),
        (
            {
                "memory/memory.limit_in_bytes": "1000",
                "memory/memory.usage_in_bytes": "600",
                "memory/memory.stat": "total_inactive_file 100\n",
            },
            500,
        ),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path: Path, files: dict[str, str], room: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert ram._container_room(tmp_path) == room


# ---- against llama.cpp --------------------------------------------------------------------------------------------


def buffers(path: Path, load: Load, n_ctx: int) -> dict[str, float]:
    """What llama.cpp says that it allocates, in MiB, by kind."""
    import llama_cpp as c

    lines: list[str] = []

    @c.llama_log_callback  # type: ignore[untyped-decorator]
    def listen(level: int, text: bytes, data: object) -> None:
        lines.append(text.decode("utf-8", "replace"))

    @c.llama_log_callback  # type: ignore[untyped-decorator]
    def ignore(level: int, text: bytes, data: object) -> None:
        return

    KEPT_ALIVE.extend((listen, ignore))
    c.llama_log_set(listen, ctypes.c_void_p(0))
    try:
        model = c.llama_model_load_from_file(str(path).encode(), c.llama_model_default_params())
        params = c.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = n_ctx, load.n_batch, load.n_batch
        params.flash_attn_type = 1 if load.flash_attention else 0
        kinds = {"f16": c.GGML_TYPE_F16, "q8_0": c.GGML_TYPE_Q8_0, "f32": c.GGML_TYPE_F32}
        params.type_k, params.type_v = kinds[load.kv_type], kinds[load.kv_type_v or load.kv_type]
        params.n_threads = params.n_threads_batch = 1
        context = c.llama_init_from_model(model, params)
        assert context
        c.llama_free(context)
        c.llama_model_free(model)
    finally:
        c.llama_log_set(ignore, ctypes.c_void_p(0))
    found: dict[str, float] = {}
    for kind, size in re.findall(r"(KV|compute) buffer size =\s+([\d.]+) MiB", "".join(lines)):
        found[kind] = found.get(kind, 0.0) + float(size)
    return found


KEPT_ALIVE: list[Any] = []
"""Callbacks that native code may call until the process ends."""


@pytest.mark.model
@pytest.mark.parametrize(
    ("n_ctx", "load"),
    [
        (2048, Load()),
        (8192, Load()),
        (4096, Load(kv_type="q8_0")),
        (4096, Load(kv_type="f16", kv_type_v="q8_0")),
        (1024, Load(n_batch=128)),
        (4096, Load(flash_attention=False)),
        (8192, Load(flash_attention=False)),
    ],
)
def test_the_estimate_is_what_llama_cpp_allocates(n_ctx: int, load: Load) -> None:
    """The KV cache to the byte; compute buffers to within a fifth, and not too low by more than a tenth."""
    if not STARTER.exists():
        pytest.skip("the starter model is missing (make starter)")
    real = buffers(STARTER, load, n_ctx)
    header = read_header(STARTER)
    estimate = fits(header, replace(load, n_ctx=n_ctx), available=0)
    assert estimate.kv_cache / MIB == pytest.approx(real["KV"], abs=0.01)
    assert 0.9 * real["compute"] <= estimate.compute / MIB <= 1.2 * real["compute"]
