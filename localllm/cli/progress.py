"""Progress of downloads on standard error: a bar in a terminal, a line per step elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.session import Session

if TYPE_CHECKING:
    from localllm.models.download import Progress

REDRAW_SECONDS = 0.1


class DownloadBar:
    """Draws one bar per file and step; call it with each `Progress`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.at: tuple[str, str] | None = None
        self.bar: Any = None
        self.shown = 0
        self.drawn = 0.0

    def __enter__(self) -> DownloadBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self, progress: Progress) -> None:
        """Show it, at most ten times a second."""
        if self.at != (progress.name, progress.step):
            self._begin(progress)
        now = time.monotonic()
        if self.bar is None or (now - self.drawn < REDRAW_SECONDS and progress.done != progress.total):
            return
        self.drawn = now
        self.bar.update(progress.done - self.shown, progress)
        self.shown = progress.done

    def _begin(self, progress: Progress) -> None:
        self._end()
        self.at = (progress.name, progress.step)
        self.shown, self.drawn = 0, 0.0
        label = f"{progress.step.capitalize()} {progress.name.removesuffix('.part')}"
        if self.session.progress and progress.total:
            self.bar = click.progressbar(
                length=progress.total, label=label, file=sys.stderr, item_show_func=_sizes, width=24
            )
            self.bar.__enter__()
        else:
            self.session.say(f"{label} ({_mb(progress.total)})" if progress.total else label)

    def _end(self) -> None:
        if self.bar is not None:
            self.bar.__exit__(None, None, None)
            self.bar = None


def _sizes(progress: Progress | None) -> str:
    return f"{_mb(progress.done)} of {_mb(progress.total)}" if progress else ""


def _mb(n: int) -> str:
    return f"{n / 1_000_000:,.1f} MB"
