"""What all IFEval instructions share beside the modes: their arguments and comparisons."""

from __future__ import annotations

from collections.abc import Callable

from localllm.rules.checks.benchmark import MODE, Decide, finding
from localllm.rules.checks.kinds import CheckKind, Field, Fragment, Params
from localllm.rules.checks.words import ANY
from localllm.rules.outcome import Context, Finding

RELATION = Field("str", "at least", choices=("less than", "at least"))
NUMBER = Field("int", required=True, minimum=0)
TEXT = Field("str", required=True)
TEXTS = Field("strs", required=True)


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
        required = ", ".join(f"{k}={params[k]}" for k in fields if params.get(k) is not None)
        return finding(decide(params, text), tell(params), required)

    return CheckKind(
        id, f"IFEval: {id.split(':')[1].replace('_', ' ')}.", {**fields, "mode": MODE}, check, grammar=grammar,
        fix=(lambda p, t, c: fix(p, t)) if fix else None, tell=tell,
    )  # fmt: skip


def compare(n: int, relation: str, limit: int) -> bool:
    """``less than`` is strict; anything else is ``at least``."""
    return n < limit if relation == "less than" else n >= limit


def count_grammar(one: str, n: int, less: bool, most: int = 20) -> list[Fragment]:
    """At least `n` matches of a pattern, or fewer; nothing where that would make too large a grammar."""
    if n < 1 or n > most:
        return []
    return [Fragment(rf"({ANY}{one}){{{n}}}{ANY}", negated=less)]
