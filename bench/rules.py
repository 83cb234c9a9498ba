"""IFEval prompts with the starter model: without rules, with constraints while decoding, with fixes, with repair.

    LOCALLLM_BENCH_DATA=DIR python -m bench.rules [--n 60] [--max-tokens 400] [--show 50] [--answers FILE] [--json FILE]
    LOCALLLM_BENCH_DATA=DIR python -m bench.rules --agreement      # our checkers against IFBench's own verdicts

Columns: prompts of which every instruction is followed (strict score, as the reference decides), instructions followed,
answers that were cut off, tokens and processor seconds per answer, the share of repeated 4-grams,
and the mean log-likelihood per token under the free model. Below: how much more is repeated with rules, pair by pair.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.data import read
from bench.likelihood import Scorer
from localllm.rules.checks.catalogue import kinds
from localllm.rules.checks.ifeval import loose_variants
from localllm.rules.checks.kinds import read_fields
from localllm.rules.fix import fix
from localllm.rules.outcome import Context
from localllm.rules.ruleset import RepairBudget, Rule, RuleSet
from localllm.rules.verdict import evaluate

ROOT = Path(__file__).parent.parent
STARTER = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
MODES = ("free", "free + fixes", "decode", "decode + fixes", "all")


@dataclass
class Column:
    """What one way of answering gave."""

    prompts: int = 0
    instructions: int = 0
    truncated: int = 0
    tokens: int = 0
    seconds: float = 0.0
    repeated: list[float] = field(default_factory=list)
    likelihood: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=STARTER)
    parser.add_argument("--n", type=int, default=60, help="prompts, drawn with a fixed seed; 0 for all 541")
    parser.add_argument("--max-tokens", type=int, default=400)
    parser.add_argument("--threads", type=int, default=0, help="0 means physical cores")
    parser.add_argument("--show", type=int, default=0, help="print this many answers for reading")
    parser.add_argument("--only", default="", help="instruction ids that hold this text")
    parser.add_argument("--answers", type=Path, help="keep the answers here, and go on from those that are there")
    parser.add_argument("--minutes", type=float, default=0, help="write no new answers after this time")
    parser.add_argument("--agreement", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    data = os.environ.get("LOCALLLM_BENCH_DATA")
    if not data or not Path(data).is_dir():
        print("skipped: LOCALLLM_BENCH_DATA is not set")
        return 0
    if args.agreement:
        result: dict[str, Any] = agreement(Path(data) / "ifbench")
        for name, text in result.items():
            print(f"{name:<34} {text}")
    else:
        if not args.model.exists():
            print(f"skipped: {args.model} is missing")
            return 0
        result = ifeval(Path(data), args)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1), "utf-8")
    return 0


def rules_of(row: dict[str, Any]) -> tuple[Rule, ...]:
    """The instructions of an IFEval prompt as rules that decide as the reference does."""
    rules = []
    for i, (name, values) in enumerate(zip(row["instruction_id_list"], row["kwargs"], strict=True)):
        kind = kinds()[name]
        given = {k: v for k, v in values.items() if v is not None and k in kind.fields}
        rules.append(Rule(f"{i}-{name}", kind, {**read_fields(kind, given, name), "mode": "compat"}))
    return tuple(rules)


@dataclass(frozen=True)
class Answer:
    """One answer of one way of answering, as kept in the file of answers."""

    text: str
    tokens: int
    seconds: float
    cut_off: bool
    likelihood: float | None


class Writer:
    """Writes the answers to one prompt in each way."""

    def __init__(self, model: Path, threads: int, max_tokens: int) -> None:
        from localllm.engine.local import LocalEngine
        from localllm.engine.protocol import EngineSpec

        self.engine = LocalEngine(EngineSpec(model, n_ctx=4096, n_threads=threads))
        self._scorer = Scorer(model, threads or os.cpu_count() or 1)
        self._max_tokens = max_tokens

    def book(self, rules: tuple[Rule, ...]) -> Any:
        from localllm.rules.rulebook import Rulebook

        return Rulebook(RuleSet("ifeval", rules=rules, repair=RepairBudget(1, self._max_tokens // 2)))

    def answers(self, prompt: str, rules: tuple[Rule, ...]) -> tuple[dict[str, Answer], list[str]]:
        """The answers without rules, with constraints, and with everything; and what was not enforced while decoding."""  # noqa: E501
        from localllm.engine.protocol import Request, Sampling
        from localllm.events import Message, Role
        from localllm.settings import Settings

        compiled = self.book(rules).compile(self.engine, Settings())
        compiled.system = ""  # the prompt says it already
        unmet = [f"{p.rule_id.split('-', 1)[1]}: {p.reason}" for p in compiled.report if p.where == "check"]
        base = Request(
            messages=(Message(Role.USER, prompt),), max_tokens=self._max_tokens, sampling=Sampling(temperature=0)
        )
        constrained = replace(base, constraint=compiled.constraint)
        free = self._plain(base)
        decode = self._plain(constrained) if compiled.constraint else free
        return {"free": free, "decode": decode, "all": self._ruled(constrained, compiled)}, unmet

    def _plain(self, request: Any) -> Answer:
        from localllm.engine.protocol import GenerationDone, TokenEvent
        from localllm.errors import ConstraintRefused
        from localllm.events import FinishReason

        started = time.process_time()
        text, tokens, cut = "", 0, False
        try:
            for event in self.engine.stream(request):
                if isinstance(event, TokenEvent):
                    text, tokens = text + event.text, tokens + len(event.token_ids)
                elif isinstance(event, GenerationDone):
                    tokens, cut = event.stats.completion_tokens, event.reason is FinishReason.LENGTH
        except ConstraintRefused:  # the grammar outgrew its limits: what stands is the answer, and it counts as cut off
            cut = True
        return self._answer(request, text, tokens, time.process_time() - started, cut)

    def _ruled(self, request: Any, compiled: Any) -> Answer:
        from localllm.assistant.generate import generate
        from localllm.events import FinishReason

        started = time.process_time()
        events = generate(self.engine, request, rules=compiled)
        while True:
            try:
                next(events)
            except StopIteration as stop:
                made = stop.value
                break
        seconds = time.process_time() - started
        return self._answer(
            request, made.text, made.stats.completion_tokens, seconds, made.reason is FinishReason.LENGTH
        )

    def _answer(self, request: Any, text: str, tokens: int, seconds: float, cut: bool) -> Answer:
        score = self._scorer.mean(self.engine.render(request.messages).token_ids, self.engine.tokenize(text))
        return Answer(text, tokens, seconds, cut, None if math.isnan(score) else score)

    def close(self) -> None:
        self.engine.close()
        self._scorer.close()


def ifeval(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    rows = list(read(folder / "ifeval" / "input_data.jsonl.gz"))
    rows = [row for row in rows if any(args.only in i for i in row["instruction_id_list"])]
    if args.n:
        rows = random.Random(11).sample(rows, min(args.n, len(rows)))
    kept: dict[int, dict[str, Any]] = {}
    if args.answers and args.answers.exists():
        kept = {row["key"]: row for row in map(json.loads, args.answers.read_text("utf-8").splitlines())}
    writer = None if all(row["key"] in kept for row in rows) else Writer(args.model, args.threads, args.max_tokens)
    stop_at = time.monotonic() + 60 * args.minutes if args.minutes else math.inf
    try:
        for row in rows:
            if row["key"] in kept or writer is None or time.monotonic() > stop_at:
                continue
            answers, unmet = writer.answers(row["prompt"], rules_of(row))
            kept[row["key"]] = {
                "key": row["key"], "unmet": unmet, "answers": {way: asdict(a) for way, a in answers.items()}
            }  # fmt: skip
            if args.answers:
                with args.answers.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(kept[row["key"]]) + "\n")
    finally:
        if writer is not None:
            writer.close()
    return report([row for row in rows if row["key"] in kept], kept, args)


def report(rows: list[dict[str, Any]], kept: dict[int, dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    columns = {mode: Column() for mode in MODES}
    by_kind: dict[str, Counter[str]] = {mode: Counter() for mode in MODES}
    totals: Counter[str] = Counter()
    unmet: Counter[str] = Counter()
    lifted: Counter[str] = Counter()
    for row in rows:
        rules = rules_of(row)
        context = Context(question=row["prompt"])
        totals.update(row["instruction_id_list"])
        unmet.update(kept[row["key"]]["unmet"])
        answers = {way: Answer(**a) for way, a in kept[row["key"]]["answers"].items()}
        for way in ("free", "decode"):
            mended = fix(rules, answers[way].text, context)[0]
            answers[f"{way} + fixes"] = replace(answers[way], text=mended, likelihood=None)
        followed: dict[str, bool] = {}
        for mode in MODES:
            column, answer = columns[mode], answers[mode]
            good = [bool(answer.text.strip()) and evaluate(rule, answer.text, context).passed for rule in rules]
            followed[mode] = all(good)
            column.prompts += all(good)
            column.instructions += sum(good)
            by_kind[mode].update(name for name, ok in zip(row["instruction_id_list"], good, strict=True) if ok)
            column.truncated += answer.cut_off
            column.tokens += answer.tokens
            column.seconds += answer.seconds
            column.repeated.append(repeated(answer.text))
            if answer.likelihood is not None:
                column.likelihood.append(answer.likelihood)
            column.answers.append(answer.text)
        lifted[f"{'followed' if followed['free'] else 'broken'} -> {'followed' if followed['all'] else 'broken'}"] += 1
    result = table(rows, columns, totals, by_kind)
    result["max_tokens"] = args.max_tokens
    print()
    for mode in ("decode", "all"):
        low, mean, high = result[f"repeated, free -> {mode}"] = more_of(
            columns["free"].repeated, columns[mode].repeated
        )
        print(f"repeated, free -> {mode}: {mean:+.3f} (95 % interval {low:+.3f} to {high:+.3f})")
    result["free -> all"] = dict(lifted)
    print(f"\nfree -> all: {dict(lifted)}\nnot enforced while decoding:")
    for text, count in unmet.most_common(30):
        print(f"  {count:>3}  {text}")
    for i in range(min(args.show, len(rows))):
        print(f"\n--- {rows[i]['prompt'][:400]}")
        for mode in ("free", "decode", "all"):
            print(f"--- {mode}:\n{columns[mode].answers[i]}")
    return result


def table(
    rows: list[dict[str, Any]], columns: dict[str, Column], totals: Counter[str], by_kind: dict[str, Counter[str]]
) -> dict[str, Any]:
    """The two tables, printed and as a value."""
    n, n_instructions = len(rows), sum(totals.values())
    result: dict[str, Any] = {"prompts": n, "instructions": n_instructions, "columns": {}, "kinds": {}}
    heads = ("prompts", "instr.", "cut off", "tokens", "x", "CPU s", "repeated", "log-lik.")
    print(f"{n} prompts, {n_instructions} instructions\n{'':<16}" + "".join(f" {h:>9}" for h in heads))
    for mode, c in columns.items():
        row = {
            "prompt_strict": c.prompts / n, "instruction_strict": c.instructions / n_instructions,
            "truncated": c.truncated / n, "tokens": c.tokens / n,
            "tokens_ratio": c.tokens / max(1, columns["free"].tokens), "seconds": c.seconds / n,
            "repeated": statistics.mean(c.repeated), "log_likelihood": statistics.mean(c.likelihood) if c.likelihood else None,  # noqa: E501
        }  # fmt: skip
        result["columns"][mode] = row
        print(f"{mode:<16}" + "".join(f" {v:>9.3f}" if v is not None else f" {'':>9}" for v in row.values()))
    print()
    for name in sorted(totals):
        counts = "  ".join(f"{by_kind[m][name]:>3}" for m in MODES)
        result["kinds"][name] = {m: by_kind[m][name] for m in MODES} | {"of": totals[name]}
        print(f"{name:<50} {counts}  of {totals[name]}")
    return result


def repeated(text: str) -> float:
    """Share of word 4-grams that occurred before in the text."""
    words = text.lower().split()
    grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def more_of(before: list[float], after: list[float]) -> tuple[float, float, float]:
    """The mean of the paired differences, between the ends of its 95 % interval (bootstrap over pairs, seeded)."""
    rng, more = random.Random(0), [b - a for a, b in zip(before, after, strict=True)]
    means = sorted(statistics.mean(rng.choices(more, k=len(more))) for _ in range(2000))
    return means[50], statistics.mean(more), means[1949]


# ---- agreement with IFBench's own verdicts --------------------------------------------------------------------------


def agreement(folder: Path) -> dict[str, str]:
    """Our verdicts against the reference checker's, strict and loose, per kind."""
    prompts = {row["prompt"].strip(): row for row in list(read(folder / "IFBench_test.jsonl.gz"))}
    same: Counter[str] = Counter()
    total: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for name in ("strict", "loose"):
        for row in list(read(folder / f"eval_results_{name}.jsonl.gz")):
            prompt = prompts.get(row["prompt"].strip())
            if prompt is None:  # one row of the reference's file joins several prompts
                continue
            for kind_id, values, gold in zip(
                prompt["instruction_id_list"], prompt["kwargs"], row["follow_instruction_list"], strict=True
            ):
                if (kind := kinds().get(kind_id)) is None:
                    missing[kind_id] += 1
                    continue
                given = {k: v for k, v in values.items() if v is not None and k in kind.fields}
                params = read_fields(kind, {**given, "mode": "compat"}, kind_id)
                texts = loose_variants(row["response"]) if name == "loose" else [row["response"]]
                ours = any(t.strip() and kind.check(params, t, Context()).passed for t in texts)
                total[kind_id] += 1
                same[kind_id] += ours == gold
    table = {k: f"{same[k]}/{total[k]}" + ("" if same[k] == total[k] else "   differs") for k in sorted(total)}
    table["all implemented kinds"] = f"{sum(same.values())}/{sum(total.values())}"
    table["not implemented"] = ", ".join(sorted(missing))
    return table


if __name__ == "__main__":
    raise SystemExit(main())
