"""What the shell offers after Tab: models, libraries, chats, presets and rule sets by name, or nothing on failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from localllm.errors import LocalLLMError
from localllm.settings import find_paths

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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


def _presets() -> Iterable[str]:
    from localllm.presets import preset_names

    return preset_names(find_paths())


def _rules() -> Iterable[str]:
    # The folder itself: `localllm.rules` would import every check, and this runs at every Tab.
    ready = Path(__file__).parent.parent / "rules" / "sets"
    return [path.stem for folder in (ready, find_paths().rules) for path in folder.glob("*.toml")]


def _rules_and_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    names = [CompletionItem(name) for name in _names(_rules)(ctx, param, incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


def _known() -> Iterable[str]:
    from localllm.models.catalog import catalog

    return ["starter", *(model.name for model in catalog())]


def _all_models() -> Iterable[str]:
    from localllm.models.shelf import list_models

    return [model.name for model in list_models(find_paths())]


model_names = _names(_models)
library_names = _names(_libraries)
chat_names = _names(_chats)
preset_names = _names(_presets)
rule_names = _rules_and_files
"""Names of rule sets; files, where no name begins so."""
draft_names = _names(lambda: ["auto", "none", *_models()])
known_model_names = _names(_known)
"""What `models pull` knows by name."""
any_model_names = _names(_all_models)
"""Embedders and damaged files, too."""
