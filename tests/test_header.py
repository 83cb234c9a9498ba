"""A GGUF header tells what a model is, without its weights being read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localllm.models.header import display_name, read_header, read_model_header
from tests.gguf_files import gguf_bytes, llama_metadata, llama_tensors, n_bytes, write_model
from tests.models import EMBEDDER, need

MODELS = Path(__file__).parent.parent / "models"


def test_a_header_gives_the_facts_of_the_model(tmp_path: Path) -> None:
    path = write_model(tmp_path / "Tiny.Q4_0.gguf")
    header = read_header(path)
    assert (header.name, header.title, header.architecture) == ("Tiny.Q4_0", "Tiny", "llama")
    assert (header.quantization, header.license, header.version) == ("Q4_0", "mit", 3)
    assert (header.n_layer, header.n_ctx_train, header.n_embd, header.n_head) == (2, 4096, 64, 4)
    assert header.head_count_kv == (2, 2)
    assert header.n_vocab == 96
    assert header.has_chat_template and header.purpose == "chat" and not header.recurrent
    assert header.size_bytes == path.stat().st_size
    assert header.weight_bytes == sum(n_bytes(t) for t in llama_tensors())
    assert (
        header.n_params
        == sum(t.n_values for t in header.tensors)
        == 96 * 64 + 64 + 2 * (64 + 64 * 64 * 2 + 64 * 64 + 3 * 64 * 128)
    )


def test_tensor_offsets_point_at_their_data(tmp_path: Path) -> None:
    raw = bytearray(gguf_bytes(llama_metadata(), llama_tensors()))
    path = tmp_path / "m.gguf"
    path.write_bytes(raw)
    last = read_header(path).tensors[-1]
    assert last.name == "blk.1.ffn_down.weight"
    assert last.offset + -(-last.n_bytes // 32) * 32 == len(raw)


def test_long_arrays_are_stepped_over_and_decoded_on_request(tmp_path: Path) -> None:
    tokens = [f"token {i} é" for i in range(5000)]
    path = write_model(
        tmp_path / "m.gguf", tokenizer__ggml__tokens=tokens, tokenizer__ggml__token_type=list(range(5000))
    )
    header = read_header(path)
    assert not isinstance(header.metadata["tokenizer.ggml.tokens"], tuple)
    assert header.n_vocab == 5000
    assert header.values("tokenizer.ggml.tokens") == tuple(tokens)
    assert header.values("tokenizer.ggml.token_type") == tuple(range(5000))
    assert header.values("no.such.key") == ()


def test_the_tokenizer_hash_tells_vocabularies_apart(tmp_path: Path) -> None:
    same = [read_header(write_model(tmp_path / f"{i}.gguf", general__name=f"Name {i}")) for i in range(2)]
    other = read_header(write_model(tmp_path / "o.gguf", tokenizer__ggml__tokens=[f"u{i}" for i in range(96)]))
    none = read_header(write_model(tmp_path / "n.gguf", tokenizer__ggml__tokens=None))
    assert same[0].tokenizer_hash == same[1].tokenizer_hash != other.tokenizer_hash
    assert none.tokenizer_hash == ""


def test_heads_may_differ_by_layer(tmp_path: Path) -> None:
    header = read_header(write_model(tmp_path / "m.gguf", llama__attention__head_count_kv=[2, 0]))
    assert header.head_count_kv == (2, 0)


@pytest.mark.parametrize(
    ("changes", "purpose"),
    [
        ({}, "chat"),
        ({"tokenizer__chat_template": None}, "base"),
        ({"llama__pooling_type": 3}, "embedding"),
        ({"llama__pooling_type": 4}, "reranker"),
        ({"general__type": "adapter"}, "adapter"),
        ({"general__architecture": "clip"}, "projector"),
        ({"general__architecture": "nomic-bert"}, "embedding"),
    ],
)
def test_the_purpose_is_read_from_the_header(tmp_path: Path, changes: dict[str, object], purpose: str) -> None:
    assert read_header(write_model(tmp_path / "m.gguf", **changes)).purpose == purpose


def test_values_of_the_wrong_kind_count_as_absent(tmp_path: Path) -> None:
    changes = {
        "llama__block_count": "two",
        "llama__context_length": True,
        "general__name": 7,
        "general__file_type": 1.5,
    }
    header = read_header(write_model(tmp_path / "m.gguf", **changes))
    assert (header.n_layer, header.n_ctx_train, header.title) == (0, 0, "")
    assert header.quantization in ("Q4_0", "Q8_0")


def test_a_model_in_several_files_is_one(tmp_path: Path) -> None:
    for i in (1, 2, 3):
        write_model(tmp_path / f"Big-Q4_0-{i:05d}-of-00003.gguf", split__count=3, split__no=i - 1)
    second = tmp_path / "Big-Q4_0-00002-of-00003.gguf"
    whole = read_model_header(second)
    assert whole.name == display_name(second) == "Big-Q4_0"
    assert len(whole.tensors) == 3 * len(llama_tensors())
    assert whole.size_bytes == sum(f.stat().st_size for f in tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "O_NONBLOCK"), reason="this system opens files otherwise")
def test_only_the_header_of_a_large_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path / "m.gguf")
    with path.open("ab") as file:
        file.truncate(1 << 32)  # sparse
    seen = 0
    read = os.read

    def counted(descriptor: int, count: int) -> bytes:
        nonlocal seen
        piece = read(descriptor, count)
        seen += len(piece)
        return piece

    monkeypatch.setattr(os, "read", counted)
    read_header(path)
    assert 0 < seen <= 1 << 20


@pytest.mark.model
def test_the_starter_model_is_what_it_should_be() -> None:
    path = MODELS / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.exists():
        pytest.skip("the starter model is missing (make starter)")
    header = read_header(path)
    assert (header.architecture, header.quantization, header.purpose) == ("llama", "Q4_1", "chat")
    assert (header.n_params, header.n_layer, header.n_ctx_train, header.n_vocab) == (134_515_008, 30, 8192, 49_152)
    assert header.head_count_kv == (3,) * 30 and header.n_head == 9
    assert header.tensors[-1].offset + header.tensors[-1].n_bytes <= path.stat().st_size


@pytest.mark.model
def test_the_starter_embedder_is_what_it_should_be() -> None:
    need(EMBEDDER)
    header = read_header(EMBEDDER)
    assert (header.architecture, header.quantization, header.purpose, header.pooling) == (
        "bert",
        EMBEDDER.name.split(".")[-2],
        "embedding",
        "mean",
    )
    assert (header.n_embd, header.n_ctx_train, header.max_tokens, header.n_vocab) == (384, 512, 256, 30_522)
