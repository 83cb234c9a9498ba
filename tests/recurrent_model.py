"""A small recurrent model with random weights: Mamba, 2 layers, a byte-level vocabulary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter

EMBD, INNER, STATE, CONV, RANK = 64, 128, 16, 4, 4


def byte_tokens() -> list[str]:
    """The 256 tokens of byte-level BPE, as GPT-2 writes them."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(b) if b in kept else chr(next(spare)) for b in range(256)]


def write_mamba(path: Path, n_layer: int = 2, seed: int = 0) -> Path:
    """Write the model; it talks nonsense, deterministically."""
    rng = np.random.default_rng(seed)
    tokens = [*byte_tokens(), "th", "<|end|>"]
    n_vocab = len(tokens)
    writer = GGUFWriter(path, "mamba")
    writer.add_name("Tiny Mamba")
    writer.add_context_length(4096)
    writer.add_embedding_length(EMBD)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(n_layer)
    writer.add_ssm_conv_kernel(CONV)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (n_vocab - 1) + [3])
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(n_vocab - 1)
    writer.add_bos_token_id(n_vocab - 1)
    writer.add_add_bos_token(False)

    def add(name: str, *shape: int, scale: float = 0.2, offset: float = 0.0) -> None:
        writer.add_tensor(name, (offset + scale * rng.standard_normal(shape)).astype(np.float32))

    add("token_embd.weight", n_vocab, EMBD, scale=1.0)
    add("output_norm.weight", EMBD, offset=1.0, scale=0.0)
    for i in range(n_layer):
        add(f"blk.{i}.attn_norm.weight", EMBD, offset=1.0, scale=0.0)
        add(f"blk.{i}.ssm_in.weight", 2 * INNER, EMBD)
        add(f"blk.{i}.ssm_conv1d.weight", INNER, CONV)
        add(f"blk.{i}.ssm_conv1d.bias", INNER)
        add(f"blk.{i}.ssm_x.weight", RANK + 2 * STATE, INNER)
        add(f"blk.{i}.ssm_dt.weight", INNER, RANK)
        add(f"blk.{i}.ssm_dt.bias", INNER)
        writer.add_tensor(f"blk.{i}.ssm_a", -np.tile(np.arange(1, STATE + 1, dtype=np.float32), (INNER, 1)))
        add(f"blk.{i}.ssm_d", INNER, offset=1.0, scale=0.0)
        add(f"blk.{i}.ssm_out.weight", EMBD, INNER)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
