"""Checks on whole texts: every rule, none left out, and one verdict."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from localllm.events import FinishReason, RuleState, RuleVerdict, Span, Verdict
from localllm.rules.checks.formats import parse_json
from localllm.rules.outcome import Context, Finding, failed, not_evaluated, passed
from localllm.rules.ruleset import Rule

_LOST = frozenset(
    "forbid punctuation case pii secrets profanity hidden_unicode prompt_injection markdown_image_exfil url_allowlist"
    " canary prompt_echo question_echo repetition quote_exact numbers_in_sources punctuation:no_comma"
    " keywords:forbidden_words change_case:english_capital change_case:english_lowercase refusal python".split()
)
"""Kinds that more text can't mend: their failures stay failures when an answer was cut off."""


def evaluate(rule: Rule, text: str, context: Context) -> Finding:
    """What one rule says about a text. A rule that raises has failed."""
    try:
        if rule.when is not None and not evaluate(rule.when, text, context).passed:
            return passed("condition not met")
        if rule.pointer:
            return _at_pointer(rule, text, context)
        found = _combined(rule, text, context) if rule.kind is None else rule.kind.check(rule.params, text, context)
        return _inside(found, text)
    except RecursionError:
        return failed("the rule could not be applied: the text is nested too deeply")
    except Exception as error:  # never a pass, whatever went wrong
        return failed(f"the rule could not be applied: {type(error).__name__}: {str(error)[:120]}")


def _inside(finding: Finding, text: str) -> Finding:
    """The finding with a span that lies in the text; checks may point to the end of a text that is empty."""
    if finding.span is None:
        return finding
    start = min(max(0, finding.span.start), len(text))
    end = min(max(start, finding.span.end), len(text))
    return replace(finding, span=Span(start, end))


def _combined(rule: Rule, text: str, context: Context) -> Finding:
    findings = [(part, evaluate(part, text, context)) for part in rule.parts]
    if rule.combine == "not":
        part, finding = findings[0]
        if not finding.evaluated:
            return finding
        return (
            failed(f"{part.type} should not hold", finding.measured, f"not {finding.required}")
            if finding.passed
            else passed()
        )
    bad = [finding for _, finding in findings if not finding.passed]
    if rule.combine == "any":
        if len(bad) < len(findings):
            return passed(len(findings) - len(bad))
        return next((f for f in bad if f.evaluated), not_evaluated("none of the parts could be evaluated"))
    return bad[0] if bad else passed(len(findings))


def _at_pointer(rule: Rule, text: str, context: Context) -> Finding:
    value, fault = parse_json(text)
    if fault is not None:
        return fault
    found = list(_resolve(value, rule.pointer.strip("/").split("/")))
    if not found:
        return failed(f"there is nothing at {rule.pointer}", None, rule.pointer)
    inner = Rule(rule.id, rule.kind, rule.params, combine=rule.combine, parts=rule.parts)
    for item in found:
        finding = evaluate(inner, item if isinstance(item, str) else json.dumps(item, ensure_ascii=False), context)
        if not finding.passed:
            return Finding(
                False, finding.measured, finding.required, None, f"{rule.pointer}: {finding.reason}", finding.evaluated
            )
    return passed(len(found))


def _resolve(value: Any, parts: list[str]) -> Iterable[Any]:
    if not parts:
        yield value
    elif parts[0] == "*":
        for inner in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
            yield from _resolve(inner, parts[1:])
    elif isinstance(value, dict) and (key := parts[0].replace("~1", "/").replace("~0", "~")) in value:
        yield from _resolve(value[key], parts[1:])
    elif isinstance(value, list) and parts[0].isdigit() and int(parts[0]) < len(value):
        yield from _resolve(value[int(parts[0])], parts[1:])


def judge(rules: Iterable[Rule], text: str, context: Context, reason: FinishReason = FinishReason.STOP,
          fixed: frozenset[str] = frozenset(), repaired: frozenset[str] = frozenset()) -> Verdict:  # fmt: skip
    """The verdict on a text.

    Args:
        rules: Every rule of the stage.
        text: The whole text.
        context: What checks may know besides.
        reason: Why the text ended; a text that was cut off may be `truncated` instead of wrong.
        fixed: Rules that were broken and mended by a fix.
        repaired: Rules that were broken in an earlier attempt.

    Returns:
        The verdict passes when every rule of severity error passes; a rule that could not be evaluated is no pass.
    """
    verdicts = []
    good = True
    for rule in rules:
        finding = evaluate(rule, text, context)
        state = _state(rule, finding, reason, fixed, repaired)
        if rule.severity == "error" and state in (RuleState.FAIL, RuleState.TRUNCATED, RuleState.NOT_EVALUATED):
            good = False
        verdicts.append(RuleVerdict(rule.id, state, finding.measured, finding.required, finding.span, finding.reason))
    return Verdict(good, tuple(verdicts))


def _state(
    rule: Rule, finding: Finding, reason: FinishReason, fixed: frozenset[str], repaired: frozenset[str]
) -> RuleState:
    if finding.passed:
        return RuleState.FIXED if rule.id in fixed else RuleState.REPAIRED if rule.id in repaired else RuleState.PASS
    if not finding.evaluated:
        return RuleState.NOT_EVALUATED
    if rule.severity != "error" or rule.on_fail == "warn":
        return RuleState.WARN
    return RuleState.TRUNCATED if reason is FinishReason.LENGTH and rule.type not in _LOST else RuleState.FAIL
