"""The controller on real texts and a simulated clock: what speculation would gain on a machine with a given cost curve.

    python -m bench.replay [--tokens 160]

The starter model answers the workloads once, plainly, and graded drafts predict each token of those answers. Then the
decode loop's decisions are replayed without any evaluation: what is accepted is known, and time is what the curve of
`tests/speculation.py` says, give or take 3 %. The figures are the same on a busy machine and on a quiet one; what they
leave out is everything that a curve does not say.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.pairs import write
from bench.synthetic import STARTER, make_draft
from bench.workloads import WORKLOADS, share_copied
from localllm.engine.acceptance import Acceptance
from localllm.engine.controller import Controller
from localllm.engine.costs import CostTable, calibrate
from localllm.engine.draft_ngram import NgramDrafter
from localllm.engine.local import LocalEngine
from localllm.engine.protocol import Drafter, EngineSpec, TokenEvent
from localllm.llama.context import Context
from localllm.llama.model import Model
from tests.speculation import CURVES, Machine

DRAFT_PRICE, READ_PRICE = 0.2, 0.08
"""Of a drafted token and of one that is only read, in plain steps: the starter against the synthetic target."""
CONTROL = 17
"""The starter's first tokens are its control tokens."""
Prediction = tuple[int, float]


@dataclass
class Answer:
    """A plain answer, and what each draft predicts at each of its tokens."""

    workload: str
    prompt: list[int]
    tokens: list[int]
    copied: float
    predictions: dict[str, list[Prediction]] = field(default_factory=dict)


class ReplayDrafter:
    """Drafts what a model predicted; behind its first error it goes on with noise."""

    name = "replayed"

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.answer = Answer("", [], [], 0.0)
        self.predictions: list[Prediction] = []
        self.evaluated = 0
        self._read = 0
        self._confidences: list[float] = []

    def begin(self, prompt: Sequence[int]) -> None:
        self._read = 0

    def lag(self, context: Sequence[int]) -> int:
        return max(len(context) - self._read, 1)

    def propose(self, context: Sequence[int], k: int) -> list[int]:
        return self.propose_while(context, k, lambda _: True)

    def propose_while(self, context: Sequence[int], k: int, go_on: Callable[[Sequence[float]], bool]) -> list[int]:
        self.machine.work((self.lag(context) - 1) * READ_PRICE)
        at, right = len(context) - len(self.answer.prompt), True
        draft: list[int] = []
        self._confidences = []
        while len(draft) < k and at + len(draft) < len(self.predictions):
            token, confidence = self.predictions[at + len(draft)]
            draft.append(token if right else -5)
            right = right and token == self.answer.tokens[at + len(draft) - 1]
            self._confidences.append(confidence)
            self.machine.work(DRAFT_PRICE)
            if not go_on(self._confidences):
                break
        self._read, self.evaluated = len(context), len(draft)
        return draft

    def confidence(self) -> Sequence[float]:
        return self._confidences

    def observe(self, accepted: Sequence[int], n_drafted_accepted: int) -> None:
        self._read += n_drafted_accepted if self._read else 0

    def close(self) -> None: ...


def answer_all(n: int) -> list[Answer]:
    """Plain answers of the starter to every prompt."""
    engine = LocalEngine(EngineSpec(STARTER, n_ctx=2048, speculation="none"))
    answers = []
    for workload in WORKLOADS.values():
        for text in workload.prompts:
            request = workload.request(text, n, "none")
            prompt = engine._prompt_ids(request, [])
            tokens = [t for e in engine.stream(request) if isinstance(e, TokenEvent) for t in e.token_ids]
            answers.append(Answer(workload.name, prompt, tokens, share_copied(prompt, tokens)))
    engine.close()
    return answers


def predict(answers: Sequence[Answer], quality: str, folder: Path) -> None:
    """What the draft of this quality says at each token of the answers."""
    if quality == "perfect":
        for answer in answers:
            answer.predictions[quality] = [(t, 0.999) for t in answer.tokens]
        return
    model = Model(make_draft(folder, quality, "Q4_0"))
    context = Context(model, n_ctx=2048, n_outputs_max=64)
    for answer in answers:
        context.seq_rm(0, 0)
        text, first = [*answer.prompt, *answer.tokens], len(answer.prompt) - 1
        for i in range(0, first, 512):
            context.decode(0, text[i : min(i + 512, first)], i, 0)
        found: list[Prediction] = []
        for i in range(first, len(text), 64):
            part = text[i : i + 64]
            context.decode(0, part, i, len(part))
            for row in range(len(part)):
                logits = context.logits(row)
                best = int(logits.argmax())
                found.append((best, 1.0 / float(np.exp(logits - logits[best]).sum())))
        answer.predictions[quality] = found[: len(answer.tokens)]
    context.close()
    model.close()


