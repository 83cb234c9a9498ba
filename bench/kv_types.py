"""What the types of the KV cache cost: time of a token behind long contexts, and what they change in its probabilities.

    python -m bench.kv_types [--threads 1] [--depths 64,512,1000,2000] [--types f16/f16/on,...] [--quality]

A type is K/V/flash attention. With one thread processor time is taken, otherwise wall time; all types take turns at
every depth. `--quality` reads a text with each and compares with F32 without flash attention (with it, llama.cpp turns
F32 into F16 at every token). BF16 is measured here and offered nowhere: it gains nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.engine import ROOT
from bench.pairs import write
from localllm.llama.context import KV_TYPES, Context
from localllm.llama.model import Model

KV_TYPES.setdefault("bf16", 30)
TYPES = "f16/f16/on,q8_0/f16/on,q8_0/q8_0/on,bf16/f16/on,bf16/bf16/on,f16/f16/off,q8_0/f16/off,bf16/f16/off,f32/f32/off"
REFERENCE = "f32/f32/off"


def context(model: Model, kind: str, stack: ExitStack, threads: int, n_ctx: int, rows: int = 1) -> Context:
    k, v, flash = kind.split("/")
    made = Context(
        model, n_ctx=n_ctx, n_outputs_max=rows, n_threads=threads, kv_type=k, kv_type_v=v,
        flash_attention="on" if flash == "on" else "off",
    )  # fmt: skip
    stack.callback(made.close)
    return made


def times(model: Model, kinds: list[str], depths: list[int], tokens: list[int], threads: int) -> list[dict[str, Any]]:
    """Milliseconds per token at each depth, and seconds for reading up to the last."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    found: dict[str, dict[str, Any]] = {kind: {"types": kind, "prefill_seconds": 0.0} for kind in kinds}
    with ExitStack() as stack:
        contexts = {kind: context(model, kind, stack, threads, depths[-1] + 256) for kind in kinds}
        before = 0
        for depth in depths:
            runs: dict[str, list[float]] = {kind: [] for kind in kinds}
            for kind, made in contexts.items():
                started = clock()
                for at in range(before, depth, 512):
                    made.decode(0, tokens[at : min(at + 512, depth)], at, 1)
                found[kind]["prefill_seconds"] += clock() - started
            for i in range(24):
                for kind, made in contexts.items():
                    started = clock()
                    made.decode(0, [tokens[i]], depth, 1)
                    runs[kind].append(1e3 * (clock() - started))
                    made.seq_rm(0, depth)
            for kind in kinds:
                found[kind][str(depth)] = statistics.median(runs[kind])
            before = depth
    return list(found.values())


def log_probabilities(model: Model, kind: str, tokens: list[int], threads: int) -> NDArray[np.float64]:
    """Of every next token, shape (tokens, vocabulary): three quarters read in batches, the rest one by one."""
    rows: list[NDArray[np.float32]] = []
    with ExitStack() as stack:
        made = context(model, kind, stack, threads, len(tokens) + 256, rows=256)
        at = 0
        while at < len(tokens):
            batch = tokens[at : at + (256 if at < 3 * len(tokens) // 4 else 1)]
            made.decode(0, batch, at, len(batch))
            rows += [made.logits(row).copy() for row in range(len(batch))]
            at += len(batch)
    logits = np.asarray(rows, np.float64)
    logits -= logits.max(1, keepdims=True)
    values: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return values


def quality(model: Model, kinds: list[str], tokens: list[int], threads: int) -> list[dict[str, Any]]:
    """Mean log-likelihood of the text, KL divergence from the reference, share of equal likeliest tokens."""
    reference = log_probabilities(model, REFERENCE, tokens, threads)
    found = []
    for kind in [REFERENCE, *(k for k in kinds if k != REFERENCE)]:
        mine = reference if kind == REFERENCE else log_probabilities(model, kind, tokens, threads)
        divergence = (np.exp(reference) * (reference - mine)).sum(1)
        likelihood = float(mine[np.arange(len(tokens) - 1), tokens[1:]].mean())
        same = float((reference.argmax(1) == mine.argmax(1)).mean())
        found.append({"types": kind, "likelihood": likelihood, "kl": float(divergence.mean()), "same": same})
        print(
            f"{kind:<14} log-likelihood {likelihood:.4f}, KL {divergence.mean():.1e}, same likeliest token {same:.1%}"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--depths", default="64,512,1000,2000")
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--quality", action="store_true")
    options = parser.parse_args()
    kinds, depths = options.types.split(","), [int(depth) for depth in options.depths.split(",")]
    text = "".join(path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
    model = Model(options.model, load="memory")
    tokens = model.vocab.tokenize(text)[: max(depths[-1], 1024)]
    if options.quality:
        results = quality(model, kinds, tokens[:1024], options.threads)
    else:
        results = times(model, kinds, depths, tokens, options.threads)
        print(f"{'K/V/flash':<14}" + "".join(f"{depth:>9}" for depth in depths) + "   reading them, s")
        for row in results:
            print(
                f"{row['types']:<14}"
                + "".join(f"{row[str(d)]:>9.2f}" for d in depths)
                + f"{row['prefill_seconds']:9.2f}"
            )
    model.close()
    write("kv_types-quality" if options.quality else f"kv_types-{options.threads}", results)


if __name__ == "__main__":
    main()
