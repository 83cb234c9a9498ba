"""Small GGUF files made by hand, for tests that need no real weights."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from localllm.models.tensor_types import TENSOR_TYPES

TYPE_IDS = {name: number for number, (name, _, _) in TENSOR_TYPES.items()}
Tensor = tuple[str, tuple[int, ...], str]


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(item: Any) -> bytes:
    """A typed value: bool, int (u32, i64 when negative or large), float, str, or a list of one of them."""
    if isinstance(item, bool):
        return struct.pack("<I?", 7, item)
    if isinstance(item, int):
        return struct.pack("<II", 4, item) if 0 <= item < 1 << 32 else struct.pack("<Iq", 11, item)
    if isinstance(item, float):
        return struct.pack("<If", 6, item)
    if isinstance(item, str):
        return struct.pack("<I", 8) + text(item)
    kind = value(item[0])[:4] if item else struct.pack("<I", 4)
    return struct.pack("<I", 9) + kind + struct.pack("<Q", len(item)) + b"".join(value(i)[4:] for i in item)


def n_bytes(tensor: Tensor) -> int:
    _, block, size = TENSOR_TYPES[TYPE_IDS[tensor[2]]]
    n = 1
    for d in tensor[1]:
        n *= d
    return n // block * size


def gguf_bytes(metadata: dict[str, Any], tensors: list[Tensor], version: int = 3, alignment: int = 32) -> bytes:
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    out += b"".join(text(k) + value(v) for k, v in metadata.items())
    offset, data = 0, b""
    for tensor in tensors:
        name, shape, kind = tensor
        out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, TYPE_IDS[kind], offset)
        size = n_bytes(tensor)
        padded = -(-size // alignment) * alignment
        data += bytes(padded)
        offset += padded
    return out + bytes(-len(out) % alignment) + data


def llama_metadata(**changes: Any) -> dict[str, Any]:
    """Metadata of a small chat model; a None value leaves the key out."""
    metadata = {
        "general.architecture": "llama", "general.name": "Tiny", "general.license": "mit", "general.file_type": 2,
        "llama.block_count": 2, "llama.context_length": 4096, "llama.embedding_length": 64,
        "llama.feed_forward_length": 128, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": [f"t{i}" for i in range(96)], "tokenizer.ggml.token_type": [1] * 96,
        "tokenizer.chat_template": "{{ messages }}",
    } | {key.replace("__", "."): v for key, v in changes.items()}  # fmt: skip
    return {k: v for k, v in metadata.items() if v is not None}


def llama_tensors(n_layer: int = 2) -> list[Tensor]:
    tensors: list[Tensor] = [("token_embd.weight", (64, 96), "Q8_0"), ("output_norm.weight", (64,), "F32")]
    for i in range(n_layer):
        tensors += [
            (f"blk.{i}.attn_norm.weight", (64,), "F32"), (f"blk.{i}.attn_q.weight", (64, 64), "Q4_0"),
            (f"blk.{i}.attn_k.weight", (64, 32), "Q4_0"), (f"blk.{i}.attn_v.weight", (64, 32), "Q4_0"),
            (f"blk.{i}.attn_output.weight", (64, 64), "Q4_0"), (f"blk.{i}.ffn_up.weight", (64, 128), "Q4_0"),
            (f"blk.{i}.ffn_gate.weight", (64, 128), "Q4_0"), (f"blk.{i}.ffn_down.weight", (128, 64), "Q4_0"),
        ]  # fmt: skip
    return tensors


def write_model(path: Path, **changes: Any) -> Path:
    """A whole small model file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gguf_bytes(llama_metadata(**changes), llama_tensors()))
    return path
