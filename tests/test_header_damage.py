"""Damaged, foreign and hostile files are refused with one clear line: never a crash, a hang or a large allocation."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localllm.errors import ModelError, ModelNotFound, NotGGUF
from localllm.models.header import Header, read_header, read_model_header
from localllm.models.memory import Load, fits, gpu_layers
from tests.gguf_files import gguf_bytes, llama_metadata, llama_tensors, text, value, write_model

WHOLE = gguf_bytes(llama_metadata(), llama_tensors())
STARTER = Path(__file__).parent.parent / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def use(header: Header) -> None:
    """Everything that is read off a header; none of it may fail on a strange one."""
    for name in dir(Header):
        if isinstance(getattr(Header, name), property):
            getattr(header, name)
    assert len(header.quantization) < 20 and header.n_params >= 0 and header.weight_bytes >= 0
    header.values("tokenizer.ggml.tokens")
    fits(header, Load(2048), available=0)
    gpu_layers(header, Load(2048), 1 << 30)


def refuse(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_header(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def test_a_path_that_does_not_exist_is_not_found(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path / "no" / "folder.gguf"):
        with pytest.raises(ModelNotFound):
            read_header(path)


def test_a_file_used_as_a_folder_is_not_found(tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf")
    with pytest.raises(ModelNotFound):
        read_header(tmp_path / "m.gguf" / "inner.gguf")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "folder" in refuse(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "pipe" in refuse(tmp_path / "pipe.gguf")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device here")
def test_a_device_is_refused() -> None:
    assert "device" in refuse(Path("/dev/zero"))


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path / "m.gguf")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def denied(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", denied)
    assert "Permission denied" in refuse(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.touch()
    assert "empty" in refuse(path)


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"GG", "2 bytes"),
        (b"hello, this is a text file, not a model", "not a GGUF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a GGUF"),
        (b"ggjt" + bytes(100), "old GGML"),
        (b"PK\x03\x04" + bytes(100), "zip"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(100), "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(100), "big-endian"),
        (b"GGUF" + struct.pack("<I", 9) + bytes(100), "version 9"),
    ],
)
def test_a_foreign_file_is_named_for_what_it_is(tmp_path: Path, raw: bytes, word: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(raw)
    assert word in refuse(path)


def test_truncation_at_every_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    last = max(t.offset + t.n_bytes for t in read_header(write_model(tmp_path / "whole.gguf")).tensors)
    steps = sorted({*range(1, last, 97), 3, 4, 7, 8, 16, 24, 25, last - 1})
    assert len(steps) > 100
    for cut in steps:
        path.write_bytes(WHOLE[:cut])
        message = refuse(path)
        assert "cut short" in message or "bytes" in message
        if cut > 24:
            assert "cut short" in message and f"{cut:,}" in message


@pytest.mark.model
def test_the_starter_model_truncated_at_twelve_places_is_cut_short(tmp_path: Path) -> None:
    if not STARTER.exists():
        pytest.skip("the starter model is missing (make starter)")
    size = STARTER.stat().st_size
    path = tmp_path / "cut.gguf"
    places = [
        25,
        100,
        1_000,
        10_000,
        100_000,
        1_000_000,
        1_700_000,
        2_000_000,
        size // 4,
        size // 2,
        size - 4096,
        size - 33,
    ]
    with STARTER.open("rb") as source:
        path.write_bytes(source.read(2_000_000))
    for place in reversed(places):
        os.truncate(path, place)  # only sizes matter behind the header, so no weights are copied
        assert f"cut short: {place:,}" in refuse(path)
        if place > 2_000_000:
            assert f"{place:,} of {size:,} bytes" in refuse(path) or f"{place:,} of 98," in refuse(path)


def counts(n_tensors: int, n_pairs: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_pairs) + bytes(4096)


def pair(key: str, raw: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text(key) + raw + bytes(4096)


def one_tensor(shape: tuple[int, ...], kind: int = 0, offset: int = 0, n_dims: int | None = None) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("token_embd.weight")
    n = len(shape) if n_dims is None else n_dims
    return head + struct.pack(f"<I{len(shape)}QIQ", n, *shape, kind, offset) + bytes(4096)


HUGE = (1 << 64) - 1
ABSURD = {
    "tensor count": counts(HUGE, 0),
    "metadata count": counts(0, HUGE),
    "both counts": counts(1 << 40, 1 << 40),
    "key length": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, HUGE) + bytes(4096),
    "text length": pair("a", struct.pack("<IQ", 8, 1 << 62)),
    "array count": pair("a", struct.pack("<IIQ", 9, 4, HUGE)),
    "text array count": pair("a", struct.pack("<IIQ", 9, 8, 1 << 60)),
    "text inside an array": pair("a", struct.pack("<IIQQ", 9, 8, 2, HUGE)),
    "array of arrays": pair("a", struct.pack("<IIQ", 9, 9, 3)),
    "unknown value type": pair("a", struct.pack("<I", 77)),
    "unknown element type": pair("a", struct.pack("<IIQ", 9, 77, 3)),
    "dimensions": one_tensor((), n_dims=1 << 31),
    "shape": one_tensor((HUGE, HUGE, HUGE, HUGE)),
    "offset": one_tensor((32,), offset=HUGE),
    "tensor type": one_tensor((32,), kind=4),
    "row not a multiple of the block": one_tensor((33,), kind=2),
    "alignment": gguf_bytes(llama_metadata(general__alignment=3), llama_tensors()),
    "alignment zero": gguf_bytes(llama_metadata(general__alignment=0), llama_tensors()),
    "alignment text": gguf_bytes(llama_metadata(general__alignment="32"), llama_tensors()),
    "the same tensor twice": gguf_bytes(llama_metadata(), llama_tensors() * 2),
    "the same key twice": b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + 2 * (text("a") + value(1)) + bytes(99),
}


@pytest.mark.parametrize("case", ABSURD)
def test_an_absurd_claim_is_refused_without_a_large_allocation(tmp_path: Path, case: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(ABSURD[case])
    tracemalloc.start()
    try:
        refuse(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_absurd_claims_in_a_very_large_file_read_little(tmp_path: Path) -> None:
    """A sparse terabyte makes false lengths look possible; the bound on headers still holds."""
    path = tmp_path / "m.gguf"
    for case in ("text length", "array count", "text array count", "tensor count", "shape"):
        path.write_bytes(ABSURD[case])
        try:
            os.truncate(path, 1 << 40)
        except OSError:
            pytest.skip("this file system has no large sparse files")
        refuse(path)


def test_a_missing_part_of_a_split_model_is_named(tmp_path: Path) -> None:
    first = write_model(tmp_path / "Big-00001-of-00003.gguf", split__count=3)
    write_model(tmp_path / "Big-00002-of-00003.gguf")
    with pytest.raises(NotGGUF, match="Big-00003-of-00003"):
        read_model_header(first)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32), flips=st.integers(1, 40))
def test_random_damage_is_read_or_refused_but_never_crashes(tmp_path: Path, seed: int, flips: int) -> None:
    source = random.Random(seed)
    raw = bytearray(WHOLE)
    for _ in range(flips):
        raw[source.randrange(0, 3000)] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
    path = tmp_path / "m.gguf"
    path.write_bytes(raw)
    try:
        use(read_header(path))
    except ModelError as error:
        assert "\n" not in str(error)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=300))
def test_random_bytes_behind_the_magic_never_crash(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + raw)
    try:
        use(read_header(path))
    except ModelError as error:
        assert "\n" not in str(error)
