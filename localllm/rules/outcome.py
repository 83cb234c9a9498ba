"""What rules say about a text: the finding of one check, and what the assistant is told to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from localllm.events import RuleVerdict, Span, Verdict

Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found in one text."""

    passed: bool
    measured: Value = None
    required: Value = None
    span: Span | None = None
    """Where the text fails, when it can be located."""
    reason: str = ""
    """One line for people; empty for a pass."""
    evaluated: bool = True
    """False when the check could not be made here (no sources were given, say): this is not a pass."""


@dataclass(frozen=True, slots=True)
class Context:
    """What checks may know besides the text."""

    question: str = ""
    system: str = ""
    """The system prompt, for the echo check."""
    canary: str = ""
    """A secret that was put into the system prompt and must never come out."""
    sources: tuple[str, ...] = ()
    """The passages by number, from 1."""
    has_sources: bool = False
    count_tokens: Callable[[str], int] | None = None
    folder: Path | None = None
    """Where files that a rule names are looked up."""
    allow_code: bool = False
    scratch: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule is lost at this point of the answer, whatever follows."""

    rule: RuleVerdict
    keep: int
    """Characters of the answer, from its beginning, that are still good."""
    ban: tuple[str, ...] = ()
    """The continuations that must not come again."""


@dataclass(frozen=True, slots=True)
class Repair:
    """How an answer that broke a rule is tried again."""

    rule_id: str
    kept: str = ""
    """The good beginning that stays."""
    ban: tuple[str, ...] = ()
    feedback: str = ""
    """Told to the model: the rule, the fault, measured and required value."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The verdict on a whole answer, and what may be done about it."""

    text: str
    """After deterministic fixes."""
    verdict: Verdict
    repair: Repair | None = None
    reject: bool = False
    """The answer must not be shown."""
    notes: tuple[str, ...] = ()


def passed(measured: Value = None, required: Value = None) -> Finding:
    """The text follows the rule."""
    return Finding(True, measured, required)


def failed(reason: str, measured: Value = None, required: Value = None, span: tuple[int, int] | None = None) -> Finding:
    """The text breaks the rule, for a reason of one line."""
    return Finding(False, measured, required, Span(*span) if span else None, reason)


def not_evaluated(reason: str) -> Finding:
    """The check could not be made."""
    return Finding(False, reason=reason, evaluated=False)
