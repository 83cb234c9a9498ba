"""Whole answers under a constraint: tokens per second beside free decoding, llama-cpp-python's `response_format`, and drafts.

    python -m bench.constrained [--only TEXT...] [--pairs N] [--model FILE]

Both sides of a pair answer the same question with the same seed, in turns. "Free" answers can't end before their
budget, so that both sides write about as much. "Nothing forced" asks the model for every token of the JSON.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from bench.pairs import HEADER, Pairs, alternate, write
from localllm.engine.local import LocalEngine
from localllm.engine.matcher import GrammarMatcher
from localllm.engine.protocol import ConstraintSpec, EngineSpec, GenerationDone, Request, Sampling, TokenEvent
from localllm.events import Message, Role
from localllm.rules.rulebook import Rulebook

STARTER = Path(__file__).parent.parent / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
BUDGET = 256

PASSAGE = """Service report of 4 March 2026. Ann Lee of Acme Pumps visited the water works in Graz and replaced
the seal of pump 7, part QX-2291, after 412 hours of operation. Bo Chan of the city's water
department paid 318 euros for the part and 95 euros for the work. The next service is due on 4
September 2026. Ms Lee advises to keep two seals of the type QX-2291 in stock, as the supplier,
Norda Seals, needs six weeks for a delivery. The filter was cleaned that day."""

QUESTIONS = {
    "extraction": f"{PASSAGE}\n\nGive the facts of this report as JSON: title, summary, people, organisations, dates, amounts.",  # noqa: E501
    "records": f"{PASSAGE}\n\nGive name, role, employer, city and reason of everybody in it as JSON.",
    "rules": f"{PASSAGE}\n\nWrite down what was done and what has to be done next, as a list.",
}
RECORDS = {
    "type": "object",
    "properties": {
        "records": {
            "type": "array",
            "minItems": 3,
            "maxItems": 3,
            "items": {
                "type": "object",
                "properties": {
                    key: {"type": "string", "minLength": 1, "maxLength": 24}
                    for key in (
                        "name_of_the_person",
                        "role_in_the_organisation",
                        "employer",
                        "city",
                        "reason_for_visit",
                    )
                },
                "required": ["name_of_the_person", "role_in_the_organisation", "employer", "city", "reason_for_visit"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["records"],
    "additionalProperties": False,
}
TEXT_RULES = """
[ruleset]
name = "work-list"
[[rule]]
type = "bullets"
min = 3
max = 6
[[rule]]
type = "forbid"
words = ["however", "very"]
[[rule]]
type = "ends_with"
text = "End of report."
"""


class Bench:
    """One loaded engine and what is asked of it."""

    def __init__(self, model: Path, speculation: Literal["auto", "none"] = "none") -> None:
        self.engine = LocalEngine(EngineSpec(model, n_ctx=2048, speculation=speculation))
        self.seconds: dict[str, float] = {}
        self.texts: dict[str, list[str]] = {}
        eog = self.engine._model.vocab.eog
        self._no_end = dict.fromkeys(eog, -1e9)
        self.n_asked: dict[str, int] = {}
        self._tokens: dict[str, int] = {}
        self._steps: dict[str, int] = {}

    def ask(
        self, name: str, question: str, temperature: float, *, constraint: ConstraintSpec | None = None,
        budget: int = BUDGET, speculation: Literal["auto", "none"] = "none", corpus: tuple[str, ...] = (),
    ) -> float:  # fmt: skip
        """Tokens per second of the next answer under this name; its seed is how many there were before."""
        seed = self.n_asked[name] = self.n_asked.get(name, -1) + 1
        bias = {} if constraint is not None else self._no_end
        request = Request(
            messages=(Message(Role.USER, question),), max_tokens=budget, constraint=constraint,
            sampling=Sampling(temperature=temperature, seed=seed, logit_bias=bias),
            speculation=speculation, corpus=corpus,
        )  # fmt: skip
        text, stats = "", None
        for event in self.engine.stream(request):
            if isinstance(event, TokenEvent):
                text += event.text
            elif isinstance(event, GenerationDone):
                stats = event.stats
        assert stats is not None
        self.texts.setdefault(name, []).append(text)
        self._tokens[name] = self._tokens.get(name, 0) + stats.completion_tokens
        self._steps[name] = self._steps.get(name, 0) + stats.speculation.target_steps
        return stats.decode_tokens_per_second

    def tokens_per_step(self, name: str) -> float:
        """Tokens of all answers under this name for each evaluation of the model; forced and drafted ones raise it."""
        return self._tokens[name] / max(1, self._steps[name])


def schema_of(name: str) -> ConstraintSpec:
    spec = Rulebook.load(name).compiled().constraint
    assert spec is not None
    return spec


def nothing_forced(run: Callable[[], float]) -> Callable[[], float]:
    """The same with every token asked of the model."""

    def without() -> float:
        forced = GrammarMatcher.forced
        GrammarMatcher.forced = lambda self: []  # type: ignore[method-assign]
        try:
            return run()
        finally:
            GrammarMatcher.forced = forced  # type: ignore[method-assign]

    return without


def cells(model: Path) -> dict[str, Callable[[int], Pairs]]:
    extraction, records = schema_of("json-extraction"), ConstraintSpec("json_schema", json.dumps(RECORDS))
    rules = Rulebook.parse(TEXT_RULES).compiled().constraint
    assert rules is not None
    found: dict[str, Callable[[int], Pairs]] = {}

    def against_free(kind: str, spec: ConstraintSpec, temperature: float, forced: bool) -> Callable[[int], Pairs]:
        def cell(n: int) -> Pairs:
            bench = Bench(model)
            ours: Callable[[], float] = lambda: bench.ask("ours", QUESTIONS[kind], temperature, constraint=spec)
            name = f"{kind}, t={temperature:g}, {'as it is' if forced else 'nothing forced'} / free"
            pairs = alternate(
                name,
                ours if forced else nothing_forced(ours),
                lambda: bench.ask("free", QUESTIONS[kind], temperature),
                n,
            )
            bench.engine.close()
            return replace(pairs, name=f"{name} ({bench.tokens_per_step('ours'):.2f} tokens per step)")

        return cell

    def against_response_format(kind: str, spec: ConstraintSpec, temperature: float) -> Callable[[int], Pairs]:
        def cell(n: int) -> Pairs:
            bench, peer = Bench(model), Peer(model)
            pairs = alternate(
                f"{kind}, t={temperature:g} / response_format",
                lambda: bench.ask("ours", QUESTIONS[kind], temperature, constraint=spec),
                lambda: peer.ask(QUESTIONS[kind], temperature, json.loads(spec.source)), n,
            )  # fmt: skip
            bench.engine.close()
            return pairs

        return cell

    def drafted(kind: str, spec: ConstraintSpec | None, temperature: float) -> Callable[[int], Pairs]:
        def cell(n: int) -> Pairs:
            bench = Bench(model, "auto")
            name = f"{kind}{'' if spec else ' without a constraint'}, t={temperature:g}: n-grams / no drafts"
            pairs = alternate(
                name,
                lambda: bench.ask("n-grams", QUESTIONS[kind], temperature, constraint=spec, speculation="auto",
                                  corpus=(PASSAGE,)),
                lambda: bench.ask("none", QUESTIONS[kind], temperature, constraint=spec), n,
            )  # fmt: skip
            same = sum(a == b for a, b in zip(bench.texts["n-grams"], bench.texts["none"], strict=True))
            bench.engine.close()
            steps = f"{bench.tokens_per_step('n-grams'):.2f} and {bench.tokens_per_step('none'):.2f} tokens per step"
            return replace(pairs, name=f"{name} ({steps}, same text {same}/{len(bench.texts['none'])})")

        return cell

    for temperature in (0.0, 1.0):
        for kind, spec in (("extraction", extraction), ("records", records)):
            for forced in (False, True):
                found[f"free {kind} {temperature:g} {'forced' if forced else 'plain'}"] = against_free(
                    kind, spec, temperature, forced
                )
    found["response_format extraction"] = against_response_format("extraction", extraction, 1.0)
    found["response_format records"] = against_response_format("records", records, 1.0)
    for temperature in (0.0, 0.7):
        found[f"drafts extraction {temperature:g}"] = drafted("extraction", extraction, temperature)
        found[f"drafts rules {temperature:g}"] = drafted("rules", rules, temperature)
    found["drafts no-constraint 0"] = drafted("extraction", None, 0.0)
    return found


class Peer:
    """llama-cpp-python's high-level chat completion with the schema as its `response_format`, on as many threads."""

    def __init__(self, model: Path) -> None:
        from llama_cpp import Llama

        self._llama = Llama(str(model), n_ctx=2048, n_threads=2, n_threads_batch=2, verbose=False)
        self._seed = -1

    def ask(self, question: str, temperature: float, schema: Any) -> float:
        self._seed += 1
        times: list[float] = []
        for chunk in self._llama.create_chat_completion(
            [{"role": "user", "content": question}], max_tokens=BUDGET, temperature=temperature, stream=True,
            response_format={"type": "json_object", "schema": schema}, seed=self._seed,
        ):  # fmt: skip
            if chunk["choices"][0]["delta"].get("content"):
                times.append(time.perf_counter())
        return (len(times) - 1) / max(1e-9, times[-1] - times[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=STARTER)
    parser.add_argument("--only", nargs="*", default=[""], help="cells whose name has one of these texts")
    parser.add_argument("--pairs", type=int, default=9)
    args = parser.parse_args()
    if not args.model.exists():
        print("skipped: the starter model is missing (make starter)")
        return 0
    warnings.simplefilter("ignore", DeprecationWarning)
    print(HEADER)
    results = []
    for name, cell in cells(args.model).items():
        if any(text in name for text in args.only):
            pairs = cell(args.pairs)
            results.append(pairs)
            print(
                pairs.row(),
                f"  ms per token {1e3 / _median(pairs.ours):.2f} / {1e3 / _median(pairs.peer):.2f}",
                flush=True,
            )
    write("constrained-" + "-".join(args.only) if args.only != [""] else "constrained", results)
    return 0


def _median(values: tuple[float, ...]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    raise SystemExit(main())
