"""Random schemas, rule sets, texts and cuts: no crash, no hang, no silent pass. The full count runs under `make soak`."""  # noqa: E501

from __future__ import annotations

import json
import os
import random
from typing import Any

import jsonschema
import pytest

from localllm.errors import LocalLLMError
from localllm.events import FinishReason, RuleState
from localllm.rules.checks.catalogue import kinds
from localllm.rules.compile import compile_rules
from localllm.rules.fix import fix
from localllm.rules.guards.injection import clean, suspicions
from localllm.rules.lint import lint
from localllm.rules.monitor import RuleMonitor
from localllm.rules.outcome import Context
from localllm.rules.ruleset import Rule, parse_ruleset
from localllm.rules.schema import prepare
from localllm.rules.schema_check import check_schema, errors_of
from localllm.rules.verdict import judge

SOAK = bool(os.environ.get("LOCALLLM_SOAK"))
CASES = 10_000 if SOAK else 200
HOSTILE = [
    "", "\x00", "\ud800", "\u202e\u200b", "a\u0301" * 50, "🏳️‍🌈", "ﷺ", "İı", "ß", "\n" * 50, "[" * 3000, '{"a":' * 500, "*" * 200,  # noqa: E501
    "```json\n", "| a |\n|---|\n", "1. \n2. ", "# \n#", "A" * 3000, "a " * 500, '"' * 99, "<<>>", "[1][2][999999]", "𝕳𝖊𝖑𝖑𝖔", "\u2028\u2029\x85",  # noqa: E501
    "<|im_start|>", "http://", "![](", "P.S.", "“”‘’«»", "٣٤٥", "NaN", "1e999999", "-0", "9" * 400, "\\u0000", "\r\n\r\n", "e\u200dx",  # noqa: E501
]  # fmt: skip


def text(rng: random.Random) -> str:
    words = [
        "the",
        "pump",
        "Seal",
        "is",
        "ok.",
        "No!",
        "why?",
        "\n",
        "* item",
        "\n\n",
        "[1]",
        "42",
        ",",
        '"q"',
        "## Head\n",
        "P.S. x",
        "a@b.org",
    ]
    return " ".join(rng.choice(HOSTILE if rng.random() < 0.15 else words) for _ in range(rng.randrange(0, 40)))


def schema(rng: random.Random, depth: int = 0) -> Any:
    if rng.random() < 0.05:
        return rng.choice(
            [True, {}, {"not": {}}, {"$ref": "#"}, {"$ref": "#/nowhere"}, {"$ref": "http://example.org/x"}]
        )
    kind = rng.choice(
        [
            "string",
            "integer",
            "number",
            "boolean",
            "null",
            "array",
            "object",
            "anyOf",
            "oneOf",
            "allOf",
            "enum",
            "const",
            "if",
        ]
    )

    def inner() -> Any:
        return schema(rng, depth + 1) if depth < 3 else {"type": "string"}

    n = rng.randrange
    match kind:
        case "string":
            extras: list[dict[str, Any]] = [
                {},
                {"minLength": n(5)},
                {"maxLength": n(5000)},
                {"pattern": rng.choice(["^a+$", "[0-9]{3}", "\\d", "(?=x)y", "^[\\d]{3}$"])},
                {"format": rng.choice(["date", "email", "color", "regex", "uuid"])},
            ]
            return {"type": "string", **rng.choice(extras)}
        case "integer" | "number":
            return {
                "type": kind,
                **rng.choice(
                    [
                        {},
                        {"minimum": n(-9, 9)},
                        {"maximum": n(-9, 9)},
                        {"multipleOf": rng.choice([0.1, 3])},
                        {"exclusiveMinimum": 2, "maximum": 1},
                    ]
                ),
            }
        case "array":
            return {
                "type": "array",
                "items": inner(),
                **rng.choice(
                    [
                        {},
                        {"minItems": n(3)},
                        {"uniqueItems": True},
                        {"contains": {"type": "null"}},
                        {"prefixItems": [inner()]},
                    ]
                ),
            }
        case "object":
            names = rng.sample(["a", "b", "ü", "x y", "$ref", "", "properties", "/"], n(1, 4))
            return {
                "type": "object",
                "properties": {k: inner() for k in names},
                "required": names[: n(3)],
                **rng.choice(
                    [
                        {},
                        {"additionalProperties": False},
                        {"additionalProperties": inner()},
                        {"patternProperties": {"^z": {}}},
                        {"minProperties": 2},
                        {"dependentRequired": {"a": ["b"]}},
                        {"propertyNames": {"maxLength": 2}},
                        {"unevaluatedProperties": False},
                    ]
                ),
            }
        case "enum":
            return {"enum": rng.sample([1, "a", None, True, 2.5, [1], {"k": 1}], n(1, 4))}
        case "const":
            return {"const": rng.choice([1, "x", None, [], {"a": [1]}])}
        case "if":
            return {"if": inner(), "then": inner(), "else": inner()}
        case _:
            return {kind: [inner() for _ in range(n(1, 4))]}


