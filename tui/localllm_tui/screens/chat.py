"""The one screen: chats, transcript, sources, prompt, status."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import OptionList, Static

from localllm.errors import LocalLLMError
from localllm_tui.actions import bindings
from localllm_tui.screens.key_actions import KeyActions
from localllm_tui.widgets.chat_list import ChatList
from localllm_tui.widgets.gauges import Gauges
from localllm_tui.widgets.hints import Hints
from localllm_tui.widgets.prompt import WRITING, Prompt
from localllm_tui.widgets.sources import Sources
from localllm_tui.widgets.status_line import StatusLine
from localllm_tui.widgets.transcript import Transcript


class ChatScreen(KeyActions):
    """Shows one chat and lets the user do everything."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("anywhere")]
    AUTO_FOCUS = "#prompt"

    def compose(self) -> ComposeResult:
        """The columns, the prompt, the status line."""
        with Horizontal(id="columns"):
            yield ChatList(self.conversation.kept)
            with Vertical(id="middle"):
                yield Static("", id="title", markup=False)
                yield Transcript()
                yield Static("", id="behind", markup=False)
            yield Sources()
        with Vertical(id="prompt-box"):
            yield OptionList(id="completions", compact=True, markup=False)
            yield Gauges()
            yield Static("", id="banner", markup=False)
            with Horizontal(id="prompt-row"):
                yield Static(WRITING, id="prompt-mark", markup=False)
                yield Prompt()
            yield Hints(self.keys)
        yield StatusLine()

    @on(Prompt.ModeChanged)
    def mode_changed(self, news: Prompt.ModeChanged) -> None:
        """The mark before the prompt says what keys do."""
        self.query_one("#prompt-mark", Static).update(news.mark)

    async def on_mount(self) -> None:
        """Resume the last chat; its model loads while the screen is usable."""
        self.status.set(offline=self.settings.offline, activity="loading the model")
        self.prompt.use_key_set(self.key_set)
        try:
            self.prompt.past = self.conversation.kept.prompts(100)[::-1]
            last = self.conversation.kept.last_chat()
            if last is not None:
                self.conversation.open(last.id)
        except LocalLLMError as error:
            self.say(str(error), "error")
        self.load_at_start()
        await self.show_chat()
        self.set_focus(self.prompt)
        if self.keys_problem:
            self.say(self.keys_problem, "warning")
