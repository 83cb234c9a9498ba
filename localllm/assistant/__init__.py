"""One turn, start to finish: the one stream of events that screen, command line, server and tests consume."""

from __future__ import annotations

from localllm.assistant.assistant import Assistant
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
from localllm.assistant.terms import chat_settings, session_name

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
