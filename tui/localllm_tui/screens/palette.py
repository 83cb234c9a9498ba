"""The palette: every action, every chat, every model, found by a few letters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from localllm_tui.actions import ACTIONS, key_names
from localllm_tui.markdown.clean import clean_line

if TYPE_CHECKING:
    from localllm_tui.screens.chat import ChatScreen

HIDDEN = frozenset({"palette", "new_line"})
"""Actions that make no sense from within the palette."""


class Everything(Provider):
    """Actions and chats."""

    @property
    def chat_screen(self) -> ChatScreen:
        """The one screen."""
        return cast("ChatScreen", self.screen)

    async def discover(self) -> Hits:
        """Before anything is typed: the actions."""
        for action in ACTIONS:
            if action.id not in HIDDEN:
                keys = key_names(action, self.chat_screen.keys, most=1)
                yield DiscoveryHit(action.title, partial(self.chat_screen.run_by_id, action.id), help=keys or None)

    async def search(self, query: str) -> Hits:
        """Actions by title and command, chats by title."""
        screen, matcher = self.chat_screen, self.matcher(query)
        for action in ACTIONS:
            score = max(matcher.match(action.title), matcher.match(action.slash) if action.slash else 0)
            if score > 0 and action.id not in HIDDEN:
                keys = key_names(action, screen.keys, most=1)
                call = partial(screen.run_by_id, action.id)
                yield Hit(score + 0.5, matcher.highlight(action.title), call, help=keys or None)
        for chat in screen.conversation.kept.chats(limit=500):
            title = clean_line(chat.title)
            if title and (score := matcher.match(title)) > 0:
                yield Hit(score, matcher.highlight(title), partial(screen.open_chat, chat.id), help="chat")
