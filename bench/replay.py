"""The controller on real texts and a simulated clock: what speculation would gain on a machine with a given cost curve.

    python -m bench.replay [--tokens 160] [--price 0.2] [--curve TEXT] [--alone]

The starter model in Q4_0 answers the workloads once, plainly, and graded drafts predict each token of those answers.
Then the decode loop's decisions are replayed without any evaluation: what is accepted is known, and time is what the
curve of `tests/speculation.py` says, give or take 3 %. The figures are the same on a busy machine and on a quiet one;
what they leave out is everything that a curve does not say. Each cell has the tokens of all answers to its prompts,
`--rounds` times. All workloads share one controller in turn, as they do in one installation; with `--alone` each has a
fresh one, so that its grant and all that it learns are paid for by that workload alone.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.pairs import write
from bench.synthetic import DRAFTS, make_draft
from bench.workloads import WORKLOADS, share_copied
from localllm.engine.acceptance import Acceptance
from localllm.engine.controller import Controller
from localllm.engine.costs import CostTable, calibrate
from localllm.engine.decode import MAX_DRAFT
from localllm.engine.draft_ngram import NgramDrafter
from localllm.engine.drafting import Drafter, DrawsAhead
from localllm.engine.local import LocalEngine
from localllm.engine.protocol import EngineSpec, Sampling, TokenEvent
from localllm.engine.sampling import TokenSampler
from localllm.engine.speculate import SAMPLE
from localllm.llama.context import Context
from localllm.llama.model import Model
from tests.speculation import CURVES, Machine, no_draws, steps

DRAFT_PRICE = 0.2
"""Of a drafted token in plain steps: the starter against 180 layers; against 60 it is a half."""
READ_SHARE = 0.4
"""What a token that the draft only reads costs, of one that it drafts."""
CONTROL = 17
"""The starter's first tokens are its control tokens."""
Prediction = tuple[int, float]
GREEDY = Sampling(temperature=0)


@dataclass
class Answer:
    """A plain answer, and what each draft predicts at each of its tokens."""

    workload: str
    prompt: list[int]
    tokens: list[int]
    copied: float
    sampling: Sampling = GREEDY
    predictions: dict[str, list[Prediction]] = field(default_factory=dict)


class ReplayDrafter:
    """Drafts what a model predicted; behind its first error it goes on with noise."""

    name = "replayed"

    def __init__(self, machine: Machine, price: float) -> None:
        self.machine = machine
        self.price = price
        self.answer = Answer("", [], [], 0.0)
        self.predictions: list[Prediction] = []
        self.evaluated = 0
        self._read = 0
        self._confidences: list[float] = []

    def begin(self, prompt: Sequence[int]) -> None:
        self._read = 0

    def read_ahead(self, prompt: Sequence[int], go_on: Callable[[], bool]) -> None:
        self.machine.work(self.lag(prompt) * READ_SHARE * self.price)
        self._read = len(prompt)

    def draw_with(self, draws: DrawsAhead | None) -> None: ...

    def lag(self, context: Sequence[int]) -> int:
        return max(len(context) - self._read, 1)

    def propose(self, context: Sequence[int], k: int) -> list[int]:
        return self.propose_while(context, k, lambda _: True)

    def propose_while(self, context: Sequence[int], k: int, go_on: Callable[[Sequence[float]], bool]) -> list[int]:
        self.machine.work((self.lag(context) - 1) * READ_SHARE * self.price)
        at, right = len(context) - len(self.answer.prompt), True
        draft: list[int] = []
        self._confidences = []
        while len(draft) < k and at + len(draft) < len(self.predictions):
            token, confidence = self.predictions[at + len(draft)]
            draft.append(token if right else -5)
            right = right and token == self.answer.tokens[at + len(draft) - 1]
            self._confidences.append(confidence)
            self.machine.work(self.price)
            if not go_on(self._confidences):
                break
        self._read, self.evaluated = len(context), len(draft)
        return draft

    def confidence(self) -> Sequence[float]:
        return self._confidences

    def observe(self, accepted: Sequence[int], n_drafted_accepted: int) -> None:
        self._read += n_drafted_accepted if self._read else 0

    def close(self) -> None: ...


def answer_all(n: int, target: Path) -> list[Answer]:
    """Plain answers of the target to every prompt."""
    engine = LocalEngine(EngineSpec(target, n_ctx=2048, speculation="none"))
    answers = []
    for workload in WORKLOADS.values():
        for text in workload.prompts:
            request = workload.request(text, n, "none")
            prompt = engine._prompt_ids(request, [])
            tokens = [t for e in engine.stream(request) if isinstance(e, TokenEvent) for t in e.token_ids]
            answers.append(Answer(workload.name, prompt, tokens, share_copied(prompt, tokens), request.sampling))
    engine.close()
    return answers


def sample_answer(target: Path) -> Answer:
    """The sample text of the calibration, and what the target says at each of its tokens."""
    model = Model(target)
    sample = model.vocab.tokenize(SAMPLE)
    model.close()
    answer = Answer("sample", sample[:1], sample[1:], 0.0)
    predict([answer], "target", target)
    return answer


def predict(answers: Sequence[Answer], quality: str, path: Path) -> None:
    """What the draft in this file says at each token of the answers."""
    model = Model(path)
    context = Context(model, n_ctx=2048)
    for answer in answers:
        context.seq_rm(0, 0)
        text, first = [*answer.prompt, *answer.tokens], len(answer.prompt) - 1
        for i in range(0, first, 512):
            context.decode(0, text[i : min(i + 512, first)], i, 0)
        found: list[Prediction] = []
        sampler = TokenSampler(answer.sampling, model.vocab.n_tokens)
        draws = None if sampler.greedy else sampler.ahead(0)
        for i in range(first, len(text) - 1):  # one by one, as it drafts: a batch rounds otherwise
            context.decode(0, text[i : i + 1], i, 1)
            logits = context.logits(0)
            if draws is not None:
                found.append((draws.draw(logits), draws.chance))
                continue
            best = int(logits.argmax())
            found.append((best, 1.0 / float(np.exp(logits - logits[best]).sum())))
        answer.predictions[quality] = found
    context.close()
    model.close()


