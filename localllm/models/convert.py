"""Sentence embedders from safetensors to GGUF, so that the starter embedder can be made on the user's machine.

Covers BERT encoders with a WordPiece vocabulary, which is what all-MiniLM-L6-v2 and most small embedders are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from localllm.errors import ModelError
from localllm.models.safetensors import read_safetensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

Quantization = Literal["F32", "F16", "BF16", "Q8_0"]

MAX_TOKENS_KEY = "localllm.embedding.max_tokens"
"""Header key: tokens that one text may have, as the model was trained; its position table may be longer."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model comes from; written into the header."""

    name: str
    license: str = ""
    repo_url: str = ""


# What the weights are called in a transformers checkpoint, and in a GGUF file of architecture `bert`.
_TOP = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
# llama.cpp adds these to float32 activations; in float16 its first evaluation ends the process.
_ALWAYS_F32 = {"position_embd.weight", "token_types.weight"}


def convert_embedder(folder: Path, target: Path, origin: Origin, quantization: Quantization = "F16") -> None:
    """Write a GGUF file from a folder with `config.json`, `model.safetensors` and `vocab.txt`.

    `1_Pooling/config.json` and `sentence_bert_config.json` are honoured where present.

    Args:
        folder: The checkpoint, laid out as sentence-transformers does.
        target: Replaced in one step when the file is complete.
        origin: Written into the header.
        quantization: Type of the matrices; norms, biases, positions and token types always stay F32.

    Raises:
        ModelError: The checkpoint is of another kind, incomplete or damaged; `target` is untouched.
    """
    import gguf

    config = _read_json(folder / "config.json")
    if config.get("model_type") != "bert":
        raise ModelError(
            f"{folder}: only BERT embedders can be converted, not {config.get('model_type')!r}.",
            "Look for a GGUF file of this model.",
        )
    tokens = _read_vocabulary(folder / "vocab.txt")
    tensors = _rename(read_safetensors(folder / "model.safetensors"), config["num_hidden_layers"], folder)
    if len(tokens) != len(tensors["token_embd.weight"]):
        raise ModelError(f"{folder}: vocab.txt has {len(tokens):,} lines, the weights another number.")

    part = target.with_name(target.name + ".part")
    writer = gguf.GGUFWriter(part, "bert")
    try:
        _add_metadata(writer, folder, config, origin, quantization)
        _add_vocabulary(writer, tokens)
        for name, array in tensors.items():
            _add_tensor(writer, name, array, quantization)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        part.chmod(0o600)
        part.replace(target)
    finally:
        writer.close()
        part.unlink(missing_ok=True)


def _add_metadata(writer: Any, folder: Path, config: dict[str, Any], origin: Origin, quantization: str) -> None:
    import gguf

    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(origin.name)
    if origin.license:
        writer.add_license(origin.license)
    if origin.repo_url:
        writer.add_repo_url(origin.repo_url)
    writer.add_file_type(gguf.LlamaFileType[{"F32": "ALL_F32"}.get(quantization, f"MOSTLY_{quantization}")])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config.get("layer_norm_eps", 1e-12))
    writer.add_causal_attention(False)
    writer.add_pooling_type(_pooling(folder))
    limit = _read_json(folder / "sentence_bert_config.json", missing={}).get("max_seq_length")
    if isinstance(limit, int) and 0 < limit <= config["max_position_embeddings"]:
        writer.add_uint32(MAX_TOKENS_KEY, limit)


def _pooling(folder: Path) -> Any:
    import gguf

    pooling = _read_json(folder / "1_Pooling" / "config.json", missing={"pooling_mode_mean_tokens": True})
    if pooling.get("pooling_mode_mean_tokens"):
        return gguf.PoolingType.MEAN
    if pooling.get("pooling_mode_cls_token"):
        return gguf.PoolingType.CLS
    raise ModelError(f"{folder}: this kind of pooling is not supported.", "Look for a GGUF file of this model.")


def _add_vocabulary(writer: Any, tokens: list[str]) -> None:
    """WordPiece as llama.cpp wants it: a word's beginning is marked with U+2581 instead of its inside with ``##``."""
    import gguf

    pieces: list[str] = []
    kinds: list[int] = []
    for token in tokens:
        special = token.startswith("[") and token.endswith("]") and len(token) > 2
        if token.startswith("[unused"):
            kind = gguf.TokenType.UNUSED
        elif token == "[UNK]":
            kind = gguf.TokenType.UNKNOWN
        else:
            kind = gguf.TokenType.CONTROL if special else gguf.TokenType.NORMAL
        inside = token.startswith("##") and len(token) > 2
        pieces.append(token if special else token[2:] if inside else "\u2581" + token)
        kinds.append(int(kind))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("bert")
    writer.add_token_list(pieces)
    writer.add_token_types(kinds)
    writer.add_token_type_count(2)
    for name, add in (
        ("[CLS]", writer.add_bos_token_id),
        ("[UNK]", writer.add_unk_token_id),
        ("[SEP]", writer.add_sep_token_id),
        ("[PAD]", writer.add_pad_token_id),
        ("[MASK]", writer.add_mask_token_id),
    ):
        if name not in tokens:
            raise ModelError(f"vocab.txt lacks the token {name}.", "Download it again.")
        add(tokens.index(name))
    writer.add_uint32("tokenizer.ggml.cls_token_id", tokens.index("[CLS]"))
    writer.add_add_bos_token(True)
    writer.add_add_sep_token(True)


def _add_tensor(writer: Any, name: str, array: NDArray[Any], quantization: str) -> None:
    import gguf
    import numpy as np

    values = np.ascontiguousarray(array, np.float32)
    if values.ndim < 2 or quantization == "F32" or name in _ALWAYS_F32:
        writer.add_tensor(name, values)
    elif quantization == "F16":
        writer.add_tensor(name, values.astype(np.float16))
    else:
        packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType[quantization])
        writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType[quantization])


def _rename(weights: dict[str, NDArray[Any]], n_layer: int, folder: Path) -> dict[str, NDArray[Any]]:
    """The tensors under their GGUF names, in the order of evaluation."""
    names = {f"{old}.{kind}": f"{new}.{kind}" for old, new in _TOP.items() for kind in ("weight", "bias")}
    for i in range(n_layer):
        for old, new in _LAYER.items():
            for kind in ("weight", "bias"):
                names[f"encoder.layer.{i}.{old}.{kind}"] = f"blk.{i}.{new}.{kind}"
    weights = {name.removeprefix("bert."): array for name, array in weights.items()}
    plain = {f"{old}.bias" for old in _TOP if not old.endswith("LayerNorm")}  # tables have no bias
    missing = [old for old in names if old not in weights and old not in plain]
    if missing:
        raise ModelError(f"{folder}: the weights lack {missing[0]} and {len(missing) - 1} more.", "Download it again.")
    return {new: weights[old] for old, new in names.items() if old in weights}


def _read_vocabulary(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} can't be read: {error}.", "Download it again.") from error


def _read_json(path: Path, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        if missing is not None:
            return missing
        raise ModelError(f"{path} is missing.", "Download the model again.") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read: {error}.", "Download the model again.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object.", "Download the model again.")
    return value
