"""Bounded repair: what is kept of a broken answer, and the one line that the model is told."""

from __future__ import annotations

from localllm.events import RuleVerdict
from localllm.rules import segments
from localllm.rules.outcome import Repair
from localllm.rules.ruleset import Rule

MAX_FEEDBACK = 600
"""Characters; the prompt never grows beyond this, however many attempts there are."""

_LOCAL = frozenset(
    "forbid punctuation case language repetition citations quote_exact numbers_in_sources markdown_image_exfil url_allowlist"  # noqa: E501
    " placeholder_left dates regex profanity pii secrets prompt_echo canary keywords:forbidden_words punctuation:no_comma".split()  # noqa: E501
)
"""Kinds whose fault sits at one place, so that what stands before it is good."""


def plan_repair(rule: Rule, verdict: RuleVerdict, text: str, keep_prefix: bool) -> Repair:
    """How an answer that broke `rule` is tried again.

    The kept part ends with the sentence before the fault; the fault's own beginning is banned there.
    """
    kept = ""
    ban: tuple[str, ...] = ()
    span = verdict.span
    if keep_prefix and span is not None and rule.type in _LOCAL and 0 < span.start < len(text):
        before = [end for _, end in segments.sentences(text[: span.start]) if end <= span.start]
        if before and (stop := before[-1]) < span.start and text[stop - 1] in '.!?"”:':
            kept = text[:stop]
        elif before and len(before) > 1:
            kept = text[: before[-2]]
        ban = (text[len(kept) : min(max(span.end, len(kept) + 1), len(kept) + 60)],) if kept else ()
    return Repair(rule.id, kept, ban, feedback(rule, verdict, text))


def feedback(rule: Rule, verdict: RuleVerdict, text: str) -> str:
    """The rule, the fault, and the measured against the required value; never the failed answer itself."""
    try:
        wanted = rule.kind.tell(rule.params) if rule.kind and rule.kind.tell else ""
    except Exception:
        wanted = ""
    parts = ["Your last answer broke a rule."]
    if wanted and len(wanted) < MAX_FEEDBACK // 2:
        parts.append(f"The rule: {wanted}")
    if verdict.reason and not verdict.reason.startswith("not followed"):
        parts.append(f"The fault: {verdict.reason}.")
    elif verdict.measured is not None:
        parts.append(f"Measured: {verdict.measured}.")
    parts.append("Answer again and follow it.")
    return " ".join(parts)[:MAX_FEEDBACK]
