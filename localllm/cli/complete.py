"""What the shell offers after Tab: models, libraries and chats by name. Whatever fails, it offers nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from localllm.errors import LocalLLMError
from localllm.settings import find_paths

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def _names(source: Callable[[], Iterable[str]]) -> Completer:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            return sorted({name for name in source() if name.casefold().startswith(incomplete.casefold())})
        except (LocalLLMError, OSError):
            return []

    return complete


def _models() -> Iterable[str]:
    from localllm.models.shelf import list_models

    return [model.name for model in list_models(find_paths()) if model.usable]


def _libraries() -> Iterable[str]:
    return [path.stem for path in find_paths().libraries.glob("*.db")]


def _chats() -> Iterable[str]:
    from localllm.history import History

    path = find_paths().history
    if not path.exists():
        return []
    with History(path) as history:
        return [chat.title for chat in history.chats() if chat.title]


model_names = _names(_models)
library_names = _names(_libraries)
chat_names = _names(_chats)