def replay(
    answers: Sequence[Answer], curve: str, quality: str, rounds: int = 2
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Speed-ups and the ledger's net loss per token, by workload."""
    machine = Machine(CURVES[curve], noise=0.03)
    costs = CostTable(33)
    calibrate(costs, machine.step, machine.clock, seconds=60 * machine.plain_seconds)
    ngram, model = NgramDrafter(range(CONTROL)), ReplayDrafter(machine)
    drafters: list[Drafter] = [ngram]
    acceptance: dict[str, Acceptance] = {}
    if quality != "none":
        drafters.append(model)
        costs.observe_draft(model.name, DRAFT_PRICE * machine.plain_seconds)
        costs.observe_catch_up(model.name, READ_PRICE * machine.plain_seconds)
        record = acceptance[model.name] = Acceptance()
        for (token, confidence), right in zip(answers[-1].predictions[quality][:60], answers[-1].tokens, strict=False):
            record.observe(confidence, token == right)  # stands for the sample text of the calibration
    controller = Controller(costs, drafters, clock=machine.clock, acceptance=acceptance)
    speedups: dict[str, list[float]] = {}
    losses: dict[str, list[float]] = {}
    ledger = controller.ledger
    for _ in range(rounds):
        for answer in answers:
            ngram.close()  # earlier rounds gave the same answers
            model.answer, model.predictions = answer, answer.predictions.get(quality, [])
            text = [*answer.prompt, *answer.tokens]
            context = text[: len(answer.prompt) + 1]
            controller.begin(answer.prompt)
            started, lost, tokens = machine.now, ledger.net_loss, ledger.tokens
            while len(context) < len(text):
                draft = list(controller.choose(context, min(31, len(text) - len(context) - 1)).tokens)
                before = machine.now
                machine.step(1 + len(draft))
                emitted: list[int] = []
                for token in [*draft, -1]:
                    emitted.append(text[len(context) + len(emitted)])
                    if emitted[-1] != token:
                        break
                controller.observe(emitted, len(emitted) - 1, len(draft), 1 + len(draft), machine.now - before)
                context += emitted
            plain = (len(answer.tokens) - 1) * machine.plain_seconds
            speedups.setdefault(answer.workload, []).append(plain / (machine.now - started))
            sums = losses.setdefault(answer.workload, [0.0, 0.0])
            sums[0] += ledger.net_loss - lost
            sums[1] += ledger.tokens - tokens
    return speedups, {name: lost / tokens for name, (lost, tokens) in losses.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "localllm-bench-models")
    options = parser.parse_args()
    answers = answer_all(options.tokens)
    qualities = ("perfect", "Q3_K", "Q2_K", "useless")
    for quality in qualities:
        predict(answers, quality, options.models)
    names = list(WORKLOADS)
    print(f"{'share of tokens that continue the prompt':<42}" + "".join(
        f"{statistics.fmean(a.copied for a in answers if a.workload == n):>11.0%}" for n in names))  # fmt: skip
    print(f"{'speed-up against plain decoding':<42}" + "".join(f"{n:>11}" for n in names) + "   largest loss")
    rows = []
    for curve in list(CURVES)[:4]:
        for quality in ("none", *qualities):
            speedups, losses = replay(answers, curve, quality)
            loss = max(losses.values())
            means = {n: statistics.harmonic_mean(v) for n, v in speedups.items()}
            rows.append({"curve": curve, "draft": quality, "speedup": means, "all": speedups, "losses": losses})
            print(
                f"{curve:<30}{quality:<12}" + "".join(f"{means[n]:11.2f}" for n in names) + f"  {loss:+.2%}", flush=True
            )
    every = [s for row in rows for s in row["speedup"].values()]  # type: ignore[attr-defined]
    print(f"worst cell {min(every):.3f}, geometric mean {statistics.geometric_mean(every):.3f}")
    write("speculation-replay", rows)


if __name__ == "__main__":
    main()
