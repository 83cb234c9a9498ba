"""localllm: a private assistant in your terminal, and the library beneath it.

    from localllm import Settings, Token, find_paths, open_assistant

    with open_assistant(Settings(temperature=0.2), find_paths()) as assistant:
        chat = assistant.history.create_chat()
        for event in assistant.send(chat.id, "Why is the sky blue?"):
            if isinstance(event, Token):
                print(event.text, end="", flush=True)

Names are imported when they are first used, so that ``import localllm`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localllm.assistant import Assistant
    from localllm.engine.protocol import ConstraintSpec, Embedder, Engine, EngineInfo, EngineSpec, Request, Sampling
    from localllm.errors import LocalLLMError
    from localllm.events import (
        Citation,
        ContextUse,
        Event,
        Finished,
        FinishReason,
        Loading,
        Message,
        Passage,
        Prefilling,
        Repairing,
        Retrieved,
        Role,
        Stats,
        Token,
        TurnStarted,
        Verdict,
        Violation,
    )
    from localllm.history import Chat, ChatOptions, History, StoredMessage
    from localllm.open import engine_spec, open_assistant, open_engine
    from localllm.settings import Paths, Settings, find_paths, load_settings

__version__ = "0.1.0"

_HOMES = {
    "assistant": ("Assistant",),
    "engine.protocol": (
        "ConstraintSpec",
        "Embedder",
        "Engine",
        "EngineInfo",
        "EngineSpec",
        "Request",
        "Sampling",
    ),
    "errors": ("LocalLLMError",),
    "events": (
        "Citation",
        "ContextUse",
        "Event",
        "FinishReason",
        "Finished",
        "Loading",
        "Message",
        "Passage",
        "Prefilling",
        "Repairing",
        "Retrieved",
        "Role",
        "Stats",
        "Token",
        "TurnStarted",
        "Verdict",
        "Violation",
    ),
    "history": ("Chat", "ChatOptions", "History", "StoredMessage"),
    "open": ("engine_spec", "open_assistant", "open_engine"),
    "settings": ("Paths", "Settings", "find_paths", "load_settings"),
}
_MODULE_OF = {name: f"localllm.{module}" for module, names in _HOMES.items() for name in names}

__all__ = [
    "Assistant",
    "Chat",
    "ChatOptions",
    "Citation",
    "ConstraintSpec",
    "ContextUse",
    "Embedder",
    "Engine",
    "EngineInfo",
    "EngineSpec",
    "Event",
    "FinishReason",
    "Finished",
    "History",
    "Loading",
    "LocalLLMError",
    "Message",
    "Passage",
    "Paths",
    "Prefilling",
    "Repairing",
    "Request",
    "Retrieved",
    "Role",
    "Sampling",
    "Settings",
    "Stats",
    "StoredMessage",
    "Token",
    "TurnStarted",
    "Verdict",
    "Violation",
    "engine_spec",
    "find_paths",
    "load_settings",
    "open_assistant",
    "open_engine",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'localllm' has no attribute {name!r}")
    value: object = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
