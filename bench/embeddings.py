"""Embeddings against torch and llama-embedding: throughput in pairs, and how far the vectors agree.

    LOCALLLM_PEERS=DIR python -m bench.embeddings --safetensors FOLDER [--pairs 15]

FOLDER holds the starter embedder's `model.safetensors` and `vocab.txt`. torch is a peer of this bench only; without
it, that row says "peer missing". It runs in a process of its own, in batches of 32 (the default of
sentence-transformers), and every turn begins after a rest: torch's threads go on spinning for a while after their work.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bench.engine import EMBEDDER, PEERS, ROOT, LlamaPeer, ours
from bench.pairs import HEADER, alternate, write
from localllm.engine import measure

_REST = 0.3
"""Seconds before each turn against torch."""


def torch_encoder(folder: Path, threads: int) -> Any:
    """The same forward pass (BERT, mean pooling, unit rows) in torch, batches of 16; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    from localllm.models.safetensors import read_safetensors

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    w = {
        name: torch.from_numpy(np.array(array, np.float32))
        for name, array in read_safetensors(folder / "model.safetensors").items()
    }
    heads, layers = 12, 6

    def linear(x: Any, name: str) -> Any:
        return torch.nn.functional.linear(x, w[name + ".weight"], w[name + ".bias"])

    def norm(x: Any, name: str) -> Any:
        return torch.nn.functional.layer_norm(x, (x.shape[-1],), w[name + ".weight"], w[name + ".bias"], 1e-12)

    def encode(ids: Any) -> Any:
        b, n = ids.shape
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:n]
        x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for i in range(layers):
            p = f"encoder.layer.{i}."
            q, k, v = (
                linear(x, p + f"attention.self.{part}").view(b, n, heads, -1).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            a = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1)
            x = norm(x + linear(a, p + "attention.output.dense"), p + "attention.output.LayerNorm")
            h = torch.nn.functional.gelu(linear(x, p + "intermediate.dense"))
            x = norm(x + linear(h, p + "output.dense"), p + "output.LayerNorm")
        return torch.nn.functional.normalize(x.mean(1), dim=-1)

    return encode


class TorchPeer:
    """The torch forward pass in a process of its own; its threads are at rest between two turns."""

    def __init__(self, folder: Path, texts: list[str], threads: int) -> None:
        self._here, there = multiprocessing.Pipe()
        serve = multiprocessing.get_context("spawn").Process(
            target=_serve_torch, args=(there, folder, texts, threads), daemon=True
        )
        serve.start()
        self.present = bool(self._here.recv())

    def ask(self, what: str) -> Any:
        self._here.send(what)
        return self._here.recv()


def _serve_torch(pipe: Any, folder: Path, texts: list[str], threads: int) -> None:
    encode = torch_encoder(folder, threads)
    pipe.send(encode is not None)
    if encode is None:
        return
    import torch

    vocabulary = {t: i for i, t in enumerate((folder / "vocab.txt").read_text("utf-8").split("\n"))}
    rows = [[101, *(vocabulary[word] for word in text.split()), 102] for text in texts]
    batches = [torch.tensor(rows[i : i + 32]) for i in range(0, len(rows), 32)]
    while True:
        vectors = pipe.recv() == "vectors"
        started = time.perf_counter()
        encoded = [encode(batch) for batch in batches]
        seconds = time.perf_counter() - started
        pipe.send(torch.cat(encoded).numpy() if vectors else seconds)


def _llama_embedding(command: list[str], text: str) -> Any:
    """llama-embedding's unit vector; it is asked again where it ends before all of its output is written."""
    for _ in range(8):
        out = subprocess.run([*command, "-p", text], capture_output=True, text=True, check=True).stdout
        try:
            vector = np.array(json.loads(out)["data"][0]["embedding"], np.float32)
        except ValueError:
            continue
        return vector / np.linalg.norm(vector)
    raise RuntimeError("llama-embedding never wrote all of its output")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--embedder", type=Path, default=EMBEDDER)
    parser.add_argument("--safetensors", type=Path)
    parser.add_argument("--pairs", type=int, default=15)
    options = parser.parse_args()
    results: list[Any] = []
    print(HEADER)
    with ExitStack() as stack:
        engine = ours(options.model, stack, embedder=options.embedder)
        embedder = engine.embedder
        assert embedder is not None
        texts = [measure.words(124, seed) for seed in range(64)]
        tokens = sum(len(embedder.token_spans(text)) for text in texts)

        def mine() -> float:
            started = time.perf_counter()
            embedder.embed(texts)
            return tokens / (time.perf_counter() - started)

        llama = LlamaPeer(options.embedder, embedding=True)
        results.append(
            alternate(
                "Llama.embed as shipped", mine, lambda: llama.run(kind="embed", texts=texts, n=tokens), options.pairs
            )
        )
        print(results[-1].row())
        llama.close()
        torch = TorchPeer(options.safetensors, texts, engine.info.n_threads) if options.safetensors else None
        if torch is None or not torch.present:
            print("peer missing: torch (give --safetensors, install torch)")
        else:

            def rested() -> float:
                time.sleep(_REST)
                return mine()

            def torch_run() -> float:
                time.sleep(_REST)
                return tokens / float(torch.ask("seconds"))

            results.append(alternate("torch on CPU, batches of 32", rested, torch_run, options.pairs))
            print(results[-1].row())
            cosine = float((torch.ask("vectors") * embedder.embed(texts)).sum(1).min())
            print(f"worst cosine to the F32 forward pass: {cosine:.6f}")
            results.append({"worst_cosine_to_f32": cosine})
        if (PEERS / "llama-embedding").exists():
            command = [str(PEERS / "llama-embedding"), "-m", str(options.embedder), "--embd-output-format", "json"]
            worst = 0.0
            for text in texts[:8]:
                difference = np.abs(_llama_embedding(command, text) - embedder.embed([text])[0])
                worst = max(worst, float(difference.max()))
            print(f"largest difference to llama-embedding in any component: {worst:.2e}")
            results.append({"largest_difference_to_llama_embedding": worst})
        else:
            print("peer missing: llama-embedding")
    write("embeddings", results)


if __name__ == "__main__":
    main()
