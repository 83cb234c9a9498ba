"""Gauges: how an answer stands with its rules while it is written.

A gauge counts with the check of its own rule, so that it shows what the verdict will say. Counts add up over blank
lines: what stands before the last one is counted once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from localllm.rules.checks.counts import bounds, required_text
from localllm.rules.checks.formats import parse_json
from localllm.rules.outcome import Context
from localllm.rules.ruleset import Rule
from localllm.rules.schema import has_risky_pattern

ADDING_UP = frozenset({"words", "chars", "sentences", "paragraphs", "lines", "bullets", "numbered_list"})
"""Kinds whose count in a text is the sum of the counts in its parts, where the parts end with a blank line."""
JSON_KINDS = frozenset({"json", "json_schema"})


class GaugeState(StrEnum):
    """Where the answer stands with one rule."""

    OPEN = "open"
    """More text is needed."""
    KEPT = "kept"
    """If the answer ended here, the rule would be kept."""
    LOST = "lost"
    """It is broken as the text stands."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """One rule, measured."""

    rule_id: str
    label: str
    """What is measured, such as ``words``."""
    reading: str
    """Such as ``84, 20 to 200 words`` or ``open, 2 levels``."""
    state: GaugeState
    fraction: float | None = None
    """Of the upper bound, or of the lower one where there is no upper one; None where nothing is counted."""


class LiveGauges:
    """The gauges of the output rules that can be measured while the text grows.

    Args:
        rules: The output rules of a rule set.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._meters: list[_CountMeter | _JsonMeter] = []
        for rule in rules:
            if rule.kind is None or rule.when is not None or rule.pointer:
                continue
            if rule.kind.name in ADDING_UP:
                self._meters.append(_CountMeter(rule))
            elif rule.kind.name in JSON_KINDS:
                self._meters.append(_JsonMeter(rule))
        self.later = len(rules) - len(self._meters)
        """Rules that are judged when the answer is whole."""

    def read(self, text: str) -> tuple[Gauge, ...]:
        """The gauges of the answer so far; a text that is no continuation of the last one is measured anew."""
        return tuple(meter.read(text) for meter in self._meters)


class _CountMeter:
    """Counts what a rule bounds; the finished part of the text is counted once."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._head, self._n_head = "", 0

    def _count(self, text: str) -> int:
        assert self._rule.kind is not None
        measured = self._rule.kind.check(self._rule.params, text, Context()).measured
        assert isinstance(measured, int)
        return measured

    def read(self, text: str) -> Gauge:
        """The gauge for the whole text."""
        if not text.startswith(self._head):
            self._head, self._n_head = "", 0
        cut = text.rfind("\n\n")
        if cut >= 0 and cut + 2 > len(self._head):
            self._n_head += self._count(text[len(self._head) : cut + 2])
            self._head = text[: cut + 2]
        n = self._n_head + self._count(text[len(self._head) :])
        low, high = bounds(self._rule.params)
        label = "items" if self._rule.type == "numbered_list" else self._rule.type
        state = GaugeState.OPEN if n < low else GaugeState.KEPT
        if high is not None and n > high:
            state = GaugeState.LOST
        whole = high or low
        return Gauge(
            self._rule.id, label, f"{n}, {required_text(low, high, '').strip()}", state,
            min(1.0, n / whole) if whole else None,
        )  # fmt: skip


class _JsonMeter:
    """Follows brackets and strings; a value that is closed is read and checked once."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._restart()

    def _restart(self) -> None:
        self._seen, self._depth, self._in_string, self._escaped, self._begun = "", 0, False, False, False
        self._fault: str | None = None
        """Of the closed value; empty for none, None while it is open."""

    def _follow(self, new: str) -> None:
        for c in new:
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped, self._in_string = c == "\\", c != '"'
            elif c == '"' and self._begun:
                self._in_string = True
            elif c in "{[":
                self._depth, self._begun = self._depth + 1, True
            elif c in "}]":
                self._depth -= 1

    def _check(self, text: str) -> str:
        schema = self._rule.params.get("schema")
        if schema is not None and has_risky_pattern(schema):  # its patterns run apart, at the end
            fault = parse_json(text)[1]
            return fault.reason if fault is not None else ""
        assert self._rule.kind is not None
        return self._rule.kind.check(self._rule.params, text, Context()).reason

    def read(self, text: str) -> Gauge:
        """The gauge for the whole text."""
        if not text.startswith(self._seen):
            self._restart()
        if new := text[len(self._seen) :]:
            if self._begun or text.lstrip()[:1] in ("{", "[", "`"):
                self._follow(new)
            self._seen = text
            if self._begun and self._depth <= 0:
                self._fault = self._check(text)
            else:
                self._fault = None
        if not self._begun:
            other = bool(text.strip()) and not text.lstrip().startswith("`")
            return self._gauge("begins with other words" if other else "not begun", GaugeState.OPEN)
        if self._fault is None:
            levels = f"{self._depth} level{'s' if self._depth != 1 else ''}"
            return self._gauge(f"open, {levels}{', in a text' if self._in_string else ''}", GaugeState.OPEN)
        if self._fault:
            return self._gauge(f"closed, {self._fault}", GaugeState.LOST)
        return self._gauge("closed and valid", GaugeState.KEPT)

    def _gauge(self, reading: str, state: GaugeState) -> Gauge:
        return Gauge(self._rule.id, "JSON", reading, state)
