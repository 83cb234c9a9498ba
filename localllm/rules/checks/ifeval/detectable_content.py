"""IFEval ``detectable_content:``. Placeholders and postscripts."""

from __future__ import annotations

import re

from localllm.rules.checks.benchmark import strict
from localllm.rules.checks.ifeval.kind import NUMBER, TEXT, count_grammar, instruction
from localllm.rules.checks.kinds import CheckKind, Fragment, Params
from localllm.rules.checks.words import ANY, rust_literal


def _placeholders(p: Params, text: str) -> tuple[bool, int]:
    pattern = r"\[[^\[\]\n]*[^\[\]\s][^\[\]\n]*\](?!\()" if strict(p) else r"\[.*?\]"
    n = len(re.findall(pattern, text))
    return n >= p["num_placeholders"], n


def _postscript(p: Params, text: str) -> bool:
    marker = p["postscript_marker"].strip()
    if strict(p):
        pattern = r"\s*".join(re.escape(c) for c in marker.replace(" ", ""))
        found = list(re.finditer(rf"^[ \t*_]*{pattern}", text, re.M | re.I))
        return bool(found) and "\n\n" not in text[found[-1].start() :].strip()
    patterns = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}
    return bool(re.findall(patterns.get(marker, r"\s*" + marker.lower() + r".*$"), text.lower(), re.M))


def _postscript_grammar(p: Params) -> list[Fragment]:
    return [Fragment(rf"{ANY}\S\n\n{rust_literal(p['postscript_marker'])} [^\n]*\w[^\n]*")]


KINDS: tuple[CheckKind, ...] = (
    instruction(
        "detectable_content:number_placeholders",
        _placeholders,
        {"num_placeholders": NUMBER},
        lambda p: f"Use at least {p['num_placeholders']} placeholders in [square brackets].",
        lambda p: count_grammar(r"\[[^\[\]\n(]*[A-Za-z][^\[\]\n]*\]", p["num_placeholders"], False, 12),
    ),
    instruction(
        "detectable_content:postscript",
        _postscript,
        {"postscript_marker": TEXT},
        lambda p: f"End with a postscript that starts with {p['postscript_marker']}",
        _postscript_grammar,
    ),
)
