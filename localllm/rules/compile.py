"""Rules to constraints: what is enforced while decoding, and the report of what went where.

Text rules are regular languages: each gives expressions that the whole text must (or must not) match, and a single
grammar terminal intersects them all. Rules are added one by one; the one with which the grammar no longer compiles, or
no text is left, is checked afterwards and listed with that reason. Nothing is dropped in silence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localllm.engine.protocol import ConstraintSpec
from localllm.errors import ConstraintRefused
from localllm.rules.checks.kinds import Fragment
from localllm.rules.closers import closers_of
from localllm.rules.ruleset import Rule
from localllm.rules.schema import KeywordReport, prepare
from localllm.settings import Paths

if TYPE_CHECKING:
    from localllm.rules.rulebook import Rulebook

JSON_KINDS = {"json": {"any": {}, "object": {"type": "object"}, "array": {"type": "array"}}}
_TEXT = "start: TEXT\nTEXT: "
_REPEATING = {"csv", "table", "yaml", "code_fence"}
"""Types of texts that repeat themselves for good reasons."""
SLOW_TO_MASK = 1 << 14
"""Characters of one combined grammar."""
_UNPADDED = Fragment(r"((\n[ \t\r]*){1,3}[^\n\r \t]|[^\n])*(\n[ \t\r]*){0,3}")
"""At most two blank lines in a row: a model that may not write on would fill its token budget with them. (Said of what
is allowed: the negation of three costs a hundred times as much.)"""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one rule, or one keyword of its schema, is enforced."""

    rule_id: str
    type: str
    where: str
    """``decode`` (enforced while decoding), ``check`` (checked after), ``default`` (added: no rule asks for it)."""
    reason: str = ""
    keyword: str = ""
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule set, as the decoder gets it."""

    constraint: ConstraintSpec | None
    report: tuple[Placement, ...]

    @property
    def enforced(self) -> frozenset[str]:
        """Rules that are enforced while decoding."""
        return frozenset(p.rule_id for p in self.report if p.where == "decode" and not p.keyword)


def open_rulebook(
    name: str, paths: Paths, *, schema: Path | None = None, allow_code: bool = False, audit_texts: bool = False
) -> Rulebook:
    """A rule set by file or name, a JSON Schema file, or both; verdicts go to the audit log.

    Raises:
        RuleSyntax: Something can't be found or read.
    """
    from localllm.rules.audit import AuditLog
    from localllm.rules.rulebook import Rulebook

    audit = AuditLog(paths.logs, texts=audit_texts)
    return Rulebook.load(name, schema=schema, folder=paths.rules, allow_code=allow_code, audit=audit)


def compile_rules(rules: Sequence[Rule], after: str = "") -> Compiled:
    """Compile the output rules of a set.

    Args:
        rules: The rules of the stage output.
        after: The grammar starts behind this text, such as ``</think>``.

    Raises:
        ConstraintRefused: A rule says ``enforce = "decode"`` and can't be enforced while decoding.
    """
    report: list[Placement] = []
    base: tuple[str, ConstraintSpec] | None = None
    fragments: list[tuple[Rule, list[Fragment]]] = []
    for rule in rules:
        reason = _not_for_decoding(rule)
        if reason:
            report.append(Placement(rule.id, rule.type, "check", reason))
            continue
        spec, keywords, complaint = _whole_grammar(rule)
        if spec is not None:
            if base is not None:
                report.append(
                    Placement(rule.id, rule.type, "check", f"the rule {base[0]!r} fixes the whole format already")
                )
                continue
            base = rule.id, spec
            report.append(Placement(rule.id, rule.type, "decode", complaint))
            report += [
                Placement(rule.id, rule.type, k.where, k.reason, k.keyword, k.pointer)
                for k in keywords
                if k.where != "note"
            ]
        elif complaint:
            report.append(Placement(rule.id, rule.type, "check", complaint))
            report += [
                Placement(rule.id, rule.type, "check", k.reason, k.keyword, k.pointer)
                for k in keywords
                if k.where != "note"
            ]
        elif found := _fragments(rule):
            fragments.append((rule, found))
        else:
            report.append(
                Placement(rule.id, rule.type, "check", "this can't be written as a grammar with these values")
            )
    constraint: ConstraintSpec | None = None
    if base is not None:
        constraint = base[1]
        report += [
            Placement(r.id, r.type, "check", f"the rule {base[0]!r} fixes the whole format already")
            for r, _ in fragments
        ]
    elif fragments:
        constraint, placed = _intersection(fragments, no_loops=not any(rule.type in _REPEATING for rule in rules))
        report += placed
    if constraint is not None and after:
        constraint = replace(constraint, after=after)
    order = {rule.id: i for i, rule in enumerate(rules)}
    report.sort(key=lambda p: (order[p.rule_id], p.keyword != ""))
    for placement in report:
        rule = next(r for r in rules if r.id == placement.rule_id)
        if rule.enforce == "decode" and placement.where != "decode" and not placement.keyword:
            raise ConstraintRefused(
                f"The rule {rule.id!r} can't be enforced while decoding: {placement.reason}.",
                'Set enforce = "auto" to have it checked afterwards.',
            )
    return Compiled(constraint, tuple(report))


def _not_for_decoding(rule: Rule) -> str:
    if rule.enforce == "check":
        return 'enforce = "check"'
    if rule.when is not None:
        return "it depends on a condition that is known only at the end"
    if rule.pointer:
        return "it is applied to values inside the JSON"
    if rule.kind is None and rule.combine != "all":
        return f"a combination by {rule.combine!r} is checked on the whole text"
    if rule.severity != "error" and rule.enforce != "decode":
        return f"severity {rule.severity}: it must not bend the text"
    if (
        rule.kind is not None
        and rule.kind.grammar is None
        and rule.type not in ("json", "json_schema", "grammar", "detectable_format:json_format")
    ):
        return "it is no matter of form"
    return ""


def _whole_grammar(rule: Rule) -> tuple[ConstraintSpec | None, Sequence[KeywordReport], str]:
    """For rules that describe the whole text by a grammar of their own."""
    if rule.type == "json_schema":
        prepared = prepare(rule.params["schema"])
        if prepared.refused:
            reason = f"only that it is JSON is enforced; the schema is checked after: {prepared.refused}"
            if "nsatisfiable" in prepared.refused:
                return None, prepared.keywords, f"no text can meet the schema: {prepared.refused}"
            return ConstraintSpec("json_schema", "{}"), prepared.keywords, reason
        return ConstraintSpec("json_schema", prepared.source), prepared.keywords, ""
    if rule.type == "json":
        return ConstraintSpec("json_schema", json.dumps(JSON_KINDS["json"][rule.params["root"]])), (), ""
    if rule.type == "detectable_format:json_format":
        return ConstraintSpec("json_schema", '{"type": "object"}'), (), ""
    if rule.type == "grammar":
        from localllm.rules.checks.patterns import _grammar_source

        return ConstraintSpec("lark", _grammar_source(rule.params)), (), ""
    return None, (), ""


def _fragments(rule: Rule) -> list[Fragment]:
    if rule.kind is None:
        parts = [_fragments(part) for part in rule.parts]
        return [f for part in parts for f in part] if all(parts) else []
    return rule.kind.grammar(rule.params) if rule.kind.grammar else []


def _intersection(
    fragments: Sequence[tuple[Rule, list[Fragment]]], *, no_loops: bool
) -> tuple[ConstraintSpec | None, Iterator[Placement]]:
    kept: list[Fragment] = []
    rules: list[Rule] = []
    placed: list[Placement] = []
    for rule, found in fragments:
        source = lark_of([*kept, *found])
        complaint = "the grammar is too long" if len(source) > SLOW_TO_MASK else _complaint(source)
        if complaint:
            placed.append(Placement(rule.id, rule.type, "check", complaint))
        else:
            kept += found
            rules.append(rule)
            placed.append(Placement(rule.id, rule.type, "decode"))
    if not kept:
        return None, iter(placed)
    source = lark_of([*kept, _UNPADDED])
    if _complaint(source):  # a rule asks for such a text
        source = lark_of(kept)
    else:
        bound = "a text has at most two blank lines in a row"
        placed.append(Placement(rules[0].id, rules[0].type, "default", bound, "blank lines"))
    most_words = min((f.most_words for f in kept if f.most_words), default=0)
    if no_loops:
        bound = "as long as the text may not end, six words do not come again, nor four words a third time"
        placed.append(Placement(rules[0].id, rules[0].type, "default", bound, "loops"))
    spec = ConstraintSpec("lark", source, closers=closers_of(rules), most_words=most_words, no_loops=no_loops)
    return spec, iter(placed)


def lark_of(fragments: Sequence[Fragment]) -> str:
    """One terminal that intersects all fragments."""
    terms = [f"{'~' if f.negated else ''}/{_for_lark(f.regex)}/" for f in fragments]
    if all(f.negated for f in fragments):
        terms.insert(0, "/(?s:.*)/")
    return _TEXT + " & ".join(terms)


def narrowed(spec: ConstraintSpec, regex: str) -> ConstraintSpec | None:
    """The same constraint for texts that match this expression too; None where the two can't be one grammar."""
    if spec.kind == "regex":
        source = lark_of([Fragment(spec.source), Fragment(regex)])
    elif spec.kind == "lark" and spec.source.startswith(_TEXT) and "\n" not in spec.source[len(_TEXT) :]:
        source = f"{spec.source} & /{_for_lark(regex)}/"
    else:
        return None
    if len(source) > SLOW_TO_MASK or _complaint(source):
        return None
    return replace(spec, kind="lark", source=source)


