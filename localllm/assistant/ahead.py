"""What the next prompt begins with, as far as that is certain before the question is asked: it can be read ahead."""

from __future__ import annotations

from collections.abc import Sequence

from localllm.assistant.seams import Rulebook
from localllm.assistant.terms import system_message
from localllm.engine.protocol import Engine
from localllm.events import Message, Role
from localllm.history import Chat, StoredMessage
from localllm.prompt import alternating, fit
from localllm.settings import Settings


def certain_beginning(
    engine: Engine,
    chat: Chat,
    settings: Settings,
    *,
    turns: Sequence[StoredMessage],
    typed: str,
    rulebook: Rulebook | None,
    documents: str | None,
) -> tuple[Message, ...]:
    """The messages that the next prompt begins with; a last message of the user is one that goes on.

    Args:
        engine: Counts tokens, and says how many there may be.
        chat: The chat, for its instructions.
        settings: Those that hold in it.
        turns: The messages before the question.
        typed: The beginning of the question.
        rulebook: Rules of the answer; where they concern questions as well, `typed` is left out.
        documents: What the documents tell the model to do: empty where none are asked, None where that is not known
            before the first question, so that nothing is certain.
    """
    if documents is None:
        return ()
    if documents or (rulebook is not None and rulebook.checks_questions):
        typed = ""
    head = system_message(chat, settings, rulebook.compile(engine, settings) if rulebook else None, documents)
    coming = alternating([*head, *(Message(m.role, m.content) for m in turns), Message(Role.USER, typed)])
    fitted = fit(engine, coming, n_ctx=engine.info.n_ctx, max_tokens=settings.max_tokens).messages
    return fitted if typed else fitted[:-1]
