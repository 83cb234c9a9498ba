"""The chats, in one SQLite file: trees of messages, searched in full, safe against a killed process."""

from __future__ import annotations

from localllm.history.records import Chat, ChatOptions, Hit, MessageState, StoredMessage
from localllm.history.schema import set_aside
from localllm.history.store import History

__all__ = ["Chat", "ChatOptions", "History", "Hit", "MessageState", "StoredMessage", "set_aside"]
