"""The idle time of the engine: the coming prompt is read in advance, and a new chat gets its title."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Literal

from textual import on
from textual.message import Message
from textual.timer import Timer
from textual.widgets import TextArea

from localllm.events import Role
from localllm_tui.screens.base import ChatBase

TYPING_SECONDS = 0.3
"""While the user types, what is new is read this often at most."""


class ReadingAhead(ChatBase):
    """Uses the time in which no answer is written; `idle.stop` gives the engine back at once."""

    _typing: Timer | None = None
    _untitled: int | None = None
    """A chat of the history that is to be named when there is time."""

    @dataclass
    class Titled(Message):
        """The model was asked to name a chat."""

        chat_id: int
        title: str
        """Empty where it wrote nothing that can be used."""

    def on_unmount(self) -> None:
        """Nothing goes on behind the app."""
        self.idle.close()

    async def show_chat(self, message_id: int | None = None) -> None:
        """Another chat: what was read for the last one is of no use any more."""
        self.idle.stop()
        await super().show_chat(message_id)
        self.read_ahead()

    @on(TextArea.Changed, "#prompt")
    def typed_on(self) -> None:
        """Read on in a moment."""
        if self._typing is None:
            self._typing = self.set_timer(TYPING_SECONDS, self._read_typed)

    def _read_typed(self) -> None:
        self._typing = None
        self.read_ahead()

    def read_ahead(self, entitle: int | None = None) -> None:
        """Let the engine read what is certain of the coming prompt; before that, let it name the chat `entitle`."""
        self._untitled = entitle or self._untitled
        if self.turn is not None or not self.is_mounted:
            return
        conversation, editing, untitled = self.conversation, self.editing, self._untitled
        assistant, chat = conversation.assistant, conversation.chat
        chat_id = chat.id if chat is not None else None
        typed = certain_part(self.prompt.full_text)
        parent: int | Literal["leaf"] | None = "leaf"
        if editing is not None and editing.role is Role.USER:
            parent = editing.parent_id

        def work(cancel: threading.Event) -> None:
            if untitled is not None:
                title = conversation.write_title(untitled, cancel)
                if title or not cancel.is_set():
                    self.post_message(self.Titled(untitled, title))
            if not cancel.is_set():
                assistant.read_ahead(chat_id, typed, parent=parent, cancel=cancel)

        self.idle.wish(work)

    @on(Titled)
    def titled(self, news: Titled) -> None:
        """Show the name; it is not asked again."""
        chat = self.conversation.chat
        if self._untitled == news.chat_id:
            self._untitled = None
        if not news.title:
            return
        if chat is not None and chat.id == news.chat_id and not self.conversation.temporary:
            self.refresh_title()
        else:
            self.chat_list.refill()


def certain_part(text: str) -> str:
    """What stands in the prompt without its last word, which may still change; nothing of a command."""
    last = re.search(r"\s\S*\Z", text)
    return text[: last.start()].rstrip() if last and not text.startswith("/") else ""
