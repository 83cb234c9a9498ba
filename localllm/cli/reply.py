"""An answer on its way to the user's terminal, pipe, or JSON document.

On standard output stands the answer alone. Progress, remarks and figures go to standard error.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Protocol

import click

from localllm.cli.answer_json import answer_json
from localllm.cli.session import Session, print_json
from localllm.counted import counted
from localllm.events import (
    Event,
    Finished,
    Loading,
    Prefilling,
    Repairing,
    Retrieved,
    RuleState,
    Token,
    Violation,
    place_of,
)

CONTROL = {c: None for c in [*range(32), *range(127, 160)] if c not in (9, 10)}
"""Characters of a model's text that a terminal would obey; tab and line feed may pass."""


class Reply(Protocol):
    """Consumes the events of one turn."""

    def follow(self, event: Event) -> None:
        """One more event."""
        ...


@dataclass
class Progress:
    """One line on standard error that is overwritten and wiped, drawn only on a terminal."""

    session: Session
    drawn: bool = field(default=False, init=False)

    def draw(self, text: str) -> None:
        """Replace the line."""
        if self.session.progress:
            click.echo(f"\r\x1b[2K{text}", err=True, nl=False)
            self.drawn = True

    def wipe(self) -> None:
        """Leave the line empty."""
        if self.drawn:
            click.echo("\r\x1b[2K", err=True, nl=False)
            self.drawn = False

    def follow(self, event: Event) -> None:
        """Show how far loading and reading are; anything else wipes the line."""
        if isinstance(event, Loading):
            self.draw(f"Loading {event.model} {event.fraction:.0%}")
        elif isinstance(event, Prefilling) and event.total > 256:
            self.draw(f"Reading {event.done:,} of {event.total:,} tokens")
        elif isinstance(event, Retrieved):
            self.draw(f"Found {counted(len(event.passages), 'passage')}")
        else:
            self.wipe()


class TextReply:
    """The answer as text, streamed where what was printed stays true.

    Args:
        session: Where remarks go.
        revisable: Documents or rules may still change what was said. Then a pipe gets the text at its end, and a
            terminal sees the repaired text again below.
        stats: Print figures to standard error at the end.
    """

    def __init__(self, session: Session, *, revisable: bool, stats: bool) -> None:
        self.session = session
        self.terminal = sys.stdout.isatty()
        self.streaming = self.terminal or not revisable
        self.stats = stats
        self.printed = ""
        self.progress = Progress(session)

    def follow(self, event: Event) -> None:
        """One more event."""
        self.progress.follow(event)
        if isinstance(event, Token) and self.streaming:
            self._print(event.text)
        elif isinstance(event, Repairing) and self.streaming:
            self._again(f"{event.rule_id} is broken, attempt {event.attempt + 1}:", event.kept)
        elif isinstance(event, Violation):
            self.session.say(f"localllm: {event.rule.id}: {event.rule.reason or event.rule.verdict.value}")
        elif isinstance(event, Finished):
            self._finish(event)

    def _print(self, text: str) -> None:
        self.printed += text
        sys.stdout.write(text.translate(CONTROL) if self.terminal else text)
        sys.stdout.flush()

    def _again(self, why: str, text: str) -> None:
        if self.printed:
            sys.stdout.write("\n")
            sys.stdout.flush()
        self.session.say(f"localllm: {why}")
        self.printed = ""
        self._print(text)

    def _finish(self, finished: Finished) -> None:
        if finished.text.startswith(self.printed):
            self._print(finished.text[len(self.printed) :])
        elif self.terminal:
            self._again("the answer after checks:", finished.text)
        if self.printed and not self.printed.endswith("\n"):
            self._print("\n")
        for line in remarks(finished):
            self.session.say(f"localllm: {line}")
        if self.stats:
            click.echo("\n".join(figures(finished)), err=True)


class JsonReply:
    """The answer as one JSON document at its end."""

    def __init__(self, session: Session, *, stats: bool) -> None:
        self.progress = Progress(session)
        self.stats = stats

    def follow(self, event: Event) -> None:
        """One more event."""
        self.progress.follow(event)
        if isinstance(event, Finished):
            print_json(answer_json(event))
            if self.stats:
                click.echo("\n".join(figures(event)), err=True)


def remarks(finished: Finished) -> list[str]:
    """What a user must know beside the text: notes, sources, broken rules, nearest passages."""
    lines = list(finished.notes)
    for citation in finished.citations:
        state = citation.state.value.replace("_", " ")
        lines.append(f"[{citation.n}] {citation.source}, {place_of(citation)}: {state}")
    if finished.unsupported:
        lines.append(
            f"{counted(len(finished.unsupported), 'sentence is', 'sentences are')} not supported by the passages."
        )
    for passage in finished.nearest:
        lines.append(f"nearest: {passage.source}, {place_of(passage)} (score {passage.score:.2f})")
    if finished.verdict:
        for rule in finished.verdict.rules:
            if rule.verdict in (RuleState.FAIL, RuleState.TRUNCATED, RuleState.WARN):
                measured = f" (measured {rule.measured}, required {rule.required})" if rule.required is not None else ""
                lines.append(f"rule {rule.id}: {rule.verdict.value}{measured} {rule.reason}".rstrip())
    return lines


def figures(finished: Finished) -> list[str]:
    """What the answer cost, for people."""
    stats, spec = finished.stats, finished.stats.speculation
    lines = [
        f"model      {finished.model}",
        f"prompt     {stats.prompt_tokens:,} tokens, {stats.cached_tokens:,} of them cached",
        f"answer     {stats.completion_tokens:,} tokens, {stats.decode_tokens_per_second:.1f} tokens/s"
        f" ({finished.reason.value})",
        f"time       load {stats.load_seconds:.2f} s, first token {stats.first_token_seconds:.2f} s",
    ]
    if spec.drafted:
        lines.append(
            f"draft      {spec.drafter or finished.draft}: {spec.accepted:,} of {spec.drafted:,} accepted"
            f" ({spec.acceptance_rate:.0%}), {spec.speedup:.2f}x"
        )
    if finished.context:
        use = finished.context
        lines.append(
            f"context    {stats.window_tokens:,} of {use.n_ctx:,} tokens"
            f", {counted(use.dropped_messages, 'message')} left out, {counted(use.passages, 'passage')}"
        )
    if stats.forgotten_tokens:
        lines.append(f"window     full: {stats.forgotten_tokens:,} tokens were forgotten to go on")
    return lines
