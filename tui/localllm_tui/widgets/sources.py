"""The column of sources: what was put before the model, and what the answer's marks point to."""

from __future__ import annotations

from pathlib import PurePath

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from localllm.events import Citation, Passage, SupportState
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean, clean_line

STATES = {
    SupportState.VERIFIED: ("✓ verified", "$success"),
    SupportState.NEAR: ("≈ near", "$warning"),
    SupportState.NOT_FOUND: ("✗ not found", "$error"),
}


class Sources(VerticalScroll, can_focus=False):
    """One entry per passage."""

    def __init__(self) -> None:
        super().__init__(id="sources")
        self.passages: tuple[Passage, ...] = ()

    async def fill(self, passages: tuple[Passage, ...], citations: tuple[Citation, ...]) -> None:
        """Show the passages of one answer."""
        self.passages = passages
        await self.remove_children()
        widgets = [Static("Sources", classes="column-title", markup=False)]
        for passage in passages:
            widgets.append(SourceView(passage, [c for c in citations if c.n == passage.n]))
        if not passages:
            widgets.append(Static("This answer was given without documents.", classes="source", markup=False))
        await self.mount_all(widgets)


class SourceView(Static, can_focus=True):
    """One passage, its place and how well it supports the answer."""

    def __init__(self, passage: Passage, citations: list[Citation]) -> None:
        self.passage = passage
        super().__init__(source_text(passage, citations), classes="source", markup=False)


def source_text(passage: Passage, citations: list[Citation]) -> Content:
    """``[1] pump.md › Service  ✓ verified`` with place, score and words below."""
    name = clean_line(PurePath(passage.source).name + (f" › {passage.heading}" if passage.heading else ""))
    if citations:
        state, style = min((STATES[c.state] for c in citations), key=lambda s: list(STATES.values()).index(s))
    else:
        state, style = "not used", MUTED
    place = f"page {passage.page}" if passage.page else f"line {passage.line}"
    quote = next((c.quote for c in citations if c.quote), passage.text)
    words = clean(quote).strip()
    if len(words) > 300:
        words = words[:299] + "…"
    return (
        Content.styled(f"[{passage.n}] ", "bold $accent")
        + Content.styled(name, "bold")
        + Content("\n")
        + Content.styled(state, style)
        + Content.styled(f"  {place}, {passage.score:.2f}\n", MUTED)
        + Content(words)
    )
