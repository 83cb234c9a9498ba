"""The row below the prompt: the keys that matter now; clicking one does it."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from localllm_tui.actions import BY_ID, Keys, key_names
from localllm_tui.widgets.message_head import link

HINTS = ("stop", "send", "new_line", "palette", "help", "new_chat", "toggle_chats")
"""The most important ones first; as many as fit."""
IN_MESSAGES = {
    "stop": "stop", "focus_prompt": "prompt", "message_previous": "up", "message_next": "down", "find": "find",
    "open_citation": "sources", "verdict": "rules", "branch_previous": "versions", "palette": "menu", "help": "help",
}  # fmt: skip
"""While a message has the focus; what can be done with the message itself stands below it."""


class Hints(Static):
    """Made from the registry."""

    auto_links = False

    def __init__(self, key_set: str | Keys) -> None:
        super().__init__(id="hints", markup=False)
        self.key_set = key_set
        self.busy = False
        self.in_messages = False

    def on_resize(self) -> None:
        """Another width holds more or fewer."""
        self.show(self.busy)

    def show(self, busy: bool, in_messages: bool | None = None) -> None:
        """The hints of now: `stop` matters only while an answer is written, and a message has keys of its own."""
        self.busy = busy
        self.in_messages = self.in_messages if in_messages is None else in_messages
        row = Content("")
        for action in (BY_ID[name] for name in (IN_MESSAGES if self.in_messages else HINTS)):
            if action.id == "stop" and not busy:
                continue
            name = "wait" if action.id == "send" and busy else action.hint
            if self.in_messages:
                name = IN_MESSAGES[action.id]
            text = link(key_names(action, self.key_set, most=1), f"screen.{action.id}", "bold $md-muted")
            text += link(f" {name}", f"screen.{action.id}")
            joined = row + Content("   ") + text if row else text
            if self.size.width and joined.cell_length > self.content_size.width:
                continue
            row = joined
        self.update(row)
