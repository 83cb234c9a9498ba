"""What all IFEval instructions share: the two modes, the comparisons, and how a decision becomes a finding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localllm.rules.checks.kinds import CheckKind, Field, Fragment, Params
from localllm.rules.checks.words import ANY
from localllm.rules.outcome import Context, Finding, failed, passed

Decide = Callable[[Params, str], "bool | tuple[bool, Any]"]
"""True or False, or with the measured value."""
STRICT = "strict"

RELATION = Field("str", "at least", choices=("less than", "at least"))
NUMBER = Field("int", required=True, minimum=0)
TEXT = Field("str", required=True)
TEXTS = Field("strs", required=True)
_MODE = Field("str", STRICT, choices=("compat", STRICT))


def instruction(
    id: str,
    decide: Decide,
    fields: dict[str, Field],
    tell: Callable[[Params], str],
    grammar: Callable[[Params], list[Fragment]] | None = None,
    fix: Callable[[Params, str], str | None] | None = None,
) -> CheckKind:
    """An instruction as a kind of rule."""

    def check(params: Params, text: str, context: Context) -> Finding:
        result = decide(params, text)
        good, measured = result if isinstance(result, tuple) else (result, None)
        required = ", ".join(f"{k}={params[k]}" for k in fields if params.get(k) is not None)
        return passed(measured, required) if good else failed(f"not followed: {tell(params)}", measured, required)

    return CheckKind(
        id, f"IFEval: {id.split(':')[1].replace('_', ' ')}.", {**fields, "mode": _MODE}, check, grammar=grammar,
        fix=(lambda p, t, c: fix(p, t)) if fix else None, tell=tell,
    )  # fmt: skip


def strict(params: Params) -> bool:
    """Whether to decide as a reader would, not as the reference checker does."""
    return bool(params["mode"] == STRICT)


def compare(n: int, relation: str, limit: int) -> bool:
    """``less than`` is strict; anything else is ``at least``."""
    return n < limit if relation == "less than" else n >= limit


def count_grammar(one: str, n: int, less: bool, most: int = 20) -> list[Fragment]:
    """At least `n` matches of a pattern, or fewer; nothing where that would make too large a grammar."""
    if n < 1 or n > most:
        return []
    return [Fragment(rf"({ANY}{one}){{{n}}}{ANY}", negated=less)]
