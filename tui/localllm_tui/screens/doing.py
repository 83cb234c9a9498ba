"""Doing what the registry of actions lists: messages, chats, the app itself."""

from __future__ import annotations

from pathlib import Path

from textual.content import Content

from localllm.errors import LocalLLMError
from localllm.events import Role
from localllm.history import StoredMessage
from localllm.settings import save_setting
from localllm_tui import clipboard, editor
from localllm_tui.actions import BY_ID, BY_SLASH, KEY_SETS, keymap
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.completing import Completing
from localllm_tui.screens.help import Help
from localllm_tui.screens.pick import Pick
from localllm_tui.screens.text_dialog import TextDialog
from localllm_tui.widgets.message_view import MessageView


class Doing(Completing):
    """One method per action."""

    _argument = ""
    """What followed the slash command that runs now."""
    _deleted: tuple[int, ...] = ()

    # ---- how actions are started ------------------------------------------------------------------------------------

    def run_by_id(self, action_id: str) -> None:
        """Run an action of the registry, as from the palette."""
        self._argument = ""
        self.call_later(self.run_action, action_id)

    def run_slash(self, text: str) -> bool:
        """Do what a slash command says; False when it is none."""
        first, _, rest = text.strip().partition(" ")
        if not first.startswith("/") or "\n" in text.strip() or len(first) < 2 or "/" in first[1:]:
            return False
        action = BY_SLASH.get(first[1:].lower())
        if action is None:
            self.say(
                f"There is no command {first}. /help lists them; a space before the / sends it as text.", "warning"
            )
            return True
        self.prompt.put("")
        self._argument = rest.strip()
        self.run_worker(self.run_action(action.id), group="slash")
        return True

    def _take_argument(self) -> str:
        argument, self._argument = self._argument, ""
        return argument

    # ---- messages ---------------------------------------------------------------------------------------------------

    @property
    def _here(self) -> MessageView | None:
        """The message in focus, else the last one."""
        return self.transcript.focused_view or (self.transcript.views[-1] if self.transcript.views else None)

    def _last(self, role: Role) -> StoredMessage | None:
        messages = self.conversation.messages()
        return next((m for m in reversed(messages) if m.role is role), None)

    def action_focus_transcript(self) -> None:
        """Go to the newest message."""
        self.transcript.focus_step(0)

    def action_focus_prompt(self) -> None:
        """Back to the prompt; an answer on its way is stopped first."""
        if self.turn is not None and not self.turn.stopping:
            self.action_stop()
        self.prompt.focus()

    def action_message_previous(self) -> None:
        """Up: a long message scrolls first."""
        self._step(-1)

    def action_message_next(self) -> None:
        """Down."""
        self._step(1)

    def _step(self, step: int) -> None:
        view, transcript = self.transcript.focused_view, self.transcript
        if view is not None:
            region, window = view.virtual_region, transcript.scrollable_content_region
            top, bottom = transcript.scroll_offset.y, transcript.scroll_offset.y + window.height
            if (step < 0 and region.y < top) or (step > 0 and region.bottom > bottom):
                transcript.scroll_relative(y=3 * step, animate=False)
                return
            if step > 0 and view is transcript.views[-1]:
                transcript.to_end()
                self.prompt.focus()
                return
        transcript.focus_step(step)

    def action_top(self) -> None:
        """The first message."""
        if self.transcript.views:
            self.transcript.views[0].focus()
            self.transcript.scroll_home(animate=False)

    def action_bottom(self) -> None:
        """The end."""
        self.transcript.to_end()
        if self.transcript.views and self.transcript.focused_view is not None:
            self.transcript.views[-1].focus(scroll_visible=False)

    def copy_text(self, text: str) -> None:
        """Copy, and say how."""
        if not text:
            self.say("There is nothing to copy.", "warning")
            return
        try:
            self.say(clipboard.copy(self.app, text, self.paths.home))
        except (LocalLLMError, OSError) as error:
            self.say(f"Not copied: {error}", "error")

    def action_copy_message(self) -> None:
        """The message in focus."""
        if (view := self._here) is not None:
            self.copy_text(view.text)

    def action_copy_answer(self) -> None:
        """The last answer."""
        message = self._last(Role.ASSISTANT)
        view = self.transcript.view_of(message.id) if message is not None else None
        self.copy_text(view.text if view is not None else "")

    def action_copy_selection(self) -> None:
        """What is marked with the mouse."""
        if text := self.get_selected_text():
            self.copy_text(text)
        else:
            self.say("Nothing is selected. Ctrl+Q quits, Esc stops an answer.")

    async def action_copy_code_block(self) -> None:
        """One code block: the only one, or the one that is picked."""
        view = self._here
        blocks = view.code_blocks if view is not None else []
        if len(blocks) <= 1:
            self.copy_text(blocks[0].text if blocks else "")
            return
        entries = [
            Content.styled(f"{n} {block.language or 'text'}  ", "$md-muted") + Content(block.text.split("\n")[0][:60])
            for n, block in enumerate(blocks, 1)
        ]
        self.app.push_screen(Pick("Copy which code block?", entries), lambda n: self._copy_picked(view, n))

    def _copy_picked(self, view: MessageView | None, n: int | None) -> None:
        if view is not None and n is not None:
            self.copy_text(view.code_blocks[n].text)

    def action_edit_message(self) -> None:
        """The message in focus goes into the prompt."""
        if (view := self._here) is not None and self._free():
            self.start_editing(view.message)

    def action_edit_last(self) -> None:
        """The last question goes into the prompt."""
        if (message := self._last(Role.USER)) is not None and self._free():
            self.start_editing(message)

    def action_regenerate_message(self) -> None:
        """Answer the message in focus again."""
        if (view := self._here) is not None:
            self.regenerate(view.message)
            self.prompt.focus()

    def action_regenerate(self) -> None:
        """Answer the last question again."""
        messages = self.conversation.messages()
        if messages:
            self.regenerate(messages[-1])

    def action_continue_message(self) -> None:
        """Go on behind the answer in focus."""
        view = self._here
        if view is None or view.message.role is not Role.ASSISTANT:
            self.say("Only an answer can be continued.", "warning")
        else:
            self.continue_from(view.message)
            self.prompt.focus()

    def action_continue_answer(self) -> None:
        """Go on behind the last answer."""
        message = self._last(Role.ASSISTANT)
        if message is None:
            self.say("There is no answer to continue.", "warning")
        else:
            self.continue_from(message)

    async def action_fork_message(self) -> None:
        """A new chat that ends with the message in focus."""
        if (view := self._here) is None or self.conversation.temporary:
            self.say("There is nothing to fork here.", "warning")
            return
        chat = self.conversation.history.fork(view.message.id)
        self.open_chat(chat.id)
        self.say("A new chat goes on from here; the old one is as it was.")

    async def action_branch(self, message_id: int, step: int) -> None:
        """Another alternative of a message."""
        if self.turn is not None and self._is_shown(self.turn):
            self.say("An answer is being written: stop it with Esc first.", "warning")
            return
        message = self.conversation.history.message(message_id)
        if self.conversation.switch(message, step):
            self.conversation.reload()
            focused = self.transcript.focused_view is not None
            at = [m.id for m in self.transcript.views_messages()].index(message_id)
            await self.fill()
            if focused and at < len(self.transcript.views):
                self.transcript.views[at].focus()

    async def action_branch_previous(self) -> None:
        """The alternative before."""
        if (view := self._here) is not None:
            await self.action_branch(view.message.id, -1)

    async def action_branch_next(self) -> None:
        """The alternative behind."""
        if (view := self._here) is not None:
            await self.action_branch(view.message.id, 1)

    def action_toggle_reasoning(self) -> None:
        """What the model thought, of the message in focus or the last answer."""
        if (view := self._here) is not None:
            view.action_toggle_reasoning()

    # ---- finding ----------------------------------------------------------------------------------------------------

    _found: tuple[int, ...] = ()
    _found_at = 0

    def action_find(self) -> None:
        """Words in this chat."""
        if words := self._take_argument():
            self._find(words)
        else:
            self.app.push_screen(TextDialog("Find in this chat"), self._find)

    def _find(self, words: str | None) -> None:
        if not words or self.conversation.chat is None:
            return
        hits = self.conversation.history.search(words, chat_id=self.conversation.chat.id, limit=500)
        self._found = tuple(sorted(hit.message_id for hit in hits if hit.message_id is not None))
        if not self._found:
            self.say(f"{clean_line(words)!r} is not in this chat.")
            return
        self._found_at = len(self._found) - 1
        self._show_found()

    def _show_found(self) -> None:
        assert self.conversation.chat is not None
        self.say(f"{self._found_at + 1} of {len(self._found)}; n and N go on.")
        if (view := self.transcript.view_of(self._found[self._found_at])) is not None:
            view.focus()
            view.scroll_visible(animate=False, top=True)
        elif not self.conversation.temporary:
            self.open_chat(self.conversation.chat.id, self._found[self._found_at])

    def action_find_next(self) -> None:
        """The next place."""
        if self._found:
            self._found_at = (self._found_at + 1) % len(self._found)
            self._show_found()

    def action_find_previous(self) -> None:
        """The place before."""
        if self._found:
            self._found_at = (self._found_at - 1) % len(self._found)
            self._show_found()

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
            self.call_after_refresh(self.chat_list.search)
        else:
            self.prompt.focus()

    def action_search_chats(self) -> None:
        """Go to the search field."""
        words = self._take_argument()
        self.remove_class("-hide-chats")
        if self.has_class("-w80") or self.has_class("-w0"):
            self.add_class("-show-chats")
        self.call_after_refresh(self.chat_list.search, words)

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

    # ---- the prompt -------------------------------------------------------------------------------------------------

    def action_new_line(self) -> None:
        """A line break in the prompt."""
        self.prompt.insert("\n")

    def action_attach(self) -> None:
        """Begin a file name in the prompt."""
        name = self._take_argument()
        text = self.prompt.text
        self.prompt.put(f"{text}{' ' if text and not text[-1].isspace() else ''}@{name}")
        self.prompt.focus()

    def action_editor(self) -> None:
        """Write the prompt in the user's editor."""
        try:
            with self.app.suspend():
                text = editor.edit(self.prompt.text)
        except LocalLLMError as error:
            self.say(str(error), "error")
        except Exception as error:  # a terminal that can't be given away
            self.say(f"The editor can't be opened here: {type(error).__name__}.", "error")
        else:
            self.prompt.put(text)
        self.prompt.focus()

    # ---- the app ----------------------------------------------------------------------------------------------------

    def action_palette(self) -> None:
        """Find anything."""
        self.app.action_command_palette()

    def action_help(self) -> None:
        """All actions and keys."""
        self.app.push_screen(Help(self.key_set), self._from_help)

    def _from_help(self, action_id: str | None) -> None:
        if action_id in BY_ID:
            self.run_by_id(action_id)

    def action_toggle_sources(self) -> None:
        """Beside the transcript where there is room, else over it."""
        if self.has_class("-w120") and self.has_class("-has-sources"):
            self.toggle_class("-hide-sources")
        else:
            self.remove_class("-show-chats")
            self.toggle_class("-show-sources")

    def action_citation(self, n: int) -> None:
        """Go to source `n`."""
        self.remove_class("-hide-sources")
        if not self.has_class("-w120"):
            self.add_class("-show-sources")
        if not self.sources.focus_passage(n):
            self.say(f"There is no source [{n}] with this answer.")

    def action_inspect(self) -> None:
        """The newest prompt, exactly as the model saw it."""
        self.run_worker(self._inspect, thread=True, exclusive=True, group="inspect")

    def _inspect(self) -> None:
        try:
            text = self.conversation.assistant.sent_prompt()
        except LocalLLMError as error:
            text = str(error)
        self.app.call_from_thread(self._show_text, "What the model was sent", text or "Nothing was sent yet.")

    def _show_text(self, title: str, text: str) -> None:
        from localllm_tui.screens.show_text import ShowText

        self.app.push_screen(ShowText(title, text))

    def action_theme(self) -> None:
        """Between light and dark; the choice is kept."""
        themes = {"localllm-dark": "localllm-light", "localllm-light": "localllm-dark"}
        argument = self._take_argument()
        if argument and argument not in self.app.available_themes:
            self.say(f"Themes: {', '.join(sorted(self.app.available_themes))}.", "warning")
            return
        name = argument or themes.get(self.app.theme) or (
            "localllm-light" if self.app.current_theme.dark else "localllm-dark"
        )  # fmt: skip
        self.app.theme = name
        self._keep_setting("theme", name)

    def action_key_set(self) -> None:
        """Other keys, at once; the choice is kept."""
        name = self._take_argument().lower()
        if name in KEY_SETS:
            self._use_keys(KEY_SETS.index(name))
        else:
            at = KEY_SETS.index(self.key_set)
            self.app.push_screen(Pick("Key set", [Content(n) for n in KEY_SETS], at), self._use_keys)

    def _use_keys(self, n: int | None) -> None:
        if n is None:
            return
        self.key_set = KEY_SETS[n]
        self.app.set_keymap(keymap(self.key_set))
        self.hints.key_set = self.key_set
        self.hints.show(self.turn is not None)
        self._keep_setting("keys", self.key_set)

    def _keep_setting(self, name: str, value: object) -> None:
        try:
            save_setting(self.paths, name, value)
        except LocalLLMError as error:
            self.say(str(error), "warning")

    def action_system(self) -> None:
        """Instructions that stand before the chat."""
        if text := self._take_argument():
            self._set_system(text)
        else:
            chat = self.conversation.chat
            now = chat.system if chat is not None else self.conversation.assistant.settings.system
            self.app.push_screen(TextDialog("Instructions for this chat", now, lines=True), self._set_system)

    def _set_system(self, text: str | None) -> None:
        if text is not None:
            self.conversation.history.set_system(self.conversation.ensure_chat().id, text)
            self.conversation.reload()
            self.say("The instructions hold from the next question on.")

    def action_model(self) -> None:
        """Another model answers from now on."""
        if name := self._take_argument():
            self._use_model(name)
        else:
            self.run_worker(self._list_models, thread=True, exclusive=True, group="models")

    def _list_models(self) -> None:
        from localllm.models.shelf import list_models

        models = [model for model in list_models(self.paths) if model.usable]
        self.app.call_from_thread(self._pick_model, [(m.name, m.quantization, m.size_bytes) for m in models])

    def _pick_model(self, models: list[tuple[str, str, int]]) -> None:
        if not models:
            self.say("There is no model on this computer yet: /starter gets one.", "warning")
            return
        entries = [
            Content(clean_line(name)) + Content.styled(f"  {quantization} {size / 1e6:,.0f} MB", "$md-muted")
            for name, quantization, size in models
        ]
        names = [name for name, _, _ in models]
        at = names.index(self.settings.model) if self.settings.model in names else 0
        self.app.push_screen(
            Pick("Answer with which model?", entries, at),
            lambda n: self._use_model(names[n]) if n is not None else None,
        )

    def _use_model(self, name: str) -> None:
        if self._free():
            self.switch_model(name)

    async def action_quit(self) -> None:
        """Stop what runs, keep the draft, leave."""
        if self.turn is not None:
            self.turn.stop()
            self.turn.join(2.0)
        self.keep_draft()
        self.app.exit(0)

    # ---- for rows that can be clicked -------------------------------------------------------------------------------

    async def action_verdict(self, message_id: int) -> None:
        """What became of each rule."""
        from localllm_tui.screens.verdict import verdict_text

        message = self.conversation.history.message(message_id)
        if message.verdict is not None:
            self._show_text("Rules", verdict_text(message.verdict, message.content).plain)
