"""What holds in a chat: its settings, its system message, and which of its turns the model is told."""

from __future__ import annotations

from collections.abc import Sequence

from localllm.assistant.seams import AnswerRules
from localllm.engine.protocol import Sampling
from localllm.errors import SettingsError
from localllm.events import Message, Role
from localllm.history import Chat, ChatOptions, StoredMessage
from localllm.settings import Settings


def answered(path: Sequence[StoredMessage]) -> list[StoredMessage]:
    """The messages of a branch without answers that stayed empty, and without the questions that they were for."""
    failed = {m.id for m in path if m.role is Role.ASSISTANT and not m.content.strip()}
    failed |= {m.parent_id for m in path if m.id in failed and m.parent_id is not None}
    return [m for m in path if m.id not in failed]


def system_message(chat: Chat, settings: Settings, rules: AnswerRules | None, documents: str) -> list[Message]:
    """The system message: the chat's own instructions, then those of rules and documents; none where nobody has any."""
    instructions = (chat.system or settings.system, rules and rules.system, documents)
    system = "\n\n".join(part for part in instructions if part)
    return [Message(Role.SYSTEM, system)] if system else []


def session_name(chat_id: int) -> str:
    """The name under which an engine keeps the state of a chat on disk."""
    return f"chat-{chat_id}"


def chat_settings(settings: Settings, options: ChatOptions) -> Settings:
    """The settings with what a chat asks for on top.

    Raises:
        SettingsError: The chat holds a value that can't be used.
    """
    try:
        changed = settings.with_changes(**options.settings)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"The chat's own settings can't be used: {error}.", "Change them in the chat.") from error
    return changed.with_changes(docs=options.docs or None, rules=options.rules or None)


def sampling_of(settings: Settings) -> Sampling:
    """The settings of sampling as the engine takes them."""
    return Sampling(
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        min_p=settings.min_p,
        repeat_penalty=settings.repeat_penalty,
        seed=None if settings.seed < 0 else settings.seed,
    )
