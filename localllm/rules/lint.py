"""What is wrong with a rule set before any text is seen: contradictions, what no text can meet, too little room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from localllm.errors import ConstraintRefused
from localllm.rules.checks.counts import bounds
from localllm.rules.compile import compile_rules
from localllm.rules.outcome import Context
from localllm.rules.ruleset import Rule, RuleSet
from localllm.rules.verdict import evaluate

WHOLE = frozenset(
    "json json_schema csv toml yaml enum grammar detectable_format:json_format detectable_format:constrained_response format:options".split()  # noqa: E501
)
"""Kinds that describe the whole text: at most one of them can hold."""

PROSE = frozenset(
    "headings sections bullets numbered_list title postscript paragraphs sentences highlights wrapped citations template"  # noqa: E501
    " starts_with ends_with startend:end_checker startend:quotation detectable_format:title detectable_content:postscript"  # noqa: E501
    " detectable_format:number_bullet_lists detectable_format:multiple_sections combination:two_responses"
    " detectable_format:number_highlighted_sections length_constraints:number_paragraphs"
    " length_constraints:nth_paragraph_first_word combination:repeat_prompt".split()
)
_EXCLUDE: tuple[tuple[str, str, str], ...] = (
    ("change_case:english_capital", "change_case:english_lowercase", "upper and lower case"),
    ("startend:quotation", "startend:end_checker", "the quotation mark is the end"),
    ("combination:two_responses", "length_constraints:number_paragraphs", "both use rows of stars as borders"),
    (
        "length_constraints:number_paragraphs",
        "length_constraints:nth_paragraph_first_word",
        "two meanings of paragraph",
    ),
    ("combination:repeat_prompt", "detectable_format:title", "both claim the beginning"),
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong."""

    rule_ids: tuple[str, ...]
    severity: str
    """``error``: no text can meet it; ``warning``: it is unlikely to work as meant."""
    message: str


def lint(ruleset: RuleSet, max_tokens: int = 0, n_ctx: int = 0) -> list[Complaint]:
    """Everything that can be said about a rule set without a model and without a text."""
    rules = [r for r in ruleset.of_stage("output") if r.when is None and not r.pointer and r.severity == "error"]
    found: list[Complaint] = []
    for one, other in combinations(rules, 2):
        if reason := _contradiction(one, other):
            found.append(Complaint((one.id, other.id), "error", reason))
    try:
        compiled = compile_rules(ruleset.of_stage("output"))
        for placement in compiled.report:
            if "no text" in placement.reason:
                found.append(Complaint((placement.rule_id,), "error", placement.reason))
    except ConstraintRefused as error:
        found.append(Complaint((), "error", error.message))
    if max_tokens or n_ctx:
        found += [Complaint((), "warning", note) for note in budget_notes(rules, max_tokens, n_ctx)]
    for rule in ruleset.walk():
        if rule.type == "python":
            found.append(Complaint((rule.id,), "warning", "it runs Python code: only with --allow-code"))
        if rule.on_fail == "fix" and rule.kind is not None and rule.kind.fix is None:
            found.append(Complaint((rule.id,), "warning", f'on_fail = "fix", but the type {rule.type} has no fix'))
        if (
            rule.on_fail == "repair"
            and rule.stages != ("output",)
            and "output" not in rule.stages
            and rule.severity == "error"
        ):
            found.append(Complaint((rule.id,), "warning", "only answers can be repaired; use reject, fix or warn here"))
    return found


