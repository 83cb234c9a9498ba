"""The row below the prompt: the keys that matter now; clicking one does it."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from localllm_tui.actions import BY_ID, Keys, key_names
from localllm_tui.widgets.message_head import link

HINTS = ("stop", "send", "new_line", "palette", "help", "new_chat", "toggle_chats")
"""The most important ones first; as many as fit."""


class Hints(Static):
    """Made from the registry."""

    auto_links = False

    def __init__(self, key_set: str | Keys) -> None:
        super().__init__(id="hints", markup=False)
        self.key_set = key_set
        self.busy = False

    def on_resize(self) -> None:
        """Another width holds more or fewer."""
        self.show(self.busy)

    def show(self, busy: bool) -> None:
        """The hints of now: `stop` matters only while an answer is written."""
        self.busy = busy
        row = Content("")
        for action in (BY_ID[name] for name in HINTS):
            if action.id == "stop" and not busy:
                continue
            name = "wait" if action.id == "send" and busy else action.hint
            text = link(key_names(action, self.key_set, most=1), f"screen.{action.id}", "bold $md-muted")
            text += link(f" {name}", f"screen.{action.id}")
            joined = row + Content("   ") + text if row else text
            if self.size.width and joined.cell_length > self.content_size.width:
                continue
            row = joined
        self.update(row)
