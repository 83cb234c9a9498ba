"""IFEval ``startend:``. What the answer ends with, and quotation marks around it."""

from __future__ import annotations

from localllm.rules.checks import shape
from localllm.rules.checks.benchmark import strict
from localllm.rules.checks.ifeval.kind import TEXT, instruction
from localllm.rules.checks.kinds import CheckKind, Fragment, Params
from localllm.rules.checks.words import ANY, rust_literal
from localllm.rules.outcome import Context


def _end(p: Params, text: str) -> bool:
    return text.strip().strip('"').lower().endswith(p["end_phrase"].strip().lower())


def _quotation(p: Params, text: str) -> bool:
    body = text.strip()
    if strict(p) and len(body) > 1 and (body[0], body[-1]) == ("“", "”"):
        return True
    return len(body) > 1 and body[0] == '"' and body[-1] == '"'


def _end_fix(p: Params, text: str) -> str | None:
    return shape._ends_fix({"text": p["end_phrase"]}, text, Context())


def _quotation_fix(p: Params, text: str) -> str | None:
    body = text.strip().removeprefix('"').removesuffix('"').strip()
    return f'"{body}"' if body else None


KINDS: tuple[CheckKind, ...] = (
    instruction(
        "startend:end_checker",
        _end,
        {"end_phrase": TEXT},
        lambda p: f"End with exactly: {p['end_phrase'].strip()}",
        lambda p: [Fragment(ANY + rust_literal(p["end_phrase"].strip()) + '"?')],
        _end_fix,
    ),
    instruction(
        "startend:quotation",
        _quotation,
        {},
        lambda p: "Wrap the whole answer in double quotation marks.",
        lambda p: [Fragment(rf'"{ANY}\S"')],
        _quotation_fix,
    ),
)
