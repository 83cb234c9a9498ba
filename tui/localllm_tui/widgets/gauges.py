"""A line above the prompt: how the answer that is being written stands with its rules."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from localllm.rules.gauges import Gauge, GaugeState
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line
from localllm_tui.widgets.status_line import bar

MARKS = {GaugeState.OPEN: ("…", MUTED), GaugeState.KEPT: ("✓", "$success"), GaugeState.LOST: ("✗", "$error")}


def gauges_line(gauges: Sequence[Gauge], later: int, width: int) -> Content:
    """As many gauges as fit, those that are lost first; how many rules are judged at the end."""
    ordered = sorted(gauges, key=lambda gauge: gauge.state is not GaugeState.LOST)
    parts = [_part(gauge, width >= 80) for gauge in ordered]
    if later:
        parts.append(Content.styled(f"{later} checked at the end", MUTED))
    gap = Content("   ")
    while len(parts) > 1 and gap.join(parts).cell_length > width:
        parts.pop()
    return gap.join(parts).truncate(max(1, width), ellipsis=True)


def _part(gauge: Gauge, bars: bool) -> Content:
    mark, style = MARKS[gauge.state]
    part = Content.styled(f"{mark} {gauge.label} ", style)
    if bars and gauge.fraction is not None:
        part += Content.styled(f"{bar(gauge.fraction, 6)} ", style)
    return part + Content(clean_line(gauge.reading))


class Gauges(Static):
    """Seen only while an answer with rules is written."""

    def __init__(self) -> None:
        super().__init__("", id="gauges", markup=False)
        self._shown: tuple[Gauge, ...] = ()

    def show(self, gauges: tuple[Gauge, ...], later: int) -> None:
        """Draw what changed."""
        self.set_class(bool(gauges or later), "-on")
        if gauges != self._shown or not gauges:
            self._shown = gauges
            self.update(gauges_line(gauges, later, max(20, self.content_size.width or 80)))

    def hide(self) -> None:
        """No answer is written."""
        self._shown = ()
        self.remove_class("-on")
