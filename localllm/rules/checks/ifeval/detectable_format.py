"""IFEval ``detectable_format:``. Bullets, highlights, sections, JSON, titles, and answers of a given wording."""

from __future__ import annotations

import json
import re

from localllm.rules import segments
from localllm.rules.checks import shape
from localllm.rules.checks.benchmark import strict
from localllm.rules.checks.formats import json_fix
from localllm.rules.checks.ifeval.kind import NUMBER, TEXT, instruction
from localllm.rules.checks.kinds import CheckKind, Fragment, Params
from localllm.rules.checks.words import ANY, rust_literal
from localllm.rules.outcome import Context


def _bullets(p: Params, text: str) -> tuple[bool, int]:
    if strict(p):
        n = len(segments.bullets(text))
    else:
        n = len(re.findall(r"^\s*\*[^\*].*$", text, re.M)) + len(re.findall(r"^\s*-.*$", text, re.M))
    return n == p["num_bullets"], n


OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _constrained(p: Params, text: str) -> bool:
    body = text.strip()
    return body.strip("\"'*") in OPTIONS if strict(p) else any(o in body for o in OPTIONS)


def _highlights(p: Params, text: str) -> tuple[bool, int]:
    if strict(p):
        n = len(shape.highlights(text))
    else:
        n = sum(bool(h.strip("*").strip()) for h in re.findall(r"\*[^\n\*]*\*", text))
        n += sum(bool(h.removeprefix("**").removesuffix("**").strip()) for h in re.findall(r"\*\*[^\n\*]*\*\*", text))
    return n >= p["num_highlights"], n


def _sections(p: Params, text: str) -> tuple[bool, int]:
    if strict(p):
        n = len(re.findall(rf"^[ \t#*]*{re.escape(p['section_spliter'])}[ \t]*\d+", text, re.M | re.I))
        return n == p["num_sections"], n
    n = len(re.split(r"\s?" + p["section_spliter"].strip() + r"\s?\d+\s?", text)) - 1
    return n >= p["num_sections"], n


def _json(p: Params, text: str) -> bool:
    body = text.strip()
    for mark in ("```json", "```Json", "```JSON", "```"):
        body = body.removeprefix(mark)
    try:
        value = json.loads(body.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return isinstance(value, (dict, list)) if strict(p) else True


def _title(p: Params, text: str) -> bool:
    if strict(p):
        return any(t.strip() for t in re.findall(r"<<((?:(?!>>)[^\n])*)>>", text))
    return any(t.lstrip("<").rstrip(">").strip() for t in re.findall(r"<<[^\n]+>>", text))


def _bullets_grammar(p: Params) -> list[Fragment]:
    n = p["num_bullets"]
    if not 1 <= n <= 20:
        return []
    item, other = r"[*-] [^\s*-][^\n]*", r"([^\s*-][^\n]*)?"
    return [Fragment(rf"({other}\n)*{item}(\n({other}\n)*{item}){{{n - 1}}}(\n{other})*")]


def _highlights_grammar(p: Params) -> list[Fragment]:
    n = p["num_highlights"]
    star = r"\*[^*\s\[\]][^*\n]*[^*\s]\*"
    plain = r"([^*]|\n\* |\*{3,6}[^*])"
    return (
        [
            Fragment(
                rf"({plain}*{star}[^*\w]){{{n}}}(({plain}|{star}[^*\w])*)|({plain}*{star}[^*\w]){{{n - 1}}}{plain}*{star}"  # noqa: E501
            )
        ]
        if 1 <= n <= 12
        else []
    )


def _highlight_fix(p: Params, text: str) -> str | None:
    missing = p["num_highlights"] - int(_highlights(p, text)[1])
    spans = [s for s in segments.sentences(text) if "*" not in text[slice(*s)] and "\n" not in text[slice(*s)]]
    for start, end in reversed(spans[:missing]):
        text = f"{text[:start]}*{text[start:end]}*{text[end:]}"
    return text if len(spans) >= missing else None


def _title_fix(p: Params, text: str) -> str | None:
    first = re.split(r"[.\n!?]", text.strip().strip('#*"<> '))[0].strip()
    return f"<<{' '.join(first.split()[:8]) or 'Answer'}>>\n\n{text.lstrip()}"


KINDS: tuple[CheckKind, ...] = (
    instruction(
        "detectable_format:number_bullet_lists",
        _bullets,
        {"num_bullets": NUMBER},
        lambda p: f"Write exactly {p['num_bullets']} bullet points, each marked with *.",
        _bullets_grammar,
    ),
    instruction(
        "detectable_format:constrained_response",
        _constrained,
        {},
        lambda p: f"Answer with one of: {' / '.join(OPTIONS)}",
        lambda p: [Fragment("|".join(map(rust_literal, OPTIONS)))],
    ),
    instruction(
        "detectable_format:number_highlighted_sections",
        _highlights,
        {"num_highlights": NUMBER},
        lambda p: f"Highlight at least {p['num_highlights']} parts with *stars*.",
        _highlights_grammar,
        _highlight_fix,
    ),
    instruction(
        "detectable_format:multiple_sections",
        _sections,
        {"section_spliter": TEXT, "num_sections": NUMBER},
        lambda p: (
            f"Write {p['num_sections']} sections, marked {p['section_spliter']} 1, {p['section_spliter']} 2 and so on."
        ),
        lambda p: shape.sections_grammar(p["section_spliter"], p["num_sections"], None),
    ),
    instruction(
        "detectable_format:json_format",
        _json,
        {},
        lambda p: "Answer with JSON only.",
        None,
        lambda p, t: json_fix({}, t, Context()),
    ),
    instruction(
        "detectable_format:title",
        _title,
        {},
        lambda p: "Begin with a title in <<double angle brackets>>.",
        lambda p: [Fragment(rf"<<[^\n<>]*[^\s<>]>>\n{ANY}\S{ANY}")],
        _title_fix,
    ),
)