def _for_lark(regex: str) -> str:
    return regex.replace("\\/", "/").replace("/", "\\/").replace("\n", "\\n").replace("\r", "\\r")


def _complaint(source: str) -> str:
    """Why a grammar can't be used; empty when it can. Tried on bytes, so that no model is needed."""
    from llguidance import LLMatcher

    matcher = LLMatcher(_bytes(), LLMatcher.grammar_from_lark(source), log_level=0)
    if matcher.is_error():
        return "the grammar does not compile: " + _line(matcher.get_error())
    mask = matcher.compute_bitmask()
    if "NoExtension" in matcher.get_error() or (
        matcher.is_stopped() and not matcher.is_accepting() and not matcher.is_error()
    ):
        return "together with the rules before it no text is left"
    if matcher.is_error():
        return "the grammar is too complex: " + _line(matcher.get_error())
    if not any(mask):
        return "together with the rules before it no text is left"
    return ""


_byte_tokenizer: Any = None


def _bytes() -> Any:
    global _byte_tokenizer
    if _byte_tokenizer is None:
        from llguidance import LLTokenizer

        _byte_tokenizer = LLTokenizer("byte")
    return _byte_tokenizer


def _line(message: str) -> str:
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    error = next((line for line in lines if line.startswith("error:")), "")
    return (error.removeprefix("error:").strip() or (lines[0] if lines else ""))[:150].rstrip(".")