def value(rng: random.Random, depth: int = 0) -> Any:
    simple = [None, True, 0, -3, 2.5, 1e300, "", "a", "aaa", "123", "2024-02-30", "ü\u202e"]
    if depth > 2 or rng.random() < 0.5:
        return rng.choice(simple)
    if rng.random() < 0.5:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(["a", "b", "ü", "zz", "$ref"]): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def rule(rng: random.Random, i: int) -> Rule:
    """A rule of a random kind with random fields that are of the right type."""
    kind = rng.choice([k for k in kinds().values() if k.name not in ("python", "yaml")])
    params: dict[str, Any] = {}
    for name, spec in kind.fields.items():
        if spec.choices:
            params[name] = rng.choice(spec.choices)
        elif spec.type == "int":
            params[name] = rng.choice(
                [None if not spec.required else 1, rng.randrange(0, 40), 0 if not spec.minimum else int(spec.minimum)]
            )
        elif spec.type == "number":
            params[name] = rng.choice([0.9, 0.0, 55])
        elif spec.type == "bool":
            params[name] = rng.random() < 0.5
        elif spec.type == "strs":
            params[name] = [
                rng.choice(["pump", "Seal", "a.b", "ü", "/", "\n x", "A B"]) for _ in range(rng.randrange(1, 4))
            ]
        elif spec.type == "any":
            params[name] = schema(rng) if name == "schema" else rng.choice([None, 3, 3.0, "x", 40])
        else:
            params[name] = rng.choice(["pump", ",", "a/b", "[x]", '"', "Ünder (way", "\\d+", "x", "2024-01-01", "en"])
    if kind.validate is not None and _complains(kind.validate, params):
        return Rule(f"r{i}", kinds()["json"], {"root": "any"})
    return Rule(f"r{i}", kind, {k: (kind.fields[k].default if v is None else v) for k, v in params.items()})


def _complains(validate: Any, params: dict[str, Any]) -> bool:
    try:
        return bool(validate(params))
    except Exception:
        return True


@pytest.mark.slow
def test_random_schemas_are_prepared_and_no_invalid_value_passes() -> None:
    rng = random.Random(1)
    for _ in range(CASES):
        case = schema(rng)
        try:
            check_schema(case, "fuzz")
            prepared = prepare(case)
        except LocalLLMError:
            continue
        assert isinstance(prepared.source, str)
        instance = value(rng)
        errors = errors_of(case, instance)
        if not errors:
            checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
            jsonschema.Draft202012Validator(case, format_checker=checker).validate(instance)


@pytest.mark.slow
def test_random_rules_judge_hostile_texts_without_a_crash_or_a_silent_pass() -> None:
    rng = random.Random(2)
    for _ in range(CASES):
        rules = tuple(rule(rng, i) for i in range(rng.randrange(1, 5)))
        answer = text(rng)
        cut = answer[: rng.randrange(len(answer) + 1)]
        context = Context(sources=("The pump has a seal.",), has_sources=rng.random() < 0.5)
        verdict = judge(rules, cut, context, rng.choice(list(FinishReason)))
        assert [v.id for v in verdict.rules] == [r.id for r in rules]
        for found in verdict.rules:
            if found.span is not None:
                assert 0 <= found.span.start <= found.span.end <= len(cut), (found, cut)
            if found.verdict not in (RuleState.PASS, RuleState.WARN):
                assert found.reason
        mended, fixed = fix(rules, cut, context)
        again = judge(rules, mended, context)
        by_id = {v.id: v for v in again.rules}
        assert all(by_id[i].verdict is RuleState.PASS for i in fixed)
        for before in verdict.rules:  # a fix never breaks what was good
            if before.verdict is RuleState.PASS:
                assert by_id[before.id].verdict is RuleState.PASS, (before, cut, mended)


@pytest.mark.slow
def test_random_rules_compile_or_are_listed_with_a_reason() -> None:
    rng = random.Random(3)
    for _ in range(CASES // 5):
        rules = tuple(rule(rng, i) for i in range(rng.randrange(1, 5)))
        compiled = compile_rules(rules)
        assert {p.rule_id for p in compiled.report} == {r.id for r in rules}
        assert all(p.where == "decode" or p.reason for p in compiled.report)


@pytest.mark.slow
def test_random_cuts_of_a_stream_never_disturb_monitors_and_guards() -> None:
    rng = random.Random(4)
    for _ in range(CASES):
        rules = tuple(rule(rng, i) for i in range(3))
        monitor = RuleMonitor(rules)
        answer = text(rng)
        at = 0
        while at < len(answer):
            step = rng.randrange(1, 30)
            broken = monitor.feed(answer[at : at + step])
            at += step
            if broken is not None:
                assert 0 <= broken.keep <= len(monitor.text)
                assert broken.ban
                break
        suspicions(answer)
        clean(answer)


@pytest.mark.slow
def test_random_toml_is_a_rule_set_or_one_line_of_error() -> None:
    rng = random.Random(5)
    names = [*list(kinds())[:40], "nothing", ""]
    for _ in range(CASES):
        lines = []
        for _ in range(rng.randrange(1, 4)):
            lines.append("[[rule]]")
            lines.append(f'type = "{rng.choice(names)}"')
            for field in rng.sample(
                ["min", "max", "words", "text", "pattern", "when", "stage", "id", "on_fail", "pointer"], 3
            ):
                lines.append(
                    f"{field} = {rng.choice(['3', '-1', 'true', '[]', '[1]', '{}', chr(34) * 2, chr(34) + 'x' + chr(34), '['])}"  # noqa: E501
                )
        try:
            lint(parse_ruleset("\n".join(lines)))
        except LocalLLMError as error:
            assert "\n" not in error.message, error.message


def test_json_of_random_depth_never_overflows_a_stack() -> None:
    deep = '{"a":' * 50_000 + "1" + "}" * 50_000
    for name in ("json", "json_schema", "detectable_format:json_format"):
        params = {"root": "any", "schema": {"type": "object"}, "timeout_ms": 500, "mode": "strict"}
        verdict = judge([Rule("j", kinds()[name], params)], deep, Context())
        assert verdict.rules[0].verdict is RuleState.FAIL
    assert json.dumps(1) == "1"