@dataclass
class Setting:
    """A simulated machine with a freshly calibrated controller."""

    machine: Machine
    controller: Controller
    ngram: NgramDrafter
    model: ReplayDrafter


def set_up(curve: str, quality: str, sample: Answer, price: float) -> Setting:
    """Costs and agreement measured as a first start measures them."""
    machine = Machine(CURVES[curve], noise=0.03)
    costs = CostTable(MAX_DRAFT + 2)
    calibrate(costs, machine.step, machine.clock, seconds=60 * machine.plain_seconds)
    ngram, model = NgramDrafter(range(CONTROL)), ReplayDrafter(machine, price)
    drafters: list[Drafter] = [ngram]
    acceptance: dict[str, Acceptance] = {}
    if quality != "none":
        drafters.append(model)
        costs.observe_draft(model.name, price * machine.plain_seconds)
        costs.observe_catch_up(model.name, READ_SHARE * price * machine.plain_seconds)
        record = acceptance[model.name] = Acceptance()
        for (wanted, _), (token, confidence) in zip(
            sample.predictions["target"], sample.predictions[quality], strict=True
        ):
            record.observe(confidence, token == wanted)
    return Setting(machine, Controller(costs, drafters, clock=machine.clock, acceptance=acceptance), ngram, model)


@dataclass
class Sums:
    """What the answers of one workload took."""

    speedups: list[float] = field(default_factory=list)
    lost: float = 0.0
    """By the ledger, in plain steps; negative where it gained."""
    tokens: int = 0
    lengths: Counter[int] = field(default_factory=Counter)

    @property
    def loss(self) -> float:
        return self.lost / self.tokens


def replay(setting: Setting, answer: Answer, quality: str, sums: Sums) -> None:
    """One answer."""
    machine, controller, ledger = setting.machine, setting.controller, setting.controller.ledger
    setting.ngram.close()  # earlier rounds gave the same answers
    setting.model.answer, setting.model.predictions = answer, answer.predictions.get(quality, [])
    text = [*answer.prompt, *answer.tokens]
    context = text[: len(answer.prompt) + 1]
    started, lost, tokens = machine.now, ledger.net_loss, ledger.tokens
    controller.begin(answer.prompt, draws=None if answer.sampling.temperature == 0 else no_draws)
    for length in steps(machine, controller, text, context):
        sums.lengths[length] += 1
    sums.speedups.append((len(answer.tokens) - 1) * machine.plain_seconds / (machine.now - started))
    sums.lost += ledger.net_loss - lost
    sums.tokens += ledger.tokens - tokens


def replay_all(
    answers: Sequence[Answer], sample: Answer, curve: str, quality: str, rounds: int, price: float, alone: bool
) -> dict[str, Sums]:
    """All workloads with one curve and draft."""
    found: dict[str, Sums] = {}
    setting = set_up(curve, quality, sample, price)
    for names in [[n] for n in WORKLOADS] if alone else [list(WORKLOADS)]:
        if alone:
            setting = set_up(curve, quality, sample, price)
        for _ in range(rounds):
            for answer in answers:
                if answer.workload in names:
                    replay(setting, answer, quality, found.setdefault(answer.workload, Sums()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--price", type=float, default=DRAFT_PRICE, help="of a drafted token in plain steps")
    parser.add_argument("--curve", default="", help="only curves whose name begins with this")
    parser.add_argument("--alone", action="store_true", help="a fresh controller for each workload")
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "localllm-bench-models")
    options = parser.parse_args()
    target = make_draft(options.models, "perfect", "Q4_0")
    answers, sample = answer_all(options.tokens, target), sample_answer(target)
    for quality in DRAFTS:
        predict([*answers, sample], quality, make_draft(options.models, quality, "Q4_0"))
    print(f"{'share of tokens that continue the prompt':<42}" + "".join(
        f"{statistics.fmean(a.copied for a in answers if a.workload == n):>17.0%}" for n in WORKLOADS))  # fmt: skip
    print(f"{'speed-up against plain decoding, loss':<42}" + "".join(f"{n:>17}" for n in WORKLOADS))
    rows: list[dict[str, Any]] = []
    for curve in [c for c in list(CURVES)[:4] if c.startswith(options.curve)]:
        for quality in ("none", *DRAFTS):
            found = replay_all(answers, sample, curve, quality, options.rounds, options.price, options.alone)
            means = {n: statistics.harmonic_mean(s.speedups) for n, s in found.items()}
            losses = {n: s.loss for n, s in found.items()}
            rows.append({"curve": curve, "draft": quality, "speedup": means, "losses": losses,
                         "lengths": {n: dict(sorted(s.lengths.items())) for n, s in found.items()}})  # fmt: skip
            print(f"{curve:<30}{quality:<12}" + "".join(f"{means[n]:9.2f}{losses[n]:+8.2%}" for n in found), flush=True)
    every = [s for row in rows for s in row["speedup"].values()]
    lost = [loss for row in rows for loss in row["losses"].values()]
    print(f"worst cell {min(every):.3f}, geometric mean {statistics.geometric_mean(every):.3f}; largest loss "
          f"{max(lost):+.2%}, {sum(loss > 0.01 for loss in lost)} of {len(lost)} cells above 1 %")  # fmt: skip
    write("speculation-replay", rows)


if __name__ == "__main__":
    main()
