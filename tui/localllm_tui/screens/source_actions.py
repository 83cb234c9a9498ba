"""Actions of sources: their column, one of them opened, its document opened with the desktop's own program."""

from __future__ import annotations

from functools import partial

from textual import on

from localllm.errors import LocalLLMError
from localllm.events import Passage, Role
from localllm.history import StoredMessage
from localllm_tui import opener
from localllm_tui.screens.chat_actions import ChatActions
from localllm_tui.screens.citation import CitationScreen, first_source, source_numbers, source_path
from localllm_tui.widgets.sources import SourceView


class SourceActions(ChatActions):
    """What can be done with the passages behind an answer."""

    _last_source = (0, 0)
    """Message and number of the source that was looked at last."""

    def action_toggle_sources(self) -> None:
        """Beside the transcript where there is room, else over it."""
        if self.has_class("-w120") and self.has_class("-has-sources"):
            self.toggle_class("-hide-sources")
        else:
            self.remove_class("-show-chats")
            self.toggle_class("-show-sources")

    def action_citation(self, n: int, message_id: int = 0) -> None:
        """Open source `n` of an answer: by default the one in focus, or the last one."""
        message = self.conversation.history.message(message_id) if message_id else self._answer_here()
        if message is None or n not in source_numbers(message):
            self.say(f"There is no source [{n}] with this answer.")
            return
        screen = CitationScreen(message, n, self._read_source, self.open_document, self.keys)
        self.app.push_screen(screen, partial(self._looked_at, message.id))

    def _looked_at(self, message_id: int, n: int | None) -> None:
        self._last_source = (message_id, n or 0)

    @on(SourceView.Chosen)
    def source_chosen(self, chosen: SourceView.Chosen) -> None:
        """Open it, of the answer that the column is about."""
        self.action_citation(chosen.n, self.sources.message_id)

    def action_open_citation(self) -> None:
        """The first source of the answer in focus."""
        if (message := self._answer_with_sources()) is not None:
            self.action_citation(first_source(message), message.id)

    def action_source_next(self) -> None:
        """The source behind the one that was looked at last, or the first one."""
        self._open_beside(1)

    def action_source_previous(self) -> None:
        """The source before the one that was looked at last, or the first one."""
        self._open_beside(-1)

    def _open_beside(self, step: int) -> None:
        if (message := self._answer_with_sources()) is None:
            return
        numbers, (message_id, n) = source_numbers(message), self._last_source
        known = message_id == message.id and n in numbers
        number = numbers[(numbers.index(n) + step) % len(numbers)] if known else first_source(message)
        self.action_citation(number, message.id)

    def action_open_document(self) -> None:
        """The document of the source that was looked at last, or of the first one."""
        if (message := self._answer_with_sources()) is not None:
            message_id, n = self._last_source
            self.open_document(source_path(message, n if message_id == message.id else first_source(message)))

    def open_document(self, path: str) -> None:
        """Let the desktop open a document, and say what comes of it; the app goes on meanwhile."""
        try:
            self.say(opener.open_document(path, partial(self.call_later, self._not_opened)))
        except LocalLLMError as error:
            self.say(str(error), "warning")

    def _not_opened(self, why: str) -> None:
        self.say(why, "warning")

    def _answer_here(self) -> StoredMessage | None:
        here = self._here
        if here is not None and here.message.role is Role.ASSISTANT:
            return here.message
        return self._last(Role.ASSISTANT)

    def _answer_with_sources(self) -> StoredMessage | None:
        message = self._answer_here()
        if message is not None and source_numbers(message):
            return message
        self.say("This answer was given without documents.")
        return None

    def _read_source(self, passage: Passage) -> str | None:
        """The document around a passage, from the library of this chat."""
        from localllm.rag.index import Library

        chat = self.conversation.chat
        name = (chat.options.docs if chat is not None else "") or self.settings.docs
        try:
            path = self.paths.library(name) if name else None
            if path is None or not path.exists():
                return None
            with Library(path) as library:
                document = next((d for d in library.documents() if d.source == passage.source), None)
                return library.text(document.content).text if document is not None and document.content else None
        except (LocalLLMError, ValueError, KeyError):
            return None
