"""Watches an answer as it grows, and says as soon as a rule is lost for good."""

from __future__ import annotations

from collections.abc import Iterable

from localllm.events import RuleState, RuleVerdict, Span
from localllm.rules.checks.kinds import Watcher
from localllm.rules.outcome import Broken
from localllm.rules.ruleset import Rule

MAX_BAN = 60
"""Characters of a continuation that is banned."""


class RuleMonitor:
    """The watchers of all rules over one answer.

    Args:
        rules: Output rules that are worth stopping for: of severity error, mended by repair or rejected.
        kept: The part of the answer that stands already; it is not complained about.
    """

    def __init__(self, rules: Iterable[Rule], kept: str = "") -> None:
        self._text = kept
        self._kept = len(kept)
        self._watchers: list[tuple[Rule, Watcher]] = []
        for rule in rules:
            if rule.kind is None or rule.kind.watch is None or rule.when is not None or rule.pointer:
                continue
            if rule.severity == "error" and rule.on_fail in ("repair", "reject"):
                watcher = rule.kind.watch(rule.params)
                if watcher is not None:
                    if kept:
                        watcher.feed(kept, 0)
                    self._watchers.append((rule, watcher))

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._text

    def feed(self, text: str) -> Broken | None:
        """More of the answer; what is lost by it, if anything. The work is proportional to the new text."""
        start = len(self._text)
        self._text += text
        for rule, watcher in self._watchers:
            span = watcher.feed(self._text, start)
            if span is not None and span[1] > self._kept:
                return self._broken(rule, *span)
        return None

    def _broken(self, rule: Rule, start: int, end: int) -> Broken:
        text = self._text
        keep = max(start, self._kept)
        lead = keep
        while lead > self._kept and text[lead - 1] in " \t":  # a token carries the space before its word
            lead -= 1
        ban = text[lead : min(end, lead + MAX_BAN)]
        verdict = RuleVerdict(
            rule.id,
            RuleState.FAIL,
            text[start:end][:80],
            None,
            Span(start, end),
            f"{rule.type}: {text[start:end][:60]!r}",
        )
        return Broken(verdict, lead, tuple(dict.fromkeys((ban, ban.lower(), ban.strip())))[:3])
