"""The chat on the screen: what it holds, and the turns that are started in it. Knows nothing of widgets."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

from localllm.assistant import Assistant
from localllm.engine.protocol import Cancel
from localllm.events import Role
from localllm.history import Chat, ChatOptions, History, StoredMessage
from localllm.settings import Settings
from localllm_tui.turn import Start, Turn

Notify = Callable[[Turn], None]


class Conversation:
    """One chat at a time, of the history or of memory alone.

    Args:
        assistant: Answers; its history holds the chats.
    """

    def __init__(self, assistant: Assistant) -> None:
        self._lasting = assistant
        # A temporary chat has the same engine and a history in memory: a shallow copy shares the engine's place.
        self._fleeting = copy.copy(assistant)
        self._fleeting.history = History(None)
        self.temporary = False
        self.chat: Chat | None = None
        """None until the first question of a new chat."""

    @property
    def assistant(self) -> Assistant:
        """Whoever answers in the present chat."""
        return self._fleeting if self.temporary else self._lasting

    @property
    def history(self) -> History:
        """Where the present chat is kept."""
        return self.assistant.history

    @property
    def kept(self) -> History:
        """The chats that last."""
        return self._lasting.history

    # ---- which chat -------------------------------------------------------------------------------------------------

    def open(self, chat_id: int) -> None:
        """Show a chat of the history.

        Raises:
            ChatNotFound: It is gone.
        """
        self.temporary = False
        self.chat = self.kept.chat(chat_id)

    def open_new(self, *, temporary: bool = False) -> None:
        """Show an empty chat; it is stored with its first question."""
        self.temporary = temporary
        self.chat = None

    def reload(self) -> None:
        """Read title and options of the present chat again."""
        if self.chat is not None:
            self.chat = self.history.chat(self.chat.id)

    def ensure_chat(self) -> Chat:
        """The present chat, made if need be."""
        if self.chat is None:
            self.chat = self.history.create_chat(system=self.assistant.settings.system)
        return self.chat

    def messages(self) -> list[StoredMessage]:
        """The active branch, first message first."""
        return self.history.path(self.chat.id) if self.chat is not None else []

    # ---- drafts -----------------------------------------------------------------------------------------------------

    def save_draft(self, text: str) -> None:
        """Keep what stands in the prompt. A new chat is stored for it, unless there is nothing to keep."""
        if self.temporary or (self.chat is None and not text.strip()):
            return
        chat = self.ensure_chat()
        if chat.draft_text != text:
            self.history.save_draft(chat.id, text)
            self.chat = self.history.chat(chat.id)

    def write_title(self, chat_id: int, cancel: Cancel) -> str:
        """Let the model name a chat of the history; empty where it keeps its own title."""
        return self._lasting.write_title(chat_id, cancel=cancel)

    # ---- turns ------------------------------------------------------------------------------------------------------

    def send(self, text: str, notify: Notify, *, parent: int | Literal["leaf"] | None = "leaf") -> Turn:
        """Ask a question, at the end or as another child of `parent`."""
        chat, assistant = self.ensure_chat(), self.assistant
        return self._begin(lambda cancel: assistant.send(chat.id, text, cancel=cancel, parent=parent), notify)

    def regenerate(self, message_id: int, notify: Notify) -> Turn:
        """Answer again, beside this answer."""
        assistant = self.assistant
        return self._begin(lambda cancel: assistant.regenerate(message_id, cancel=cancel), notify)

    def repair(self, message_id: int, feedback: str, notify: Notify) -> Turn:
        """Answer again, beside this answer, and tell the model its faults."""
        assistant = self.assistant
        return self._begin(lambda cancel: assistant.regenerate(message_id, cancel=cancel, feedback=feedback), notify)

    def continue_(self, message: StoredMessage, notify: Notify) -> Turn:
        """Go on behind this answer."""
        assistant = self.assistant
        return self._begin(lambda cancel: assistant.continue_(message.id, cancel=cancel), notify, message.content)

    def _begin(self, start: Start, notify: Notify, prefix: str = "") -> Turn:
        turn = Turn(self.ensure_chat().id, start, notify, temporary=self.temporary, prefix=prefix)
        turn.begin()
        return turn

    # ---- the tree ---------------------------------------------------------------------------------------------------

    def edit_answer(self, message: StoredMessage, text: str) -> StoredMessage:
        """Put an edited answer beside the old one; it can be continued."""
        return self.history.add_message(
            message.chat_id, Role.ASSISTANT, text, parent=message.parent_id, model=message.model
        )

    def alternatives(self, message: StoredMessage) -> tuple[int, int]:
        """Place of the message among its siblings, from 1, and how many there are."""
        ids = [sibling.id for sibling in self.history.siblings(message.id)]
        return ids.index(message.id) + 1, len(ids)

    def switch(self, message: StoredMessage, step: int) -> bool:
        """Show the branch of the sibling `step` places on; False where there is none."""
        ids = [sibling.id for sibling in self.history.siblings(message.id)]
        at = ids.index(message.id) + step
        if not 0 <= at < len(ids):
            return False
        self.history.set_active_leaf(ids[at])
        return True

    def use_settings(self, settings: Settings) -> None:
        """Answer with these settings from the next question on."""
        self._lasting.settings = self._fleeting.settings = settings

    def set_options(self, options: ChatOptions) -> None:
        """What this chat asks for on top of the settings."""
        self.history.set_options(self.ensure_chat().id, options)
        self.reload()