def _contradiction(one: Rule, other: Rule) -> str:
    a, b = sorted((one, other), key=lambda r: r.type in WHOLE, reverse=True)
    if (
        a.type in WHOLE
        and b.type in WHOLE
        and {a.type, b.type} - {"json", "json_schema", "detectable_format:json_format"}
    ):
        return f"{a.type} and {b.type} both describe the whole text"
    if a.type in WHOLE and b.type in PROSE:
        return f"{a.type} leaves no room for {b.type}"
    for x, y, why in _EXCLUDE:
        if {one.type, other.type} == {x, y}:
            return f"{x} and {y} exclude each other: {why}"
    if one.type == other.type:
        return _same_kind(one, other)
    pair = {one.type: one, other.type: other}
    if {"keywords", "forbid"} == set(pair):
        return _keyword_forbidden(pair["keywords"], pair["forbid"])
    if {"keywords:existence", "keywords:forbidden_words"} == set(pair):
        both = {w.lower() for w in pair["keywords:existence"].params["keywords"]}
        both &= {w.lower() for w in pair["keywords:forbidden_words"].params["forbidden_words"]}
        return f"{', '.join(sorted(both))}: needed and forbidden" if both else ""
    for edge in ("starts_with", "ends_with", "startend:end_checker"):
        if edge in pair:
            text = pair[edge].params.get("text") or pair[edge].params.get("end_phrase") or ""
            rest = next(r for r in (one, other) if r.type != edge)
            if (
                rest.type
                in (
                    "case",
                    "punctuation",
                    "forbid",
                    "punctuation:no_comma",
                    "change_case:english_capital",
                    "change_case:english_lowercase",
                    "keywords:forbidden_words",
                )
                and not evaluate(rest, text, Context()).passed
            ):
                return f"the text that {edge} asks for breaks {rest.type}"
    return ""


def _same_kind(one: Rule, other: Rule) -> str:
    if (
        "min" in one.params
        and "exact" in one.params
        and all(one.params.get(k) == other.params.get(k) for k in one.params if k not in ("min", "max", "exact"))
    ):
        (a, b), (c, d) = bounds(one.params), bounds(other.params)
        if (b is not None and c > b) or (d is not None and a > d):
            return f"no number of {one.type} meets both"
    if one.type == "case" and one.params["style"] != other.params["style"]:
        return "two different cases"
    if one.type == "language" and one.params["code"] != other.params["code"]:
        return "two different languages"
    if one.type in ("starts_with", "ends_with") and one.params["text"] != other.params["text"]:
        a, b = one.params["text"], other.params["text"]
        nested = a.startswith(b) or b.startswith(a) if one.type == "starts_with" else a.endswith(b) or b.endswith(a)
        return "" if nested else f"two different texts for {one.type}"
    return ""


def _keyword_forbidden(keywords: Rule, forbid: Rule) -> str:
    if keywords.params["need"] != "all":
        return ""
    text = " ".join(keywords.params["words"])
    return "a word is needed and forbidden" if not evaluate(forbid, text, Context()).passed else ""


def least_tokens(rule: Rule, count_tokens: Callable[[str], int] | None = None) -> int:
    """A lower bound on the tokens of an answer that meets the rule; English words have about 1.3 tokens."""
    p = rule.params
    low = 0
    if rule.kind is not None and "min" in rule.kind.fields and "exact" in rule.kind.fields:
        low = bounds(p)[0]
    match rule.type:
        case "words":
            return int(low * 1.3)
        case "length_constraints:number_words" if p["relation"] == "at least":
            return int(p["num_words"] * 1.3)
        case "sentences":
            return low * 8
        case "length_constraints:number_sentences" if p["relation"] == "at least":
            return int(p["num_sentences"]) * 8
        case "chars":
            return low // 6
        case "tokens":
            return low
        case "bullets" | "numbered_list" | "lines" | "paragraphs":
            return low * 6
        case "starts_with" | "ends_with":
            return count_tokens(p["text"]) if count_tokens else len(p["text"]) // 4
    return 0


def budget_notes(
    rules: Sequence[Rule], max_tokens: int, n_ctx: int, count_tokens: Callable[[str], int] | None = None
) -> tuple[str, ...]:
    """What the token budget is too small for."""
    budget = min(b for b in (max_tokens or 1 << 40, n_ctx or 1 << 40))
    notes = []
    for rule in rules:
        need = least_tokens(rule, count_tokens)
        if need > budget:
            notes.append(f"The rule {rule.id!r} needs about {need:,} tokens and the answer may have {budget:,}.")
    return tuple(notes)
