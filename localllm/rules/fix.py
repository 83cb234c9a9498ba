"""Deterministic fixes: tried before any repair that costs tokens."""

from __future__ import annotations

from collections.abc import Sequence

from localllm.rules.outcome import Context
from localllm.rules.ruleset import Rule
from localllm.rules.verdict import evaluate

ROUNDS = 3


def fix(rules: Sequence[Rule], text: str, context: Context) -> tuple[str, frozenset[str]]:
    """Mend what can be mended without the model.

    A fix is kept only if its rule passes afterwards and no rule that passed before fails now.

    Returns:
        The text, and the ids of the rules that were mended.
    """
    mended: set[str] = set()
    good = {rule.id: evaluate(rule, text, context).passed for rule in rules}
    for _ in range(ROUNDS):
        changed = False
        for rule in rules:
            if good[rule.id] or rule.on_fail not in ("fix", "repair", "reject") or rule.severity == "info":
                continue
            candidate = _fixed(rule, text, context)
            if candidate is None or candidate == text or not evaluate(rule, candidate, context).passed:
                continue
            now = {other.id: evaluate(other, candidate, context).passed for other in rules}
            if any(good[i] and not now[i] for i in good):
                continue
            text, good, changed = candidate, now, True
            mended.add(rule.id)
        if not changed or all(good.values()):
            break
    return text, frozenset(mended)


def _fixed(rule: Rule, text: str, context: Context) -> str | None:
    if rule.pointer:
        return None
    if rule.kind is None:
        if rule.combine != "all":
            return None
        for part in rule.parts:
            if not evaluate(part, text, context).passed and (better := _fixed(part, text, context)) is not None:
                text = better
        return text
    if rule.kind.fix is None:
        return None
    try:
        return rule.kind.fix(rule.params, text, context)
    except Exception:  # a fix that fails fixes nothing: the rule's own verdict stands
        return None
