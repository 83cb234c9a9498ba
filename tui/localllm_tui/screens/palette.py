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
from localllm_tui.fuzzy import Found, find
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line

if TYPE_CHECKING:
    from localllm_tui.screens.chat import ChatScreen

HIDDEN = frozenset({"palette", "new_line"})
"""Actions that make no sense from within the palette."""
ACTIONS_FIRST = 0.05
"""How much better an action counts than a chat or a model that is found as well."""
SEARCHED, LISTED = 1000, 100
"""Earlier prompts that are looked through, and of them the ones that are shown."""


class ChatProvider(Provider):
    """Finds what has to do with the chat screen, with brackets in names as they are."""

    @property
    def chat_screen(self) -> ChatScreen:
        """The one screen."""
        return cast("ChatScreen", self.screen)

    def marked(self, text: str, found: Found | None) -> Content:
        """The text with the letters that were found."""
        return found.marked(text, self.match_style or Style(reverse=True)) if found is not None else Content(text)


class Everything(ChatProvider):
    """Actions, chats, models, libraries and presets."""

    def __init__(self, screen: Screen[object], match_style: Style | None = None) -> None:
        super().__init__(screen, match_style)
        self._things: list[Thing] = []

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
        screen = self.chat_screen
        for action in ACTIONS:
            found, slash = find(query, action.title), find(query, action.slash)
            score = max((f.score for f in (found, slash) if f is not None), default=0.0)
            if score > 0 and action.id not in HIDDEN:
                display = self.marked(action.title, found) + _aside(key_names(action, screen.keys, most=1))
                yield Hit(score + ACTIONS_FIRST, display, partial(screen.run_by_id, action.id), text=action.title)
        for thing in self._things:
            if (found := find(query, thing.name)) is not None:
                display = self.marked(thing.name, found) + _aside(thing.kind)
                yield Hit(found.score, display, thing.call, text=thing.name)


class PastPrompts(ChatProvider):
    """What the user sent before, in any chat."""

    _prompts: tuple[str, ...] = ()

    async def startup(self) -> None:
        """Those of this session, temporary chats included, and those that are kept: newest first, each once."""
        screen = self.chat_screen
        kept: list[str] = []
        with suppress(LocalLLMError):
            kept = await asyncio.to_thread(screen.conversation.kept.prompts, SEARCHED)
        texts = [*reversed(screen.prompt.past), *kept]
        self._prompts = tuple(dict.fromkeys(text for text in texts if text.strip()))

    async def discover(self) -> Hits:
        """The newest first."""
        for text in self._prompts[:LISTED]:
            line = _short(text)
            yield DiscoveryHit(Content(line), partial(self.chat_screen.put_prompt, text), text=line)

    async def search(self, query: str) -> Hits:
        """By their words, or the letters of these; the newest first where they are as good."""
        lines = [(text, _short(text)) for text in self._prompts]
        found = [(hit, text, line) for text, line in lines if (hit := find(query, line)) is not None]
        for hit, text, line in sorted(found, key=lambda entry: -entry[0].score)[:LISTED]:
            yield Hit(hit.score, self.marked(line, hit), partial(self.chat_screen.put_prompt, text), text=line)


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
