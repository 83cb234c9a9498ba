"""JSON Schemas: which keywords can be enforced while decoding, and what becomes of the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from localllm.engine.protocol import LONGEST_LIST, LONGEST_STRING
from localllm.errors import RuleSyntax
from localllm.rules.schema_check import check_schema, short

MAX_CHARS = 1 << 20

ENFORCED = frozenset(
    "type properties required additionalProperties patternProperties minProperties maxProperties items prefixItems"
    " minItems maxItems enum const minLength maxLength pattern minimum maximum exclusiveMinimum exclusiveMaximum"
    " multipleOf anyOf allOf $ref $defs definitions additionalItems".split()
)
ANNOTATIONS = frozenset(
    "$schema $id $anchor $comment title description default examples deprecated readOnly writeOnly contentMediaType"
    " contentEncoding $vocabulary id".split()
)
FORMATS = frozenset("date-time time date duration email hostname ipv4 ipv6 uuid uri".split())
"""Formats that llguidance enforces; it refuses a schema with any other."""

_CALENDAR = "29 February of other than leap years is found by the check"


@dataclass(frozen=True, slots=True)
class KeywordReport:
    """What becomes of one keyword of a schema."""

    pointer: str
    keyword: str
    where: str
    """``decode`` (enforced while decoding), ``check`` (checked afterwards), ``note`` (an annotation: says nothing),
    ``default`` (not in the schema: what localllm adds where it says nothing)."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A schema, ready for decoding and checking."""

    schema: Any
    source: str
    """What the decoder gets: the schema itself, or ``{}`` (any JSON) where it can't be enforced at all."""
    keywords: tuple[KeywordReport, ...]
    refused: str = ""
    """Why nothing of it can be enforced while decoding; empty where something is."""


def load_schema(text: str, where: str) -> Any:
    """A schema from JSON text, validated against its own meta-schema.

    Raises:
        RuleSyntax: It is no JSON, no valid schema, too large or too deep.
    """
    if len(text) > MAX_CHARS:
        raise RuleSyntax(f"{where}: the schema has {len(text):,} characters; {MAX_CHARS:,} are allowed.")
    try:
        schema = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise RuleSyntax(f"{where}: this is no JSON: {str(error)[:200]}.", "A schema is a JSON document.") from error
    return check_schema(schema, where)


def has_risky_pattern(schema: Any) -> bool:
    """Whether a pattern in it may take exponential time in a backtracking engine."""
    from localllm.rules.code_process import risky

    for _, keyword, value in _walk(schema):
        if keyword == "pattern" and isinstance(value, str) and risky(value):
            return True
        if keyword == "patternProperties" and isinstance(value, dict) and any(map(risky, value)):
            return True
    return False


@lru_cache(maxsize=64)
def _prepare(text: str) -> Prepared:
    from llguidance import LLMatcher

    schema = json.loads(text)
    source = "{}" if schema is True else text
    options: tuple[dict[str, bool], ...] = (
        {},
        {"coerce_one_of": True},
        {"coerce_one_of": True, "lenient": True},
    )
    failure = ""
    for i, option in enumerate(options):
        try:
            wrong, messages = LLMatcher.validate_grammar_with_warnings(
                LLMatcher.grammar_from_json_schema(source, overrides=option)
            )
        except ValueError as error:
            wrong, messages = True, [str(error)]
        if not wrong:
            return Prepared(schema, source, (*_report(schema, i, messages), *_defaults(schema)))
        failure = messages[0] if messages else "unknown reason"
        if "nsatisfiable" in failure:
            break
    reason = short(failure)
    return Prepared(schema, "{}", tuple(_all_checked(schema, reason)), reason)


def prepare(schema: Any) -> Prepared:
    """Find out what of a schema can be enforced, without a model."""
    return _prepare(json.dumps(schema, ensure_ascii=False))


def _report(schema: Any, step: int, messages: list[str]) -> Iterator[KeywordReport]:
    said = " ".join(messages)
    for pointer, keyword, value in _walk(schema):
        if keyword in ANNOTATIONS:
            yield KeywordReport(pointer, keyword, "note")
        elif keyword == "oneOf":
            if step == 0:
                yield KeywordReport(pointer, keyword, "decode")
            else:
                yield KeywordReport(
                    pointer, keyword, "check", "enforced as anyOf; that only one matches is checked after"
                )
        elif keyword == "format":
            known = value in FORMATS
            reason = _CALENDAR if value in ("date", "date-time") else "" if known else f"format {value!r}"
            yield KeywordReport(pointer, keyword, "decode" if known else "check", reason)
        elif keyword in ENFORCED:
            yield KeywordReport(pointer, keyword, "decode")
        elif keyword in said or step == 2:
            yield KeywordReport(pointer, keyword, "check", "not enforced while decoding")
        else:
            yield KeywordReport(pointer, keyword, "check", "unknown to the decoder")


_BOUNDS = (
    ("string", "maxLength", ("enum", "const", "pattern", "format"), LONGEST_STRING),
    ("array", "maxItems", ("enum", "const"), LONGEST_LIST),
)


def _defaults(schema: Any) -> Iterator[KeywordReport]:
    """What holds for an answer although the schema does not ask for it."""
    yield KeywordReport("", "layout", "default", "written in one line, properties in the order of the schema")
    for pointer, here in _nodes(schema):
        kinds = here.get("type")
        for kind, bound, others, tokens in _BOUNDS:
            if kind in (kinds if isinstance(kinds, list) else [kinds]) and not here.keys() & {bound, *others}:
                reason = f"ended at its share of the token budget, at {tokens:,} tokens in any case"
                yield KeywordReport(pointer, bound, "default", reason)


def _all_checked(schema: Any, reason: str) -> Iterator[KeywordReport]:
    for pointer, keyword, _ in _walk(schema):
        yield KeywordReport(pointer, keyword, "note" if keyword in ANNOTATIONS else "check", reason)


_MAPS = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"))
_LISTS = frozenset(("anyOf", "allOf", "oneOf", "prefixItems"))
_SINGLE = frozenset(
    "items additionalProperties additionalItems not if then else contains propertyNames unevaluatedItems"
    " unevaluatedProperties contentSchema".split()
)


def _walk(schema: Any) -> Iterator[tuple[str, str, Any]]:
    """Pointer, keyword and value of every keyword."""
    for pointer, here in _nodes(schema):
        for keyword, value in here.items():
            yield pointer, keyword, value


def _nodes(schema: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Pointer and keywords of every schema in a schema, the outer ones first."""
    if not isinstance(schema, dict):
        return
    yield pointer, schema
    for keyword, value in schema.items():
        here = f"{pointer}/{keyword}"
        if keyword in _MAPS and isinstance(value, dict):
            for name, inner in value.items():
                yield from _nodes(inner, f"{here}/{name}")
        elif (keyword in _LISTS or keyword == "items") and isinstance(value, list):
            for i, inner in enumerate(value):
                yield from _nodes(inner, f"{here}/{i}")
        elif keyword in _SINGLE:
            yield from _nodes(value, here)
