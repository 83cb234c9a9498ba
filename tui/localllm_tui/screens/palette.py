"""The palette: every action, chat, model, library and preset, found by a few letters; and earlier prompts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content
from textual.screen import Screen
from textual.style import Style

from localllm.errors import LocalLLMError
from localllm_tui.actions import ACTIONS, key_names
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line

if TYPE_CHECKING:
    from localllm_tui.screens.chat import ChatScreen

HIDDEN = frozenset({"palette", "new_line"})
"""Actions that make no sense from within the palette."""


class Everything(Provider):
    """Actions, chats, models, libraries and presets."""

    def __init__(self, screen: Screen[object], match_style: Style | None = None) -> None:
        super().__init__(screen, match_style)
        self._things: list[Thing] = []

    @property
    def chat_screen(self) -> ChatScreen:
        """The one screen."""
        return cast("ChatScreen", self.screen)

    async def startup(self) -> None:
        """What lies in files is read once for each opening of the palette, in a thread."""
        self._things = await asyncio.to_thread(things, self.chat_screen)

    async def discover(self) -> Hits:
        """Before anything is typed: the actions."""
        for action in ACTIONS:
            if action.id not in HIDDEN:
                keys = key_names(action, self.chat_screen.keys, most=1)
                display = Content(action.title) + _aside(keys or f"/{action.slash}")
                yield DiscoveryHit(display, partial(self.chat_screen.run_by_id, action.id), text=action.title)

    async def search(self, query: str) -> Hits:
        """Actions by title and command, the rest by name."""
        screen, matcher = self.chat_screen, self.matcher(query)
        for action in ACTIONS:
            score = max(matcher.match(action.title), matcher.match(action.slash) if action.slash else 0)
            if score > 0 and action.id not in HIDDEN:
                display = matcher.highlight(action.title) + _aside(key_names(action, screen.keys, most=1))
                yield Hit(score + 0.5, display, partial(screen.run_by_id, action.id), text=action.title)
        for thing in self._things:
            if thing.name and (score := matcher.match(thing.name)) > 0:
                yield Hit(score, matcher.highlight(thing.name) + _aside(thing.kind), thing.call, text=thing.name)


class PastPrompts(Provider):
    """What the user sent before, in any chat."""

    async def discover(self) -> Hits:
        """The newest first."""
        for text in self._prompts():
            yield DiscoveryHit(_short(text), partial(self._put, text))

    async def search(self, query: str) -> Hits:
        """By their words, or the first letters of these."""
        matcher = self.matcher(query)
        for text in self._prompts():
            line = _short(text)
            if (score := matcher.match(line)) > 0:
                yield Hit(score, matcher.highlight(line), partial(self._put, text))

    def _prompts(self) -> list[str]:
        past = cast("ChatScreen", self.screen).prompt.past
        return list(dict.fromkeys(text for text in reversed(past) if text.strip()))

    def _put(self, text: str) -> None:
        cast("ChatScreen", self.screen).put_prompt(text)


@dataclass(frozen=True)
class Thing:
    """Something that has a name, and what choosing it does."""

    name: str
    kind: str
    call: Callable[[], object]


def things(screen: ChatScreen) -> list[Thing]:
    """Chats, models, libraries and presets."""
    from localllm.models.shelf import list_models
    from localllm.presets import preset_names

    paths = screen.paths
    found = [
        Thing(clean_line(chat.title), "chat", partial(screen.open_chat, chat.id))
        for chat in screen.conversation.kept.chats(limit=500)
    ]
    with suppress(LocalLLMError, OSError):
        found += [
            Thing(clean_line(model.name), "switch to this model", partial(screen.use_model, model.path))
            for model in list_models(paths)
            if model.usable
        ]
    with suppress(OSError):
        names = sorted(path.stem for path in paths.libraries.glob("*.db"))
        found += [Thing(clean_line(n), "ask this library", partial(screen.use_library, n)) for n in names]
    found += [Thing(n, "use this preset", partial(screen.use_preset, n)) for n in preset_names(paths)]
    return found


def _aside(text: str) -> Content:
    return Content.styled(f"  {text}", MUTED) if text else Content("")


def _short(text: str) -> str:
    line = clean_line(text)
    return line if len(line) <= 120 else line[:119] + "…"
