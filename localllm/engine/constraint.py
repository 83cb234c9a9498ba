"""A `ConstraintSpec` compiled to a token matcher (llguidance).

User grammars and schemas never reach llama.cpp's own grammar converter: it ends the process on some patterns and drops
what it doesn't know in silence. llguidance runs under fuel limits: a hostile grammar costs an error, not the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from localllm.engine.delayed import DelayedMatcher
from localllm.engine.matcher import GrammarMatcher, first_line
from localllm.engine.protocol import ConstraintSpec, Matcher
from localllm.engine.repeats import Repeats
from localllm.engine.vocabulary import GrammarVocabulary
from localllm.errors import ConstraintRefused

MAX_SOURCE = 1 << 20
"""Characters of a grammar or schema; larger ones are refused unread."""

MAX_DEPTH = 120
"""Nesting of a schema. Deeper ones are refused: recursive walks over them must stay far from any stack limit."""

SEPARATORS: dict[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON is written in one line with these separators: a model can't pad it, and punctuation is mostly forced."""

JSON_LADDER: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, ""),
    ({"coerce_one_of": True}, "oneOf is enforced as anyOf while decoding"),
    ({"coerce_one_of": True, "lenient": True}, "some keywords are not enforced while decoding"),
)
"""Options tried in order until a schema compiles, each with what has to be said about it."""


def compile_constraint(spec: ConstraintSpec, vocabulary: GrammarVocabulary) -> GrammarMatcher | DelayedMatcher:
    """Compile a constraint for one answer; the result satisfies `engine.protocol.Matcher`.

    A JSON schema is compiled strictly if it can be; otherwise with ``oneOf`` taken as ``anyOf``, then without the
    keywords that can't be enforced. What was given up is in the matcher's ``notes``; a full check of the finished
    answer stays the caller's duty in every case.

    Raises:
        ConstraintRefused: The grammar is wrong, too large, too complex, or can't be met by any text.
    """
    if len(spec.source) > MAX_SOURCE:
        raise ConstraintRefused(
            f"The {_names[spec.kind]} has {len(spec.source):,} characters; {MAX_SOURCE:,} are allowed."
        )
    matcher = _compile(spec, vocabulary)
    return DelayedMatcher(matcher, spec.after) if spec.after else matcher


_names = {"json_schema": "JSON schema", "lark": "grammar", "regex": "regular expression"}


def _compile(spec: ConstraintSpec, vocabulary: GrammarVocabulary) -> GrammarMatcher:
    complaint = ""
    for grammar, notes in _grammars(spec):
        from llguidance import LLMatcher

        raw = LLMatcher(vocabulary.tokenizer, grammar, log_level=0, limits=_limits())
        if spec.kind != "json_schema":
            raw.compute_bitmask()  # the first mask costs the most: in the middle of a text its fuel did not last
        if not raw.is_error():
            warnings = tuple(line for w in raw.get_grammar_warnings() if (line := first_line(w)))
            repeats = Repeats(spec.closers) if spec.no_loops else None
            json = spec.kind == "json_schema"
            return GrammarMatcher(raw, vocabulary, notes + warnings, json, spec.closers, spec.most_words, repeats)
        complaint = complaint or first_line(raw.get_error())
        last = first_line(raw.get_error())
        if "nsatisfiable" in last:
            complaint = last
            break
    raise ConstraintRefused(
        f"The {_names[spec.kind]} can't be enforced while decoding: {complaint}.",
        'Simplify it, or set enforce = "check" to check the finished answer only.',
    )


def _grammars(spec: ConstraintSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    from llguidance import LLMatcher

    if spec.kind == "lark":
        yield LLMatcher.grammar_from_lark(spec.source), ()
    elif spec.kind == "regex":
        yield LLMatcher.grammar_from_regex(spec.source), ()
    else:
        if nesting(spec.source) > MAX_DEPTH:
            raise ConstraintRefused(f"The JSON schema is nested more than {MAX_DEPTH} levels deep.")
        for options, note in JSON_LADDER:
            source = "{}" if spec.source.strip() == "true" else spec.source
            try:
                grammar = LLMatcher.grammar_from_json_schema(source, overrides={**SEPARATORS, **options})
            except ValueError as error:
                raise ConstraintRefused(f"The JSON schema can't be read: {first_line(str(error))}.") from error
            yield grammar, (note,) if note else ()


def nesting(text: str) -> int:
    """How deep brackets nest in a JSON text, without parsing it; brackets inside strings don't count."""
    depth = deepest = 0
    in_string = escaped = False
    for c in text:
        if in_string:
            in_string, escaped = (c != '"' or escaped), (c == "\\" and not escaped)
        elif c == '"':
            in_string = True
        elif c in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif c in "]}":
            depth -= 1
    return deepest


def _limits() -> Any:
    from llguidance import LLParserLimits

    return LLParserLimits(
        initial_lexer_fuel=2_000_000, step_lexer_fuel=1_500_000, max_lexer_states=100_000, max_grammar_size=500_000,
        verbose_errors=False,
    )  # fmt: skip


def _is_a_matcher(matcher: GrammarMatcher | DelayedMatcher) -> Matcher:
    return matcher  # checked by mypy: both satisfy the protocol
