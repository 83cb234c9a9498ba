"""How to draft above temperature 0: three ways, compared on recorded logits.

    python -m bench.sampled [--tokens 128]

The starter in Q4_0 answers at a temperature; target and graded drafts then evaluate those answers, and at each token it
is computed how likely a drafted token would be accepted:

- **likeliest**: the draft model's likeliest token is proposed and compared with what the target draws;
- **same numbers**: the draft model draws with the target's settings and the very random number that the target will
  draw this position with, and both are compared: the text is still exactly that of plain decoding with that seed;
- **rejection**: the draft model draws with its own numbers, and rejection sampling accepts with min(1, p/q), as in
  Leviathan et al., arXiv 2211.17192: the same distribution, another text.

The speed-up is that of the best fixed length on the cost curve of Q4_0, with a draft token at a fifth of a plain step;
a seeded machine-independent computation.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.pairs import write
from bench.replay import DRAFT_PRICE
from bench.synthetic import make_draft
from bench.workloads import WORKLOADS
from localllm.engine.local import LocalEngine
from localllm.engine.protocol import EngineSpec, Request, Sampling, TokenEvent
from localllm.events import Message, Role
from localllm.llama.context import Context
from localllm.llama.model import Model
from tests.speculation import CURVES, cost

PROMPTS = (
    *WORKLOADS["prose"].prompts,
    WORKLOADS["summary"].prompts[0],
    WORKLOADS["json"].prompts[0],
    "Write a short poem about the sea.",
    "How do I bake bread?",
)
WAYS = ("likeliest", "same numbers", "rejection")


def probabilities(logits: NDArray[np.float32], sampling: Sampling) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Ids and probabilities of what the sampler may draw, likeliest first: top-k, top-p, min-p, temperature."""
    ids = np.argpartition(-logits, sampling.top_k)[: sampling.top_k]
    ids = ids[np.argsort(-logits[ids], kind="stable")]
    values = logits[ids].astype(np.float64)
    p = np.exp(values - values[0])
    p /= p.sum()
    n = min(int(np.searchsorted(np.cumsum(p), sampling.top_p)) + 1, len(p))
    keep = np.flatnonzero(p[:n] >= sampling.min_p * p[0])
    q = np.exp((values[keep] - values[0]) / sampling.temperature)
    return ids[keep], q / q.sum()


def rows(model: Path, texts: Sequence[tuple[list[int], list[int]]], sampling: Sampling) -> list[list[tuple]]:  # type: ignore[type-arg]
    """For each text the distribution before each of its answer's tokens."""
    loaded = Model(model)
    context = Context(loaded, n_ctx=2048, n_outputs_max=64)
    out = []
    for prompt, answer in texts:
        context.seq_rm(0, 0)
        text, first = [*prompt, *answer], len(prompt) - 1
        for i in range(0, first, 512):
            context.decode(0, text[i : min(i + 512, first)], i, 0)
        found = []
        for i in range(first, len(text) - 1, 64):
            part = text[i : min(i + 64, len(text) - 1)]
            context.decode(0, part, i, len(part))
            found += [probabilities(context.logits(r), sampling) for r in range(len(part))]
        out.append(found)
    context.close()
    loaded.close()
    return out


def chances(
    target: tuple[NDArray[np.intp], NDArray[np.float64]], draft: tuple[NDArray[np.intp], NDArray[np.float64]]
) -> tuple[float, float, float]:
    """The chance of acceptance in each of the three ways, exactly."""
    p = dict(zip(target[0].tolist(), target[1].tolist(), strict=True))
    likeliest = p.get(int(draft[0][0]), 0.0)
    overlap = sum(min(p.get(t, 0.0), q) for t, q in zip(draft[0].tolist(), draft[1].tolist(), strict=True))
    # one number for both: they agree where their tokens' intervals of the cumulative sums overlap
    ends_p, ends_q = np.cumsum(target[1]), np.cumsum(draft[1])
    at_q = {int(t): (float(e - w), float(e)) for t, e, w in zip(draft[0], ends_q, draft[1], strict=True)}
    same = 0.0
    for t, e, w in zip(target[0], ends_p, target[1], strict=True):
        low, high = at_q.get(int(t), (0.0, 0.0))
        same += max(0.0, min(float(e), high) - max(float(e - w), low))
    return likeliest, same, overlap


def best_speedup(answers: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The best fixed draft length and its speed-up, from the chances along each answer; 1 without drafts."""
    curve = CURVES["Q4_0, repacked"]
    best = (1.0, 0)
    for k in range(1, 17):
        total, n = 0.0, 0
        for along in answers:
            for i in range(len(along) - k):
                total += 1.0 + float(np.cumprod(along[i : i + k]).sum())
                n += 1
        if n:
            best = max(best, (total / n / (cost(curve, k + 1) + k * DRAFT_PRICE), k))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--temperature", type=float, action="append")
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "localllm-bench-models")
    options = parser.parse_args()
    results = []
    starter = make_draft(options.models, "perfect", "Q4_0")
    print(f"{'':<28}" + "".join(f"{way:>24}" for way in WAYS))
    for temperature in options.temperature or (0.5, 0.8, 1.0):
        sampling = Sampling(temperature=temperature, seed=1)
        engine = LocalEngine(EngineSpec(starter, n_ctx=2048, speculation="none"))
        texts = []
        for prompt in PROMPTS:
            request = Request((Message(Role.USER, prompt),), max_tokens=options.tokens, sampling=sampling)
            ids = engine._prompt_ids(request, [])
            texts.append((ids, [t for e in engine.stream(request) if isinstance(e, TokenEvent) for t in e.token_ids]))
        engine.close()
        target = rows(starter, texts, sampling)
        for quality in ("perfect", "Q3_K", "Q2_K", "pruned"):
            draft = rows(make_draft(options.models, quality, "Q4_0"), texts, sampling)
            found = [[chances(p, q) for p, q in zip(ps, qs, strict=True)] for ps, qs in zip(target, draft, strict=True)]
            row: dict[str, object] = {"temperature": temperature, "draft": quality}
            line = f"temperature {temperature}, {quality:<12}"
            for w, way in enumerate(WAYS):
                mean = float(np.mean([c[w] for answer in found for c in answer]))
                speedup, length = best_speedup([[c[w] for c in answer] for answer in found])
                row[way] = {"accepted": mean, "speedup": speedup, "length": length}
                line += f"{mean:12.3f} x{speedup:.2f} (k={length:>2})"
            results.append(row)
            print(line, flush=True)
    write("speculation-sampled", results)


if __name__ == "__main__":
    main()
