"""Actions of chats and of the prompt."""

from __future__ import annotations

from pathlib import Path

from textual import work

from localllm.counted import counted
from localllm.errors import LocalLLMError
from localllm_tui import editor
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.message_actions import MessageActions
from localllm_tui.screens.text_dialog import TextDialog


class ChatActions(MessageActions):
    """Actions of the registry in the group of chats, and those of the prompt."""

    _deleted: tuple[int, ...] = ()

    # ---- chats ------------------------------------------------------------------------------------------------------

    async def action_new_chat(self) -> None:
        """An empty chat."""
        await self.open_new()

    async def action_temporary_chat(self) -> None:
        """An empty chat in memory."""
        await self.open_new(temporary=True)

    def action_toggle_chats(self) -> None:
        """Beside the transcript where there is room, else over it."""
        if self.has_class("-w80") or self.has_class("-w0"):
            self.remove_class("-show-sources")
            self.toggle_class("-show-chats")
            shown = self.has_class("-show-chats")
        else:
            self.toggle_class("-hide-chats")
            shown = not self.has_class("-hide-chats")
        if shown:
            self.chat_list.search()
        else:
            self.set_focus(self.prompt)

    def action_search_chats(self) -> None:
        """Go to the search field."""
        words = self._take_argument()
        self.remove_class("-hide-chats")
        if self.has_class("-w80") or self.has_class("-w0"):
            self.add_class("-show-chats")
        self.chat_list.search(words)

    def action_rename(self) -> None:
        """Another title."""
        if title := self._take_argument():
            self._rename(title)
        elif self.conversation.chat is not None:
            self.app.push_screen(TextDialog("Title of this chat", self.conversation.chat.title), self._rename)

    def _rename(self, title: str | None) -> None:
        if title and title.strip():
            self.conversation.history.rename(self.conversation.ensure_chat().id, clean_line(title))
            self.refresh_title()

    async def action_delete_chat(self) -> None:
        """Delete the chat on the screen; it can be brought back."""
        chat = self.conversation.chat
        if chat is None or self.conversation.temporary:
            await self.open_new()
            return
        if self.turn is not None and self.turn.chat_id == chat.id:
            self.turn.stop()
        self.keep_draft()
        self.conversation.kept.delete(chat.id)
        self._deleted = (*self._deleted, chat.id)
        self.conversation.open_new()
        if (last := self.conversation.kept.last_chat()) is not None:
            self.conversation.open(last.id)
        await self.show_chat()
        self.say(f"Deleted: {clean_line(chat.title) or 'the chat'}. Alt+Z or /undo brings it back.")

    async def action_undo_delete(self) -> None:
        """Bring back what was deleted last, in this run or before."""
        gone = [chat.id for chat in self.conversation.kept.chats(deleted=True)]
        wanted = [n for n in self._deleted if n in gone] or gone[:1]
        if not wanted:
            self.say("No chat was deleted.")
            return
        self.conversation.kept.restore(wanted[-1])
        self._deleted = tuple(n for n in self._deleted if n != wanted[-1])
        await self._open_chat(wanted[-1])

    def action_export(self) -> None:
        """Write the chat to a file in the working folder."""
        from localllm.history.export import FORMATS

        kind = self._take_argument().lower() or "markdown"
        endings = {"markdown": "md", "html": "html", "jsonl": "jsonl"}
        chat = self.conversation.chat
        if kind not in FORMATS or chat is None:
            self.say("There is nothing to export." if chat is None else f"Formats: {', '.join(FORMATS)}.", "warning")
            return
        stem = "".join(c if c.isalnum() or c in " -_" else "_" for c in clean_line(chat.title))[:60].strip() or "chat"
        path, n = Path.cwd() / f"{stem}.{endings[kind]}", 1
        while path.exists():
            n += 1
            path = path.with_name(f"{stem}-{n}.{endings[kind]}")
        part = path.with_name(path.name + ".part")
        try:
            part.write_text(FORMATS[kind](self.conversation.history, chat), "utf-8")
            part.replace(path)
        except OSError as error:
            self.say(f"{path} can't be written: {error.strerror}.", "error")
            return
        self.say(f"Exported to {path}.")

    def action_import_chats(self) -> None:
        """Read the chats of another application into the history."""
        if path := self._take_argument():
            self._import(path)
        else:
            title = "Import chats: ChatGPT's conversations.json, Jan's threads folder, llm's logs.db, our own JSONL"
            self.app.push_screen(TextDialog(title), self._import)

    def _import(self, name: str | None) -> None:
        if name and name.strip():
            self._read_chats(Path(name.strip().strip("'\"")).expanduser())

    @work(thread=True, group="import", exit_on_error=False)
    def _read_chats(self, path: Path) -> None:
        from localllm.history.importing import load

        try:
            n_chats, n_messages = load(self.conversation.kept, path)
        except LocalLLMError as error:
            self.app.call_from_thread(self.say, str(error), "error")
            return
        text = f"Imported {counted(n_chats, 'chat')} with {counted(n_messages, 'message')}."
        self.app.call_from_thread(self._imported, text)

    def _imported(self, text: str) -> None:
        self.chat_list.refill()
        self.say(text)

    # ---- the prompt -------------------------------------------------------------------------------------------------

    def action_past_prompts(self) -> None:
        """One of the prompts sent before, in any chat, found by a few letters."""
        from textual.command import CommandPalette

        from localllm_tui.screens.palette import PastPrompts

        self.app.push_screen(CommandPalette([PastPrompts], placeholder="Find a prompt that you sent"))

    def put_prompt(self, text: str) -> None:
        """Let this stand in the prompt; what stood there can be taken back with Ctrl+Z."""
        self.prompt.replace(text, (0, 0), self.prompt.document.end, maintain_selection_offset=False)
        self.prompt.move_cursor(self.prompt.document.end)
        self.set_focus(self.prompt)

    def action_new_line(self) -> None:
        """A line break in the prompt."""
        self.prompt.insert("\n")

    def action_attach(self) -> None:
        """Begin a file name in the prompt."""
        name = self._take_argument()
        text = self.prompt.text
        self.prompt.put(f"{text}{' ' if text and not text[-1].isspace() else ''}@{name}")
        self.set_focus(self.prompt)

    def action_editor(self) -> None:
        """Write the prompt in the user's editor."""
        try:
            with self.app.suspend():
                text = editor.edit(self.prompt.full_text)
        except LocalLLMError as error:
            self.say(str(error), "error")
        except Exception as error:  # a terminal that can't be given away
            self.say(f"The editor can't be opened here: {type(error).__name__}.", "error")
        else:
            self.prompt.put(text)
        self.set_focus(self.prompt)
