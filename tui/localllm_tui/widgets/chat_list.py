"""The column of chats: search on top, the last used first."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from localllm.history import Chat, History, Hit
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line

MOST = 200
"""Chats listed at once; search finds the others."""


class ChatList(Vertical):
    """Lists and searches chats."""

    class Chosen(Message):
        """A chat was chosen, and the message in it that the search found."""

        def __init__(self, chat_id: int, message_id: int | None = None) -> None:
            super().__init__()
            self.chat_id = chat_id
            self.message_id = message_id

    def __init__(self, history: History) -> None:
        super().__init__(id="chats")
        self.history = history
        self.current: int | None = None
        self._targets: list[tuple[int, int | None]] = []

    def compose(self) -> ComposeResult:
        """Head, search field and list."""
        yield Static("Chats", classes="column-title", markup=False)
        yield Input(placeholder="Search", id="chat-search", compact=True)
        yield OptionList(id="chat-options", compact=True, markup=False)

    def on_mount(self) -> None:
        """Show them."""
        self.refill()

    def refill(self) -> None:
        """Read the chats again."""
        words = self.query_one(Input).value
        options = self.query_one(OptionList)
        options.clear_options()
        self._targets = []
        entries = self._found(words) if words.strip() else self._all()
        for target, content in entries:
            self._targets.append(target)
            options.add_option(Option(content))
        if not entries:
            text = "Nothing found." if words.strip() else "Your chats will be here."
            options.add_option(Option(Content.styled(text, MUTED), disabled=True))
        self._mark()

    def _all(self) -> list[tuple[tuple[int, int | None], Content]]:
        return [((chat.id, None), self._entry(chat)) for chat in self.history.chats(limit=MOST)]

    def _entry(self, chat: Chat) -> Content:
        mark = Content.styled("● ", "$accent") if chat.id == self.current else Content("  ")
        title = clean_line(chat.title) or ("Draft" if chat.draft_text else "New chat")
        return mark + (Content.styled(title, "bold") if chat.id == self.current else Content(title))

    def _found(self, words: str) -> list[tuple[tuple[int, int | None], Content]]:
        return [((hit.chat_id, hit.message_id), found_entry(hit)) for hit in self.history.search(words, limit=50)]

    def _mark(self) -> None:
        options = self.query_one(OptionList)
        for n, (chat_id, _) in enumerate(self._targets):
            if chat_id == self.current:
                options.highlighted = n
                return

    def show_current(self, chat_id: int | None) -> None:
        """Mark the chat on the screen."""
        self.current = chat_id
        self.refill()

    def search(self, words: str = "") -> None:
        """Go to the search field."""
        field = self.query_one(Input)
        field.value = words
        if field.focusable:
            self.screen.set_focus(field)  # at once: the next key may be on its way
        else:
            self.call_after_refresh(field.focus)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search as you type."""
        event.stop()
        self.refill()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Open the first one found."""
        event.stop()
        if self._targets:
            self.post_message(self.Chosen(*self._targets[0]))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open it."""
        event.stop()
        if event.option_index < len(self._targets):
            self.post_message(self.Chosen(*self._targets[event.option_index]))

    def on_key(self, event: object) -> None:
        """Down goes from the field into the list."""
        key = getattr(event, "key", "")
        if key == "down" and self.query_one(Input).has_focus:
            self.query_one(OptionList).focus()
            event.stop()  # type: ignore[attr-defined]


def _lead(before: str, width: int = 8) -> str:
    """The last whole words in front of the match: few, as the list is narrow and the match has to be seen."""
    end = before.rstrip()[-width:]
    return end.partition(" ")[2] or end if len(before) > width else end


def found_entry(hit: Hit) -> Content:
    """The title, and the place found below it."""
    title = clean_line(hit.title) or "New chat"
    if hit.message_id is None:
        return Content.styled(title, "bold")
    before, _, rest = hit.snippet.partition("\x02")
    match, _, after = rest.partition("\x03")
    after = after.replace("\x02", "").replace("\x03", "")
    return (
        Content.styled(title + "\n", "bold")
        + Content.styled("  " + _lead(clean_line(before)) + " ", MUTED)
        + Content.styled(clean_line(match), "bold $accent")
        + Content.styled(" " + clean_line(after), MUTED)
    )
