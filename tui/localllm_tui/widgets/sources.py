"""The column of sources: what was put before the model, and what the answer's marks point to."""

from __future__ import annotations

from pathlib import PurePath
from typing import ClassVar

from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from localllm.events import Citation, Passage, SupportState, place_of
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
        self.message_id = 0
        """The answer that they belong to; 0 while it is being written."""

    async def fill(self, passages: tuple[Passage, ...], citations: tuple[Citation, ...], message_id: int = 0) -> None:
        """Show the passages of one answer."""
        self.passages, self.message_id = passages, message_id
        await self.remove_children()
        widgets = [Static("Sources", classes="column-title", markup=False)]
        for passage in passages:
            widgets.append(SourceView(passage, [c for c in citations if c.n == passage.n]))
        if not passages:
            widgets.append(Static("This answer was given without documents.", classes="source", markup=False))
        await self.mount_all(widgets)


class SourceView(Static, can_focus=True):
    """One passage, its place and how well it supports the answer; Enter or a click opens it."""

    BINDINGS: ClassVar[list[BindingType]] = [("enter", "choose", "Open")]

    class Chosen(Message):
        """It is to be opened."""

        def __init__(self, n: int) -> None:
            super().__init__()
            self.n = n

    def __init__(self, passage: Passage, citations: list[Citation]) -> None:
        self.passage = passage
        super().__init__(source_text(passage, citations), classes="source", markup=False)

    def action_choose(self) -> None:
        """Enter."""
        self.post_message(self.Chosen(self.passage.n))

    def on_click(self) -> None:
        """The mouse."""
        self.action_choose()


def source_text(passage: Passage, citations: list[Citation]) -> Content:
    """``[1] pump.md › Service  ✓ verified`` with place, score and words below."""
    name = clean_line(PurePath(passage.source).name + (f" › {passage.heading}" if passage.heading else ""))
    if citations:
        state, style = min((STATES[c.state] for c in citations), key=lambda s: list(STATES.values()).index(s))
    else:
        state, style = "not used", MUTED
    quote = next((c.quote for c in citations if c.quote), passage.text)
    words = clean(quote).strip()
    if len(words) > 300:
        words = words[:299] + "…"
    return (
        Content.styled(f"[{passage.n}] ", "bold $accent")
        + Content.styled(name, "bold")
        + Content("\n")
        + Content.styled(state, style)
        + Content.styled(f"  {place_of(passage)}, {passage.score:.2f}\n", MUTED)
        + Content(words)
    )
