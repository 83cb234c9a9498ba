"""Targets and drafts whose agreement and cost are known, made from the starter model.

A target of any cost with the starter's exact function: layers whose attention and feed-forward outputs are zero add
nothing to the residual stream, but are evaluated like any other. Drafts of graded quality: the starter itself (agrees
always), requantized to fewer bits, or with layers left out.

    python -m bench.synthetic FOLDER [--layers 180] [--quant Q4_0]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

from localllm.llama.quantize import quantize_file

STARTER = Path(__file__).parent.parent / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
SILENT = ("attn_output.weight", "ffn_down.weight")
"""The weights of a layer that write to the residual stream."""

DRAFTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "perfect": ("", ()),
    "Q3_K": ("Q3_K_M", ()),
    "Q2_K": ("Q2_K", ()),
    "pruned": ("Q4_0", (24, 26, 28)),
    "useless": ("Q4_0", tuple(range(4, 28))),
}
"""File type (empty: that of the target) and layers left out."""


def deepen(source: Path, target: Path, n_layers: int) -> None:
    """Write `source` with layers appended that compute the identity, up to `n_layers` in all.

    The file is written in full, so that no two layers share a page of memory.
    """
    reader = GGUFReader(source)
    arch = str(reader.fields["general.architecture"].contents())
    writer = GGUFWriter(target.with_suffix(".part"), arch)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = n_layers if key == f"{arch}.block_count" else field.contents()
        kind = field.types[0]
        writer.add_key_value(key, value, kind, field.types[1] if kind == GGUFValueType.ARRAY else None)
    tensors = {t.name: t for t in reader.tensors}
    n_real = int(reader.fields[f"{arch}.block_count"].contents())
    last = f"blk.{n_real - 1}."
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.data, raw_dtype=tensor.tensor_type)
    for layer in range(n_real, n_layers):
        for name, tensor in tensors.items():
            if name.startswith(last):
                part = name.removeprefix(last)
                # In every type used here all-zero bytes are zero weights: scales and offsets are zero too.
                data = np.zeros_like(tensor.data) if part in SILENT else np.array(tensor.data)
                writer.add_tensor(f"blk.{layer}.{part}", data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    target.with_suffix(".part").replace(target)


def trim_vocabulary(source: Path, target: Path, n_tokens: int) -> None:
    """Write `source` with only its first `n_tokens` tokens: a draft with a smaller vocabulary and a cheaper output.

    Byte-level BPE learns its tokens one after the other, so that the merges of what is left stay whole.
    """
    reader = GGUFReader(source)
    writer = GGUFWriter(target.with_suffix(".part"), str(reader.fields["general.architecture"].contents()))
    tokens = [str(t) for t in reader.fields["tokenizer.ggml.tokens"].contents()][:n_tokens]
    known = set(tokens)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value, kind = field.contents(), field.types[0]
        if key == "tokenizer.ggml.tokens":
            value = tokens
        elif key in ("tokenizer.ggml.token_type", "tokenizer.ggml.scores"):
            value = value[:n_tokens]
        elif key == "tokenizer.ggml.merges":
            value = [m for m in value if "".join(m.split(" ")) in known]
        elif key.endswith(".vocab_size"):
            value = n_tokens
        writer.add_key_value(key, value, kind, field.types[1] if kind == GGUFValueType.ARRAY else None)
    for tensor in reader.tensors:
        rows = tensor.data[:n_tokens] if tensor.name in ("token_embd.weight", "output.weight") else tensor.data
        writer.add_tensor(tensor.name, np.array(rows), raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    target.with_suffix(".part").replace(target)


def make_target(folder: Path, quant: str, n_layers: int = 180, source: Path = STARTER) -> Path:
    """The synthetic target in `quant`, made once."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"synthetic-{n_layers}.{quant}.gguf"
    if not path.exists():
        base = folder / f"synthetic-{n_layers}.base.gguf"
        if not base.exists():
            deepen(source, base, n_layers)
        _as(base, path, quant)
    return path


def make_draft(folder: Path, quality: str, quant: str, source: Path = STARTER) -> Path:
    """A draft of the quality named, for a target in `quant`."""
    file_type, pruned = DRAFTS[quality]
    path = folder / f"draft-{quality}.{file_type or quant}.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if pruned:  # llama.cpp leaves layers out only while it converts
            quantize_file(source, path, file_type, prune_layers=pruned)
        else:
            _as(source, path, file_type or quant)
    return path


def _as(source: Path, target: Path, quant: str) -> None:
    if quant == "Q4_1":  # the starter's own type: the weights stay bit by bit
        target.write_bytes(source.read_bytes())
    else:
        quantize_file(source, target, quant)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=180)
    parser.add_argument("--quant", default="Q4_0")
    options = parser.parse_args()
    print(make_target(options.folder, options.quant, options.layers))
    for quality in DRAFTS:
        print(make_draft(options.folder, quality, options.quant))
