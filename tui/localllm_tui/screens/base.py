"""What every part of the chat screen builds on: its state, its widgets, the chat it shows, the draft in its prompt."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from textual import events, on
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Static, TextArea

from localllm.counted import counted
from localllm.errors import LocalLLMError
from localllm.events import Role
from localllm.history import ChatOptions, MessageState, StoredMessage
from localllm_tui.actions import Keys
from localllm_tui.conversation import Conversation
from localllm_tui.engine_news import one_line
from localllm_tui.idle import IdleWork
from localllm_tui.markdown.clean import clean_line
from localllm_tui.own_keys import read_own_keys
from localllm_tui.settings_file import SettingsFile
from localllm_tui.turn import Turn
from localllm_tui.widgets.chat_list import ChatList
from localllm_tui.widgets.hints import Hints
from localllm_tui.widgets.message_view import MessageView
from localllm_tui.widgets.prompt import Prompt
from localllm_tui.widgets.sources import Sources
from localllm_tui.widgets.status_line import StatusLine
from localllm_tui.widgets.transcript import Transcript
from localllm_tui.widgets.welcome import Welcome
from localllm_tui.window import Window, around, newest

if TYPE_CHECKING:
    from localllm.assistant import Assistant
    from localllm.settings import Paths, Settings

DRAFT_SECONDS = 1.0
"""How long typing must rest before the draft is stored."""


class ChatBase(Screen[None]):
    """Shows one chat of a conversation.

    Args:
        assistant: Answers; its history holds the chats.
        settings: How it looks and answers.
        paths: Where files are kept.
    """

    @dataclass
    class ModelsFound(Message):
        """The models on this computer that can chat."""

        names: list[str]

    def __init__(self, assistant: Assistant, settings: Settings, paths: Paths) -> None:
        super().__init__()
        self.settings = settings
        self.paths = paths
        self.settings_file = SettingsFile(paths)
        self.key_set = settings.keys
        self.own_keys, self.keys_problem = read_own_keys(paths)
        self.conversation = Conversation(assistant)
        self.turn: Turn | None = None
        self.idle = IdleWork()
        self.queue: list[str] = []
        self.editing: StoredMessage | None = None
        self.no_model: Exception | None = None
        self.downloading = False
        self.window = Window()
        """What of the branch stands on the screen."""
        self._aside = ""
        self._draft_timer: Timer | None = None

    @property
    def keys(self) -> Keys:
        """The keys that hold now."""
        return Keys(self.key_set, self.own_keys)

    # ---- parts ------------------------------------------------------------------------------------------------------

    @property
    def prompt(self) -> Prompt:
        """The prompt."""
        return self.query_one(Prompt)

    @property
    def transcript(self) -> Transcript:
        """The transcript."""
        return self.query_one(Transcript)

    @property
    def status(self) -> StatusLine:
        """The status line."""
        return self.query_one(StatusLine)

    @property
    def chat_list(self) -> ChatList:
        """The column of chats."""
        return self.query_one(ChatList)

    @property
    def sources(self) -> Sources:
        """The column of sources."""
        return self.query_one(Sources)

    @property
    def hints(self) -> Hints:
        """The row of keys."""
        return self.query_one(Hints)

    @on(events.DescendantFocus)
    def focus_moved(self) -> None:
        """The row of keys follows the focus."""
        in_messages = isinstance(self.focused, MessageView)
        if in_messages != self.hints.in_messages:
            self.hints.show(self.hints.busy, in_messages)

    def say(self, text: str, severity: str = "information") -> None:
        """A short notice in the corner."""
        self.notify(clean_line(text), severity=severity, markup=False, timeout=6)  # type: ignore[arg-type]

    def banner(self, text: str) -> None:
        """A line above the prompt; empty hides it."""
        line = self.query_one("#banner", Static)
        line.update(Content.styled(text, "$accent"))
        line.set_class(bool(text), "-on")

    # ---- editing ----------------------------------------------------------------------------------------------------

    def start_editing(self, message: StoredMessage) -> None:
        """Put a message into the prompt; sending it branches off there."""
        if self.editing is None:
            self._aside = self.prompt.text
        self.editing = message
        what = "your question" if message.role is Role.USER else "the answer"
        self.banner(f"Editing {what}: Enter keeps both versions, Esc cancels.")
        self.prompt.put(message.content)
        self.set_focus(self.prompt)

    def stop_editing(self) -> None:
        """Give the prompt back what stood in it."""
        if self.editing is not None:
            self.editing = None
            self.banner("")
            self.prompt.put(self._aside)
            self._aside = ""

    # ---- the chat on the screen -------------------------------------------------------------------------------------

    def open_chat(self, chat_id: int, message_id: int | None = None) -> None:
        """Show another chat, and in it a message."""
        self.run_worker(self._open_chat(chat_id, message_id), exclusive=True, group="open")

    @on(ChatList.Chosen)
    def chat_chosen(self, chosen: ChatList.Chosen) -> None:
        """Show it."""
        self.open_chat(chosen.chat_id, chosen.message_id)

    async def _open_chat(self, chat_id: int, message_id: int | None = None) -> None:
        self.stop_editing()
        self.keep_draft()
        try:
            self.conversation.open(chat_id)
            if message_id is not None and all(m.id != message_id for m in self.conversation.messages()):
                self.conversation.history.set_active_leaf(message_id)
                self.conversation.reload()
        except LocalLLMError as error:
            self.say(str(error), "error")
            self.chat_list.refill()
            return
        self.remove_class("-show-chats")
        await self.show_chat(message_id)
        if message_id is None:
            self.set_focus(self.prompt)

    async def open_new(self, *, temporary: bool = False) -> None:
        """Show an empty chat."""
        self.stop_editing()
        self.keep_draft()
        self.conversation.open_new(temporary=temporary)
        await self.show_chat()
        self.set_focus(self.prompt)

    async def show_chat(self, message_id: int | None = None) -> None:
        """Show the chat of the conversation from the start."""
        chat = self.conversation.chat
        self._show_title()
        self.show_options()
        self.status.set(temporary=self.conversation.temporary, stats=None, context_used=0, dropped=0)
        self.prompt.put(chat.draft_text if chat is not None else "")
        await self.fill(message_id)

    def _show_title(self) -> None:
        chat = self.conversation.chat
        name = clean_line(chat.title) if chat is not None and chat.title else "New chat"
        if self.conversation.temporary:
            name += "  (temporary: kept nowhere)"
        self.query_one("#title", Static).update(name)
        self.chat_list.show_current(chat.id if chat is not None and not self.conversation.temporary else None)

    def show_options(self) -> None:
        """Library and rules of this chat, in the status line."""
        chat = self.conversation.chat
        options = chat.options if chat is not None else ChatOptions()
        docs, rules = options.docs or self.settings.docs, options.rules or self.settings.rules
        self.status.set(docs=clean_line(docs), rules=clean_line(rules))

    def refresh_title(self) -> None:
        """Title and list of chats may have changed."""
        self.conversation.reload()
        self._show_title()

    def shown_messages(self) -> list[StoredMessage]:
        """The active branch; an answer on its way stands as far as the screen has followed it, not as it is stored."""
        turn = self.turn
        return [
            replace(m, content=turn.text, state=MessageState.STREAMING, reason="")
            if turn is not None and not turn.over and m.id == turn.answer_id
            else m
            for m in self.conversation.messages()
        ]

    async def fill(self, message_id: int | None = None, window: Window | None = None) -> None:
        """Mount messages of the active branch: the newest, those around one of them, or those of a window."""
        messages = self.shown_messages()
        n = len(messages)
        at = next((k for k, m in enumerate(messages) if m.id == message_id), n)
        self.window = window or (newest(n) if message_id is None else around(at, n))
        shown = messages[self.window.first : self.window.last]
        entries = [(m, self.conversation.alternatives(m)) for m in shown]
        await self.transcript.fill(entries, self.window.first, n - self.window.end(n))
        if not messages:
            await self._welcome()
        last = next((m for m in reversed(messages) if m.stats is not None), None)
        if last is not None and last.stats is not None:
            self.status.set(stats=last.stats, context_used=last.stats.window_tokens)
        await self.show_sources(next((m for m in reversed(messages) if m.role is Role.ASSISTANT), None))
        if message_id is not None and (view := self.transcript.view_of(message_id)) is not None:
            self.set_focus(view, scroll_visible=False)
            self.call_after_refresh(view.scroll_visible, animate=False, top=True)

    async def _welcome(self) -> None:
        welcome = Welcome()
        await self.transcript.mount(welcome)
        if self.no_model is not None:
            welcome.no_model(one_line(self.no_model), self.settings.offline)
        else:
            info = self.status.status.info
            welcome.ready(info.model if info is not None else "")
            self.run_worker(self._name_models, thread=True, group="welcome", exit_on_error=False)

    def _name_models(self) -> None:
        """What else there is to chat with; a thread reads it from the files."""
        from localllm.models.shelf import list_models

        with suppress(LocalLLMError, OSError):
            self.post_message(self.ModelsFound([m.name for m in list_models(self.paths) if m.usable]))

    @on(ModelsFound)
    def models_found(self, news: ModelsFound) -> None:
        """An empty chat names them."""
        for welcome in self.query(Welcome):
            welcome.found(news.names)

    async def sync(self) -> None:
        """Bring the transcript to the active branch in place: widgets stay, and so does the focus."""
        shown = self.shown_messages()[self.window.first : self.window.last]
        views = self.transcript.views
        if not views or not shown:
            await self.fill()
            return
        if self.window.last is not None and [m.id for m in shown] != [view.message.id for view in views]:
            await self.fill(window=self.window)
            return
        await self.transcript.cut(len(shown))
        for view, message in zip(views, shown, strict=False):
            place = self.conversation.alternatives(message)
            if message != view.message or place != view.place:
                view.show(message, place)
        for message in shown[len(views) :]:
            await self.transcript.add(message, self.conversation.alternatives(message))

    async def show_newest(self) -> None:
        """Bring the end of the branch to the screen."""
        if self.window.last is None:
            await self.sync()
        else:
            await self.fill()
        self.transcript.to_end()

    async def show_first(self) -> None:
        """Bring the beginning of the branch to the screen."""
        messages = self.conversation.messages() if self.window.first else []
        if messages:
            await self.fill(window=around(0, len(messages)))

    async def show_sources(self, message: StoredMessage | None) -> None:
        """The passages behind an answer, where there are any."""
        passages = message.passages if message is not None else ()
        self.set_class(bool(passages), "-has-sources")
        citations, number = (message.citations, message.id) if message is not None else ((), 0)
        await self.sources.fill(passages, citations, number)

    @on(Transcript.Behind)
    def behind(self, news: Transcript.Behind) -> None:
        """Say that there is more below."""
        line = self.query_one("#behind", Static)
        line.update(f"↓ {counted(news.lines, 'new line')} below, End shows them")
        line.set_class(news.lines > 0, "-on")

    @on(Transcript.Earlier)
    async def load_earlier(self) -> None:
        """Show more of the beginning."""
        if self.transcript.views:
            window = self.window.earlier(len(self.conversation.messages()))
            await self.fill(self.transcript.views[0].message.id, window)

    @on(Transcript.Later)
    async def load_later(self) -> None:
        """Show more of the end."""
        if self.transcript.views:
            window = self.window.later(len(self.conversation.messages()))
            await self.fill(self.transcript.views[-1].message.id, window)

    # ---- drafts -----------------------------------------------------------------------------------------------------

    def keep_draft(self) -> None:
        """Store what stands in the prompt."""
        text = self.prompt.full_text if self.editing is None else self.prompt.pasted.unfold(self._aside)
        if text.startswith("/"):  # a command is no draft
            return
        try:
            self.conversation.save_draft(text)
        except LocalLLMError as error:
            self.say(str(error), "error")

    @on(TextArea.Changed, "#prompt")
    def prompt_changed(self) -> None:
        """Store the draft when typing rests."""
        if self._draft_timer is not None:
            self._draft_timer.stop()
        self._draft_timer = self.set_timer(DRAFT_SECONDS, self.keep_draft)
