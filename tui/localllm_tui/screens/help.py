"""Help: every action with its keys, made from the registry; clicking one does it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.style import Style
from textual.widgets import Static

from localllm_tui.actions import ACTIONS, GROUPS, Keys, key_names
from localllm_tui.markdown.blocks import MUTED


class Help(ModalScreen[str | None]):
    """The id of the action that was clicked, None when closed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q", "close", "Close", show=False)]

    def __init__(self, key_set: str | Keys) -> None:
        super().__init__()
        self.key_set = key_set

    def compose(self) -> ComposeResult:
        """One scrolling page."""
        with VerticalScroll(classes="dialog tall"):
            yield Static("Help", classes="title", markup=False)
            page = Static(help_text(self.key_set), markup=False)
            page.auto_links = False
            yield page
            yield Static("Esc closes. A click on a line does it.", classes="hint", markup=False)

    def on_mount(self) -> None:
        """Ready to scroll."""
        self.query_one(VerticalScroll).focus()

    def action_do(self, action_id: str) -> None:
        """Close and do it."""
        if self.is_current:
            self.dismiss(action_id)

    def action_close(self) -> None:
        """Back to the chat."""
        if self.is_current:
            self.dismiss(None)


def help_text(key_set: str | Keys) -> Content:
    """All groups of actions."""
    lines: list[Content] = []
    for group in GROUPS:
        lines += [Content(""), Content.styled(group, "bold $accent")]
        for action in ACTIONS:
            if action.group != group:
                continue
            keys = key_names(action, key_set, most=2) or f"/{action.slash}"
            slash = f"  /{action.slash}" if action.slash and action.keys_in(key_set) else ""
            place = "  in the messages" if action.where == "transcript" else ""
            line = Content.styled(f"{keys:<20}", "bold") + Content(action.title) + Content.styled(place + slash, MUTED)
            lines.append(line.stylize(Style.from_meta({"@click": f"screen.do('{action.id}')"})))
    return Content("\n").join(lines)
