"""One turn, start to finish: the one stream of events that screen, command line, server and tests consume."""

from __future__ import annotations

from localllm.assistant.assistant import Assistant, chat_settings, session_name
from localllm.assistant.seams import (
    AnswerRules,
    Broken,
    Checked,
    Grounded,
    Grounding,
    Monitor,
    Repair,
    Retriever,
    Rulebook,
)

__all__ = [
    "AnswerRules",
    "Assistant",
    "Broken",
    "Checked",
    "Grounded",
    "Grounding",
    "Monitor",
    "Repair",
    "Retriever",
    "Rulebook",
    "chat_settings",
    "session_name",
]
