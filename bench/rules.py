"""IFEval prompts with the starter model: without rules, with constraints while decoding, with fixes, with repair.

    LOCALLLM_BENCH_DATA=DIR python -m bench.rules [--n 60] [--max-tokens 400] [--show 50] [--json FILE]
    LOCALLLM_BENCH_DATA=DIR python -m bench.rules --agreement      # our checkers against IFBench's own verdicts

Columns: prompts of which every instruction is followed (strict score, as the reference decides), instructions followed,
answers that were cut off, tokens and seconds per answer against the run without rules, the share of repeated 4-grams,
and the mean log-likelihood per token under the free model.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.data import read
from localllm.rules.checks.catalogue import kinds
from localllm.rules.checks.ifeval import loose_variants
from localllm.rules.checks.kinds import read_fields
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
        result = ifeval(Path(data), args.model, args.n, args.max_tokens, args.show, args.only, args.threads)
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


def ifeval(folder: Path, model: Path, n: int, max_tokens: int, show: int, only: str, threads: int) -> dict[str, Any]:
    from localllm.assistant.generate import generate
    from localllm.engine.local import LocalEngine
    from localllm.engine.protocol import EngineSpec, GenerationDone, Request, Sampling, TokenEvent
    from localllm.events import FinishReason, Message, Role
    from localllm.rules.fix import fix
    from localllm.rules.rulebook import Rulebook
    from localllm.settings import Settings

    rows = list(read(folder / "ifeval" / "input_data.jsonl.gz"))
    rows = [row for row in rows if any(only in i for i in row["instruction_id_list"])]
    if n:
        rows = random.Random(11).sample(rows, min(n, len(rows)))
    columns = {mode: Column() for mode in MODES}
    by_kind: dict[str, Counter[str]] = {mode: Counter() for mode in MODES}
    totals: Counter[str] = Counter()
    engine = LocalEngine(EngineSpec(model, n_ctx=4096, n_threads=threads))
    scorer = Scorer(model, threads or os.cpu_count() or 1)
    unmet: Counter[str] = Counter()
    try:
        for done, row in enumerate(rows):
            rules = rules_of(row)
            totals.update(row["instruction_id_list"])
            book = Rulebook(RuleSet("ifeval", rules=rules, repair=RepairBudget(1, max_tokens // 2)))
            compiled = book.compile(engine, Settings())
            compiled.system = ""  # the prompt says it already
            for placed in compiled.report:
                if placed.where != "decode":
                    unmet[f"{placed.rule_id.split('-', 1)[1]}: {placed.reason}"] += 1
            base = Request(
                messages=(Message(Role.USER, row["prompt"]),), max_tokens=max_tokens, sampling=Sampling(temperature=0)
            )

            def run(mode: str, request: Request, compiled: Any = compiled) -> tuple[str, int, float, FinishReason]:
                started = time.perf_counter()
                text, tokens, reason = "", 0, FinishReason.STOP
                if mode == "all":
                    events = generate(engine, request, rules=compiled)
                    try:
                        while True:
                            next(events)
                    except StopIteration as stop:
                        made = stop.value
                    return made.text, made.stats.completion_tokens, time.perf_counter() - started, made.reason
                for event in engine.stream(request):
                    if isinstance(event, TokenEvent):
                        text += event.text
                    elif isinstance(event, GenerationDone):
                        tokens, reason = event.stats.completion_tokens, event.reason
                return text, tokens, time.perf_counter() - started, reason

            from dataclasses import replace

            constrained = replace(base, constraint=compiled.constraint)
            context = book.context(question=row["prompt"])
            free = run("free", base)
            decode = run("decode", constrained) if compiled.constraint else free
            answers = {
                "free": free,
                "free + fixes": (fix(rules, free[0], context)[0], *free[1:]),
                "decode": decode,
                "decode + fixes": (fix(rules, decode[0], context)[0], *decode[1:]),
                "all": run("all", constrained),
            }
            for mode, (text, tokens, seconds, reason) in answers.items():
                column = columns[mode]
                good = [bool(text.strip()) and evaluate(rule, text, context).passed for rule in rules]
                column.prompts += all(good)
                column.instructions += sum(good)
                by_kind[mode].update(name for name, ok in zip(row["instruction_id_list"], good, strict=True) if ok)
                column.truncated += reason is FinishReason.LENGTH
                column.tokens += tokens
                column.seconds += seconds
                column.repeated.append(repeated(text))
                if mode in ("free", "decode", "all"):
                    score = scorer.mean(engine.render(base.messages).token_ids, engine.tokenize(text))
                    if not math.isnan(score):
                        column.likelihood.append(score)
                column.answers.append(text)
            if sys.stderr.isatty() or done % 10 == 9:
                print(f"{done + 1} of {len(rows)}", file=sys.stderr)
    finally:
        engine.close()
        scorer.close()
    n_instructions = sum(totals.values())
    result: dict[str, Any] = {"prompts": len(rows), "max_tokens": max_tokens, "columns": {}, "kinds": {}}
    print(
        f"{'':<16} {'prompts':>8} {'instr.':>8} {'cut off':>8} {'tokens':>8} {'x':>6} {'s/answer':>9} {'repeated':>9} {'log-lik.':>9}"  # noqa: E501
    )
    for mode, c in columns.items():
        row_ = {
            "prompt_strict": c.prompts / len(rows), "instruction_strict": c.instructions / n_instructions,
            "truncated": c.truncated / len(rows), "tokens": c.tokens / len(rows),
            "tokens_ratio": c.tokens / max(1, columns["free"].tokens), "seconds": c.seconds / len(rows),
            "repeated": statistics.mean(c.repeated), "log_likelihood": statistics.mean(c.likelihood) if c.likelihood else None,  # noqa: E501
        }  # fmt: skip
        result["columns"][mode] = row_
        like = f"{row_['log_likelihood']:9.3f}" if row_["log_likelihood"] is not None else f"{'':>9}"
        print(f"{mode:<16} {row_['prompt_strict']:8.3f} {row_['instruction_strict']:8.3f} {row_['truncated']:8.3f} {row_['tokens']:8.1f}"  # noqa: E501
              f" {row_['tokens_ratio']:6.2f} {row_['seconds']:9.2f} {row_['repeated']:9.3f} {like}")  # fmt: skip
    print()
    for name in sorted(totals):
        counts = "  ".join(f"{by_kind[m][name]:>3}" for m in MODES)
        result["kinds"][name] = {m: by_kind[m][name] for m in MODES} | {"of": totals[name]}
        print(f"{name:<50} {counts}  of {totals[name]}")
    print("\nnot enforced while decoding:")
    for text_, count in unmet.most_common(30):
        print(f"  {count:>3}  {text_}")
    for i in range(min(show, len(rows))):
        print(
            f"\n--- {rows[i]['prompt'][:400]}\n--- free:\n{columns['free'].answers[i]}\n--- all:\n{columns['all'].answers[i]}"  # noqa: E501
        )
    return result


def repeated(text: str) -> float:
    """Share of word 4-grams that occurred before in the text."""
    words = text.lower().split()
    grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


class Scorer:
    """The free model's own opinion of a text."""

    def __init__(self, path: Path, threads: int) -> None:
        from localllm.llama.context import Context as LlamaContext
        from localllm.llama.model import Model

        self._model = Model(path)
        self._context = LlamaContext(self._model, n_ctx=4096, n_batch=256, n_outputs_max=256, n_threads=threads)

    def mean(self, prompt: Sequence[int], answer: Sequence[int]) -> float:
        """Mean log-likelihood per token of the answer behind the prompt."""
        import numpy as np

        tokens = [*prompt, *answer][:4000]
        if not answer:
            return math.nan
        self._context.clear()
        total, n = 0.0, 0
        for start in range(0, len(tokens) - 1, 256):
            batch = tokens[start : start + 256]
            self._context.decode(0, batch, start, len(batch))
            for row in range(len(batch)):
                following = start + row + 1
                if len(prompt) <= following < len(tokens):
                    logits = self._context.logits(row).astype(np.float64)
                    top = logits.max()
                    total += float(logits[tokens[following]] - top - np.log(np.exp(logits - top).sum()))
                    n += 1
        return total / n if n else math.nan

    def close(self) -> None:
        self._context.close()
        self._model.close()


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
                params = read_fields(
                    kind, {k: v for k, v in values.items() if v is not None and k in kind.fields}, kind_id
                )
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
