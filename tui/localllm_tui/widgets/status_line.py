"""The status line: what is loaded, how fast it is, how full its context is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from localllm.counted import counted
from localllm.engine.protocol import EngineInfo
from localllm.events import Stats
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line
from localllm_tui.widgets.message_head import short_model


@dataclass(frozen=True, slots=True)
class Status:
    """What the line shows."""

    info: EngineInfo | None = None
    activity: str = ""
    """What goes on, such as ``loading 40 %``; first in the line."""
    problem: bool = False
    """The activity is a failure."""
    stats: Stats | None = None
    live_speed: float = 0.0
    """Tokens per second of a running answer."""
    context_used: int = 0
    dropped: int = 0
    """Messages left out of the context."""
    offline: bool = False
    temporary: bool = False
    queued: int = 0
    docs: str = ""
    rules: str = ""


def bar(fraction: float, cells: int = 8) -> str:
    """A bar of blocks, at least one when anything is used."""
    full = max(int(fraction * cells + 0.5), 1 if fraction > 0 else 0)
    return "▓" * min(full, cells) + "░" * (cells - min(full, cells))


def parts_of(status: Status) -> list[tuple[int, str, str]]:
    """The parts in order of reading: (importance, text, style); the least important go first when there is no room."""
    parts: list[tuple[int, str, str]] = []
    if status.activity:
        parts.append((9, status.activity, "bold $error" if status.problem else "bold $accent"))
    if status.temporary:
        parts.append((8, "temporary", "bold $warning"))
    if status.queued:
        parts.append((8, f"{status.queued} waiting", "$accent"))
    if status.docs:
        parts.append((5, f"docs: {status.docs}", "$accent"))
    if status.rules:
        parts.append((5, f"rules: {status.rules}", "$accent"))
    info = status.info
    if info is not None:
        parts.append((7, f"{clean_line(short_model(info.model))} {info.quantization}".strip(), ""))
        parts.append((4, device_of(info), MUTED))
    stats = status.stats
    speed = status.live_speed or (stats.decode_tokens_per_second if stats else 0.0)
    if speed:
        parts.append((6, f"{speed:,.0f} tok/s", ""))
        if stats is not None and not status.live_speed and stats.speculation.drafted:
            spec = stats.speculation
            name = "n-gram" if spec.drafter == "ngram" else spec.drafter or "draft"
            parts.append(
                (3, f"{spec.speedup:.1f}x by {clean_line(name)} {spec.acceptance_rate:.0%}".replace("%", " %"), "")
            )
    if stats is not None and not status.live_speed and stats.first_token_seconds:
        parts.append((2, f"first token {stats.first_token_seconds:.1f} s", MUTED))
    n_ctx = info.n_ctx if info is not None else 0
    if n_ctx and status.context_used:
        share = status.context_used / n_ctx
        style = "$warning" if share > 0.8 or status.dropped else MUTED
        text = f"context {bar(share)} {status.context_used:,}/{n_ctx:,}"
        if status.dropped:
            text += f", {status.dropped} left out"
        parts.append((5, text, style))
    parts.append((3, "offline" if status.offline else "local", "$success" if status.offline else MUTED))
    return parts


def device_of(info: EngineInfo) -> str:
    """``CPU 2 threads``, or ``GPU 24/32 layers``."""
    if info.n_gpu_layers > 0:
        return f"GPU {info.n_gpu_layers}/{info.n_layer} layers"
    return f"CPU {counted(info.n_threads, 'thread')}"


def line_of(status: Status, width: int) -> Content:
    """As many parts as fit, the most important ones."""
    parts = parts_of(status)
    separator = " · "
    while len(parts) > 1 and sum(Content(t).cell_length for _, t, _ in parts) + 3 * (len(parts) - 1) > width:
        parts.remove(min(parts, key=lambda part: part[0]))
    pieces = [Content.styled(text, style) for _, text, style in parts]
    return Content.styled(separator, MUTED).join(pieces).truncate(max(1, width), ellipsis=True)


class StatusLine(Static):
    """One line at the bottom."""

    def __init__(self) -> None:
        super().__init__(id="status", markup=False)
        self.status = Status()

    def set(self, **changes: Any) -> None:
        """Change parts of the status."""
        status = replace(self.status, **changes)
        if status != self.status:
            self.status = status
            self._draw()

    def on_resize(self, event: Resize) -> None:
        """Other parts may fit."""
        self._draw()

    def _draw(self) -> None:
        self.update(line_of(self.status, max(1, self.size.width or 80)), layout=False)  # one row, whatever it says
