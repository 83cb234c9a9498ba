"""Help: every action with its keys, made from the registry; clicking one does it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.style import Style
from textual.widgets import Static

from localllm_tui.actions import ACTIONS, GROUPS, PLACES, Keys, key_names
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.wrap import wrap


class Help(ModalScreen[str | None]):
    """The id of the action that was clicked, None when closed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q", "close", "Close", show=False)]
    CSS = """
    Help .dialog { width: 95%; max-width: 100; }
    """

    def __init__(self, key_set: str | Keys) -> None:
        super().__init__()
        self.key_set = key_set

    def compose(self) -> ComposeResult:
        """One scrolling page."""
        with VerticalScroll(classes="dialog tall"):
            yield Static("Help", classes="title", markup=False)
            yield HelpPage(self.key_set)
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


class HelpPage(Static):
    """The actions, laid out for the width there is."""

    auto_links = False

    def __init__(self, key_set: str | Keys) -> None:
        super().__init__(markup=False)
        self._key_set = key_set

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Rows at this width."""
        return help_text(self._key_set, width).plain.count("\n") + 1

    def render(self) -> Content:
        """The rows."""
        return help_text(self._key_set, self.content_size.width)


def help_text(key_set: str | Keys, width: int = 0) -> Content:
    """All groups of actions; with a width, rows that hang behind their keys."""
    lines: list[Content] = []
    for group in GROUPS:
        lines += [Content(""), Content.styled(group, "bold $accent")]
        for action in ACTIONS:
            if action.group != group:
                continue
            keys = key_names(action, key_set, most=2) or f"/{action.slash}"
            slash = f"  /{action.slash}" if action.slash and action.keys_in(key_set) else ""
            place = "" if action.where in ("anywhere", "prompt") else f"  {PLACES[action.where]}"
            head = Content.styled(f"{keys:<20}", "bold")
            text = Content(action.title) + Content.styled(place + slash, MUTED)
            click = Style.from_meta({"@click": f"screen.do('{action.id}')"})
            lines += [line.stylize(click) for line in _hanging(head, text, width)]
    return Content("\n").join(lines)


def _hanging(head: Content, text: Content, width: int) -> list[Content]:
    room = width - head.cell_length
    if not width or text.cell_length <= room >= 24:
        return [head + text]
    if room < 24:  # too narrow for two columns
        head, room, indent = head.rstrip(), width - 2, Content("  ")
        return [head, *[indent + text[start:end] for start, end in wrap(text.plain, max(1, room))]]
    rows = [text[start:end] for start, end in wrap(text.plain, room)]
    return [(Content(" " * head.cell_length) if n else head) + row for n, row in enumerate(rows)]
