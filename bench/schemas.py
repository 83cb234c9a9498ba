"""Real JSON Schemas: what the decoder accepts and refuses, what the whole pipeline does, and what a mask costs.

    LOCALLLM_BENCH_DATA=DIR python -m bench.schemas [--model FILE] [--limit N] [--peer N] [--json FILE]

Reads jsonschemabench/maskbench_dev.jsonl.gz: schemas with instances that are valid or invalid. For each schema: the
constraint alone, then the whole pipeline (constraint and full validation). Property order is the schema's, so an
instance counts as accepted in the order in which it stands or in the schema's order.

The peer is llama-cpp-python's own path (its schema converter and llama.cpp's grammar sampler) on the same vocabulary and
tokens. Each schema runs in a child process of its own, because some end the process.
"""  # noqa: E501

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from localllm.engine.constraint import compile_constraint
from localllm.engine.protocol import ConstraintSpec
from localllm.engine.vocabulary import GrammarVocabulary
from localllm.errors import ConstraintRefused, RuleSyntax
from localllm.llama.model import Model
from localllm.rules.schema import _walk, prepare
from localllm.rules.schema_check import check_schema, errors_of

ROOT = Path(__file__).parent.parent
STARTER = ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=STARTER)
    parser.add_argument("--limit", type=int, default=0, help="schemas; 0 for all")
    parser.add_argument("--peer", type=int, default=60, help="schemas for the peer; 0 for none, -1 for all")
    parser.add_argument("--generate", type=int, default=0, help="answers at temperature 1 under the ready schema")
    parser.add_argument("--real", type=int, default=20, help="with --generate: answers under real schemas, too")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    data = os.environ.get("LOCALLLM_BENCH_DATA")
    path = Path(data or "") / "jsonschemabench" / "maskbench_dev.jsonl.gz"
    if not data or not path.exists() or not args.model.exists():
        print("skipped: LOCALLLM_BENCH_DATA or the model is missing")
        return 0
    warnings.simplefilter("ignore", DeprecationWarning)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows = rows[: args.limit or None]
    model = Model(args.model, vocab_only=True)
    vocabulary = GrammarVocabulary(model.vocab.pointer, sorted(model.vocab.eog))
    vocabulary.warm()
    result: dict[str, Any] = {"schemas": len(rows), "model": args.model.name, "n_vocab": vocabulary.n_vocab}
    if not args.generate:
        result["localllm"] = ours(rows, vocabulary)
    if args.peer and not args.generate:
        chosen = rows if args.peer < 0 else rows[:: max(1, len(rows) // args.peer)][: args.peer]
        result["peer"] = peer(chosen, args.model)
        if result["peer"]["mask_us"]["n"]:
            ratio = result["peer"]["mask_us"]["p50"] / result["localllm"]["mask_us"]["p50"]
            result["times_faster_at_p50"] = round(ratio, 1)
    model.close()
    if args.generate:
        result["generated"] = generate(
            args.model, rows[:: max(1, len(rows) // max(1, args.real))][: args.real], args.generate
        )
    show(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1), "utf-8")
    return 0


# ---- ours -----------------------------------------------------------------------------------------------------------


def ours(rows: list[dict[str, Any]], vocabulary: GrammarVocabulary) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    masks: list[float] = []
    compiles: list[float] = []
    wrong: list[str] = []
    unreported: list[str] = []
    for row in rows:
        good, grammar_leak = True, False
        try:
            schema = check_schema(row["schema"], row["id"])
            prepared = prepare(schema)
        except RuleSyntax as error:
            counts["schema refused by name"] += 1
            wrong.append(f"{row['id']}: {error.message[:100]}")
            continue
        known = {(k.pointer, k.keyword) for k in prepared.keywords}
        if any((pointer, keyword) not in known for pointer, keyword, _ in _walk(schema)):
            unreported.append(row["id"])
        counts["only JSON enforced"] += bool(prepared.refused)
        spec = ConstraintSpec("json_schema", prepared.source)
        started = time.perf_counter()
        try:
            compile_constraint(spec, vocabulary)
        except ConstraintRefused as error:
            counts["compile refused"] += 1
            wrong.append(f"{row['id']}: {error.message[:100]}")
            continue
        compiles.append((time.perf_counter() - started) * 1e6)
        for test in row["tests"]:
            by_grammar = any(accepts(spec, vocabulary, text, masks) for text in spellings(test["data"], schema))
            by_check = not errors_of(schema, test["data"])
            accepted = by_grammar and by_check
            counts["valid" if test["valid"] else "invalid"] += 1
            if test["valid"] and not accepted:
                counts["valid refused by the grammar" if not by_grammar else "valid refused by the check"] += 1
                good = False
            if not test["valid"]:
                counts["invalid accepted by the grammar"] += by_grammar
                grammar_leak |= by_grammar
                if accepted:
                    counts["invalid accepted by the pipeline"] += 1
                    good = False
        if grammar_leak and all(k.where != "check" for k in prepared.keywords):
            unreported.append(row["id"] + " (leak)")
        counts["schemas right"] += good
        if not good:
            wrong.append(row["id"])
    return {
        **{k: counts[k] for k in sorted(counts)},
        "share right": round(counts["schemas right"] / len(rows), 4),
        "unreported": unreported,
        "mask_us": summary(masks),
        "compile_us": summary(compiles),
        "wrong": wrong,
    }


def accepts(spec: ConstraintSpec, vocabulary: GrammarVocabulary, text: str, masks: list[float]) -> bool:
    matcher = compile_constraint(spec, vocabulary)
    tokens = vocabulary.tokenizer.tokenize_str(text)
    raw = matcher._raw  # type: ignore[union-attr]
    for token in tokens[:200]:
        started = time.perf_counter()
        raw.compute_bitmask()
        masks.append((time.perf_counter() - started) * 1e6)
        if matcher.legal_prefix([token]) == 0:
            return False
        matcher.commit([token])
    rest = tokens[200:]
    if matcher.legal_prefix(rest) < len(rest):
        return False
    matcher.commit(rest)
    return matcher.accepting


def spellings(value: Any, schema: Any) -> list[str]:
    order: dict[str, int] = {}
    for _, keyword, inner in _walk(schema):
        if keyword == "properties" and isinstance(inner, dict):
            for name in inner:
                order.setdefault(name, len(order))
    texts = [
        json.dumps(value, ensure_ascii=False),
        json.dumps(_by_schema(value, schema, schema, order), ensure_ascii=False),
    ]
    return list(dict.fromkeys(texts))


def _by_schema(value: Any, schema: Any, root: Any, order: dict[str, int]) -> Any:
    """The value with its properties in the schema's order, where the schema at this place is known."""
    while isinstance(schema, dict) and isinstance(schema.get("$ref"), str) and schema["$ref"].startswith("#"):
        target = root
        for part in schema["$ref"].lstrip("#/").split("/"):
            target = target.get(part.replace("~1", "/"), {}) if part and isinstance(target, dict) else target
        if target is schema:
            break
        schema = target
    here = schema if isinstance(schema, dict) else {}
    own = here.get("properties") if isinstance(here.get("properties"), dict) else {}
    places = {name: i for i, name in enumerate(own)} or order
    if isinstance(value, dict):
        names = sorted(value, key=lambda k: (places.get(k, 1 << 20), order.get(k, 1 << 20)))
        return {k: _by_schema(value[k], own.get(k, here.get("additionalProperties")), root, order) for k in names}
    if isinstance(value, list):
        return [_by_schema(v, here.get("items"), root, order) for v in value]
    return value


# ---- the peer -------------------------------------------------------------------------------------------------------


def peer(rows: list[dict[str, Any]], model: Path) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    masks: list[float] = []
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    for row in rows:
        ours_end, theirs = context.Pipe()
        process = context.Process(target=_peer_case, args=(theirs, str(model), row))
        process.start()
        theirs.close()
        outcome: dict[str, Any] = {}
        try:
            outcome = ours_end.recv() if ours_end.poll(120) else {"outcome": "took over 120 s"}
        except EOFError:
            outcome = {"outcome": "ended the process"}
        process.kill()
        process.join()
        counts[outcome["outcome"]] += 1
        masks += outcome.get("masks", [])
        for key in ("valid refused", "invalid accepted"):
            counts[key] += outcome.get(key, 0)
    return {"schemas": len(rows), **{k: counts[k] for k in sorted(counts)}, "mask_us": summary(masks)}


def _peer_case(connection: Any, model: str, row: dict[str, Any]) -> None:
    import ctypes

    import llama_cpp
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    loaded = llama_cpp.llama_model_load_from_file(model.encode(), params)
    vocab = llama_cpp.llama_model_get_vocab(loaded)
    n = llama_cpp.llama_vocab_n_tokens(vocab)
    try:
        grammar = json_schema_to_gbnf(json.dumps(row["schema"]))
    except Exception as error:
        connection.send({"outcome": "converter raised: silently any JSON", "error": str(error)[:100]})
        return
    data = (llama_cpp.llama_token_data * n)()
    for i in range(n):
        data[i] = llama_cpp.llama_token_data(i, 0.0, 0.0)
    fresh = bytes(data)
    masks: list[float] = []
    found: Counter[str] = Counter()
    for test in row["tests"]:
        sampler = llama_cpp.llama_sampler_init_grammar(vocab, grammar.encode(), b"root")
        if not sampler:
            connection.send({"outcome": "no sampler: response_format would end the process"})
            return
        text = json.dumps(test["data"], ensure_ascii=False).encode()
        buffer = (llama_cpp.llama_token * (len(text) + 8))()
        count = llama_cpp.llama_tokenize(vocab, text, len(text), buffer, len(buffer), False, False)
        accepted = True
        for token in buffer[: min(count, 40)]:
            ctypes.memmove(data, fresh, len(fresh))
            array = llama_cpp.llama_token_data_array(data, n, -1, False)
            started = time.perf_counter()
            llama_cpp.llama_sampler_apply(sampler, ctypes.byref(array))
            masks.append((time.perf_counter() - started) * 1e6)
            if data[token].logit == float("-inf"):
                accepted = False
                break
            llama_cpp.llama_sampler_accept(sampler, token)
        llama_cpp.llama_sampler_free(sampler)
        if test["valid"] and not accepted:
            found["valid refused"] += 1
        if not test["valid"] and accepted and count <= 40:
            found["invalid accepted"] += 1
    connection.send({"outcome": "ran", "masks": masks, **found})


# ---- whole answers ---------------------------------------------------------------------------------------------------


def generate(model: Path, rows: list[dict[str, Any]], n: int) -> dict[str, Any]:
    """Answers at temperature 1 in 256 tokens: `n` under the ready schema, and one under each of the rows' schemas."""
    from localllm.engine.local import LocalEngine
    from localllm.engine.protocol import EngineSpec, GenerationDone, Request, Sampling, TokenEvent
    from localllm.events import FinishReason, Message, Role
    from localllm.rules.rulebook import Rulebook

    ready = Rulebook.load("json-extraction").compiled().constraint
    assert ready is not None
    asked = [
        (
            "ready",
            json.loads(ready.source),
            f"Ann Lee of Acme paid {300 + i} dollars on 2026-01-04 for a pump. Facts as JSON.",
        )
        for i in range(n)
    ]
    asked[:0] = [("real", row["schema"], "Make up an example of a record of this kind.") for row in rows]
    engine = LocalEngine(EngineSpec(model, n_ctx=2048))
    counts: Counter[str] = Counter()
    longest = {"ready": 0, "real": 0}
    try:
        for i, (kind, schema, question) in enumerate(asked):
            text, done = "", None
            request = Request(
                messages=(Message(Role.USER, question),), max_tokens=256, sampling=Sampling(temperature=1.0, seed=i),
                constraint=ConstraintSpec("json_schema", prepare(schema).source), speculation="none",
            )  # fmt: skip
            try:
                for event in engine.stream(request):
                    if isinstance(event, TokenEvent):
                        text += event.text
                    elif isinstance(event, GenerationDone):
                        done = event
            except ConstraintRefused:
                counts[f"{kind}: refused by name"] += 1
                continue
            assert done is not None
            counts[f"{kind}: answers"] += 1
            counts[f"{kind}: closed early"] += any("closed early" in note for note in done.notes)
            counts[f"{kind}: values shortened"] += any("ended early" in note for note in done.notes)
            try:
                valid = not errors_of(schema, json.loads(text))
            except ValueError:
                valid = False
            verdict = (
                "valid" if valid else "truncated" if done.reason is FinishReason.LENGTH else "found wrong by the check"
            )
            counts[f"{kind}: {verdict}"] += 1
            if i % 10 == 9:
                print(f"{i + 1} of {len(asked)}: {dict(counts)}", file=sys.stderr)
            if valid:
                longest[kind] = max([longest[kind], *map(len, _strings(json.loads(text)))])
    finally:
        engine.close()
    return {**counts, "longest string": longest}


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in inner for text in _strings(part)]


# ---- output ---------------------------------------------------------------------------------------------------------


def summary(values: list[float]) -> dict[str, Any]:
    if not values:
        return {"n": 0}
    ordered = sorted(values)
    return {"n": len(ordered), "p50": round(ordered[len(ordered) // 2], 1), "p99": round(ordered[int(len(ordered) * 0.99)], 1),  # noqa: E501
            "max": round(ordered[-1], 1)}  # fmt: skip


def show(result: dict[str, Any]) -> None:
    for who in ("localllm", "peer", "generated"):
        if who in result:
            print(f"\n{who}")
            for key, value in result[who].items():
                print(
                    f"  {key}: {value if not isinstance(value, list) else f'{len(value)}: ' + '; '.join(map(str, value[:12]))}"  # noqa: E501
                )
    print({k: v for k, v in result.items() if k not in ("localllm", "peer", "generated")})


if __name__ == "__main__":
    raise SystemExit(main())
