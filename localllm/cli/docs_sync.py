"""Syncs on the command line: one line of progress, what was left out, and a summary; Ctrl-C ends it cleanly."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING

import click

from localllm.cli.ask import stop_on_interrupt
from localllm.cli.main import INTERRUPTED
from localllm.cli.session import Session, print_json
from localllm.counted import counted
from localllm.rag.progress import Progress, RootOffline, Skipped, Summary, SyncEvent

if TYPE_CHECKING:
    from localllm.engine.embedder_process import EmbedderProcess
    from localllm.rag.index import Library
    from localllm.rag.rows import Root

_REDRAW_SECONDS = 0.1
_SHOWN = 5
"""Files left out that are named at once; `docs list --skipped` names all."""


def run_sync(
    session: Session, library: Library, *, roots: Sequence[Root] | None = None, deep: bool = False, as_json: bool
) -> int:
    """Sync, and say how it went; returns the exit code."""
    from localllm.open import open_embedder
    from localllm.rag.sync import sync

    embedder = open_embedder(session.settings, session.paths, library)
    try:
        with stop_on_interrupt() as cancel:
            events = sync(library, embedder, cancel=cancel, roots=roots, deep=deep)
            summary, left_out = _follow(session, events)
    finally:
        if embedder is not None:
            embedder.close()
    _report(session, library, summary, left_out, as_json, embedder is None)
    return INTERRUPTED if summary.cancelled else 0


def run_watch(session: Session, library: Library, *, as_json: bool) -> int:
    """Sync again and again as files change, until Ctrl-C."""
    from localllm.open import open_embedder
    from localllm.rag.watch import watch

    embedder = open_embedder(session.settings, session.paths, library)
    try:
        with stop_on_interrupt() as cancel:
            session.say("Watching; Ctrl-C ends it.")
            for event in watch(library, embedder, cancel):
                if isinstance(event, Summary):
                    if event.added or event.changed or event.moved or event.removed:
                        _report(session, library, event, [], as_json, embedder is None)
                elif isinstance(event, Skipped):
                    session.say(f"{event.path}: {event.reason}")
    finally:
        if embedder is not None:
            embedder.close()
    return 0


def run_reembed(session: Session, library: Library, embedder: EmbedderProcess, *, keep_old: bool, as_json: bool) -> int:
    """Make the vectors anew; returns the exit code."""
    from localllm.rag.embedding import reembed

    try:
        with stop_on_interrupt() as cancel:
            summary, _ = _follow(session, reembed(library, embedder, cancel=cancel, keep_old=keep_old))
    finally:
        embedder.close()
    if as_json:
        print_json({"library": library.name, **asdict(summary)})
    else:
        if not summary.cancelled:
            session.say(f"{counted(summary.embedded, 'vector')} made by {embedder.name}, {summary.seconds:,.1f} s.")
        for note in summary.notes:
            session.say(note)
    return INTERRUPTED if summary.cancelled else 0


def _follow(session: Session, events: Iterator[SyncEvent]) -> tuple[Summary, list[Skipped]]:
    line, left_out, summary = _Line(session), [], Summary()
    try:
        for event in events:
            if isinstance(event, Progress):
                line.show(event)
            elif isinstance(event, Skipped):
                left_out.append(event)
            elif isinstance(event, RootOffline):
                line.clear()
                session.say(f"{event.path} is not there, or empty; its documents are kept.")
            else:
                summary = event
    finally:
        line.clear()
    return summary, left_out


def _report(
    session: Session, library: Library, summary: Summary, left_out: list[Skipped], as_json: bool, keywords: bool
) -> None:
    if as_json:
        print_json(
            {
                "library": library.name,
                **asdict(summary),
                "left_out": [{"path": s.path, "reason": s.reason} for s in left_out],
            }
        )
        return
    for skipped in left_out[:_SHOWN]:
        session.say(f"Left out: {skipped.path}: {skipped.reason}")
    if len(left_out) > _SHOWN:
        session.say(f"and {len(left_out) - _SHOWN:,} more: `localllm docs list --skipped -d {quote(library.name)}`")
    parts = summary.told
    if summary.embedded:
        parts.append(counted(summary.embedded, "vector"))
    if not parts:
        parts.append("nothing new" if library.count_chunks() else "no documents")
    session.say(f"{library.name}: {', '.join(parts)}, {summary.seconds:,.1f} s.")
    if keywords:
        session.say("No embedding model here, so search goes by keywords: `localllm models pull starter` gets one.")
    for note in summary.notes:
        session.say(note)
    if summary.cancelled:
        session.say("Stopped; what was done is kept, and the next sync goes on from here.")


class _Line:
    """One line of progress on standard error, where that is a terminal."""

    def __init__(self, session: Session) -> None:
        self._on = session.progress
        self._drawn = 0.0
        self._shown = False

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if not self._on or (now - self._drawn < _REDRAW_SECONDS and progress.done < progress.total):
            return
        verb = {"scan": "Found", "read": "Reading", "cut": "Cutting", "embed": "Embedding"}[progress.stage]
        text = f"{verb} {progress.done:,}/{progress.total:,}"
        if progress.bytes_total:
            text += f", {progress.bytes_done / 1e6:,.0f}/{progress.bytes_total / 1e6:,.0f} MB"
        if progress.chunks_per_second:
            text += f", {progress.chunks_per_second:,.0f} chunks/s"
        if progress.seconds_left is not None and progress.done < progress.total:
            text += f", {_clock(progress.seconds_left)} left"
        click.echo(f"\r\x1b[K{text}", nl=False, err=True)
        sys.stderr.flush()
        self._drawn, self._shown = now, True

    def clear(self) -> None:
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._shown = False


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes}:{rest:02d}"
