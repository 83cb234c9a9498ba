"""Markdown: lists of bullet points, and whether what was begun is also ended."""

from __future__ import annotations

import re

from localllm.rules import segments
from localllm.rules.checks.counts import BOUNDS, bounds, count_finding, items_grammar, required_text
from localllm.rules.checks.kinds import CheckKind, Field, Fragment, Params
from localllm.rules.checks.words import rust_literal
from localllm.rules.outcome import Context, Finding, failed, passed

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})([^`\n]*)$", re.MULTILINE)
_ROW = re.compile(r"^[ \t]*\|.*\|[ \t]*$")
_RULE = re.compile(r"^[ \t]*\|(?:[ \t]*:?-+:?[ \t]*\|)+[ \t]*$")
_NO_HEADING = re.compile(r"^#{1,6}(?=[^\s#\d])", re.MULTILINE)
_OPEN_LINK = re.compile(r"\[[^\[\]\n]+\]\([^()\s]*(?=\s|$)(?![^\n]*\))", re.MULTILINE)


# ---- bullets ----


def _bullets(params: Params, text: str, context: Context) -> Finding:
    spans, wanted, most = segments.bullets(text), params["marker"], params["max_depth"]
    indents: list[int] = []
    for start, end in spans:
        line = text[start:end]
        mark = line.lstrip()[0]
        if wanted and mark != wanted:
            return failed(f"an item is marked with {mark}, not with {wanted}", len(spans), wanted, (start, end))
        indent = len(line) - len(line.lstrip())
        while indents and indent <= indents[-1]:
            indents.pop()
        indents.append(indent)
        if most and len(indents) > most:
            return failed(f"an item on level {len(indents)}", len(spans), f"at most {most} levels", (start, end))
    return count_finding(spans, params, "bullet points", text)


def _bullets_grammar(params: Params) -> list[Fragment]:
    mark = rust_literal(params["marker"]) if params["marker"] else "[-*]"
    return items_grammar(mark, indented=params["max_depth"] != 1)(params)


def _bullets_validate(params: Params) -> str:
    if all(params.get(name) is None for name in (*BOUNDS, "marker", "max_depth")):
        return "one of min, max, exact, marker, max_depth must be given"
    if params.get("exact") is not None and (params.get("min") is not None or params.get("max") is not None):
        return "exact excludes min and max"
    low, high = bounds(params)
    return f"min ({low}) is above max ({high})" if high is not None and low > high else ""


def _bullets_tell(params: Params) -> str:
    low, high = bounds(params)
    told = f"Use {required_text(low, high, 'bullet points')}" if low or high is not None else "Mark bullet points"
    told += f", each marked with {params['marker']}" if params["marker"] else ""
    return f"{told}{', without items inside items' if params['max_depth'] == 1 else ''}."


# ---- whole texts ----


def _valid(params: Params, text: str, context: Context) -> Finding:
    outside, open_fence = _outside_fences(text)
    if open_fence is not None:
        return failed("a code fence is not closed", None, "closed", (open_fence, len(text)))
    if found := _NO_HEADING.search(outside):
        return failed("a heading needs a space behind its #", found[0], "# Heading", found.span())
    if found := _OPEN_LINK.search(outside):
        return failed("the address of a link is not closed", None, "[text](address)", found.span())
    return _ragged_table(outside) or passed()


def _outside_fences(text: str) -> tuple[str, int | None]:
    """The text with code blocks blanked out, character by character; and where a fence begins that none closes."""
    kept, opened, mark = list(text), None, ""
    for found in _FENCE.finditer(text):
        if opened is None:
            opened, mark = found.start(), found[1]
        elif found[1].startswith(mark) and not found[2].strip():
            kept[opened : found.end()] = [c if c == "\n" else " " for c in text[opened : found.end()]]
            opened = None
    return "".join(kept), opened


def _ragged_table(text: str) -> Finding | None:
    width, at, before = 0, 0, ""
    for line in text.split("\n"):
        row = _ROW.match(line) is not None
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1
        if row and _RULE.match(line) and _ROW.match(before) and not width:
            width = cells
            if (head := len(re.findall(r"(?<!\\)\|", before)) - 1) != width:
                return failed(f"a table's head has {head} cells, its rule {width}", head, width, (at, at + len(line)))
        elif row and width and cells != width:
            return failed(f"a table row has {cells} cells, {width} needed", cells, width, (at, at + len(line)))
        elif not row:
            width = 0
        at, before = at + len(line) + 1, line
    return None


def _close_fence(params: Params, text: str, context: Context) -> str | None:
    _, opened = _outside_fences(text)
    if opened is None:
        return None
    fence = _FENCE.match(text, opened)
    assert fence is not None
    return f"{text.rstrip()}\n{fence[1]}"


KINDS: tuple[CheckKind, ...] = (
    CheckKind(
        "bullets",
        "Bullet points: how many, with which marker, how deep.",
        {**BOUNDS, "marker": Field("str", choices=("-", "*", "+", "•")), "max_depth": Field("int", minimum=1)},
        _bullets,
        grammar=_bullets_grammar,
        tell=_bullets_tell,
        validate=_bullets_validate,
    ),
    CheckKind(
        "markdown_valid",
        "Markdown in which code fences, links and tables are whole.",
        {},
        _valid,
        fix=_close_fence,
    ),
)
