"""Actions of messages: going to them, copying, editing, branching, finding."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Offset
from textual.widget import Widget
from textual.widgets import OptionList

from localllm.errors import LocalLLMError
from localllm.events import Role
from localllm.history import StoredMessage
from localllm_tui import clipboard
from localllm_tui.actions import BY_SLASH
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.completing import Completing
from localllm_tui.screens.jump import Jump
from localllm_tui.screens.pick import Pick
from localllm_tui.screens.text_dialog import TextDialog
from localllm_tui.widgets.message_view import MessageView
from localllm_tui.widgets.sources import SourceView


class MessageActions(Completing):
    """Actions of the registry in the group of messages, and how any action is started."""

    _argument = ""
    """What followed the slash command that runs now."""

    # ---- how actions are started ------------------------------------------------------------------------------------

    def run_by_id(self, action_id: str) -> None:
        """Run an action of the registry, as from the palette."""
        self._argument = ""
        self.call_later(self.run_action, action_id)

    def run_slash(self, text: str) -> bool:
        """Do what a slash command says; False when it is none."""
        first, _, rest = text.rstrip().partition(" ")
        if not first.startswith("/") or "\n" in text.strip() or len(first) < 2 or "/" in first[1:]:
            return False
        action = BY_SLASH.get(first[1:].lower())
        if action is None:
            self.say(
                f"There is no command {first}. /help lists them; a space before the / sends it as text.", "warning"
            )
            return True
        self.prompt.put("")
        self._argument = self.prompt.pasted.unfold(rest.strip())
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

    def action_jump(self) -> None:
        """A letter on each message, source and field in sight: pressing it goes there."""
        window = self.transcript.region
        targets: list[tuple[Widget, Offset]] = [
            (view, Offset(view.region.x, max(view.region.y, window.y)))
            for view in self.transcript.views
            if view.region.overlaps(window)
        ]
        others: list[Widget] = [*self.query(SourceView), self.chat_list.query_one(OptionList), self.prompt]
        targets += [(widget, widget.region.offset) for widget in others if widget.focusable and widget.region.area > 0]
        self.app.push_screen(Jump(targets), self._jumped)

    def _jumped(self, widget: Widget | None) -> None:
        if widget is not None:
            self.set_focus(widget, scroll_visible=False)

    def action_focus_prompt(self) -> None:
        """Back to the prompt; a selection ends first, and an answer on its way is stopped first."""
        if self.transcript.unselect():
            return
        if self.turn is not None and not self.turn.stopping:
            self.action_stop()
        self.set_focus(self.prompt)

    async def action_message_previous(self) -> None:
        """Up: a long message scrolls first; above the first one shown, more are loaded."""
        await self._step(-1)

    async def action_message_next(self) -> None:
        """Down."""
        await self._step(1)

    async def _step(self, step: int) -> None:
        view, transcript = self.transcript.focused_view, self.transcript
        if view is not None:
            region, window = view.virtual_region, transcript.scrollable_content_region
            top, bottom = transcript.scroll_offset.y, transcript.scroll_offset.y + window.height
            if (step < 0 and region.y < top) or (step > 0 and region.bottom > bottom):
                transcript.scroll_relative(y=3 * step, animate=False)
                return
            if step < 0 and view is transcript.views[0] and self.window.first:
                await self.load_earlier()
            elif step > 0 and view is transcript.views[-1]:
                if self.window.last is None:
                    transcript.to_end()
                    self.set_focus(self.prompt)
                    return
                await self.load_later()
        transcript.focus_step(step, view.message.id if view is not None else None)

    def action_page_up(self) -> None:
        """Read further up."""
        self.transcript.scroll_page_up(animate=False)

    def action_page_down(self) -> None:
        """Read further down."""
        self.transcript.scroll_page_down(animate=False)

    async def action_top(self) -> None:
        """The first message."""
        await self.show_first()
        if self.transcript.views:
            self.set_focus(self.transcript.views[0], scroll_visible=False)
            self.transcript.scroll_home(animate=False)

    async def action_bottom(self) -> None:
        """The end."""
        in_messages = self.transcript.focused_view is not None
        await self.show_newest()
        if self.transcript.views and in_messages:
            self.set_focus(self.transcript.views[-1], scroll_visible=False)

    def copy_text(self, text: str) -> None:
        """Copy, and say how."""
        if not text:
            self.say("There is nothing to copy.", "warning")
            return
        try:
            self.say(clipboard.copy(self.app, text, self.paths.home))
        except (LocalLLMError, OSError) as error:
            self.say(f"Not copied: {error}", "error")

    def action_select_messages(self) -> None:
        """From the message in focus on; once more ends it."""
        if self.transcript.focused_view is None:
            self.say("Go to a message first (Shift+Tab): the selection begins there.")
        elif not self.transcript.unselect():
            self.transcript.select_from_here()
            self.say("Selecting messages: go up or down, y copies them, Esc ends it.")

    def action_copy_message(self) -> None:
        """The message in focus, or the selected ones under the names of who speaks."""
        if selected := self.transcript.selected:
            self.copy_text("\n\n".join(f"{view.name_shown}:\n{view.text.strip()}" for view in selected))
            self.transcript.unselect()
        elif (view := self._here) is not None:
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
            self.set_focus(self.prompt)

    def action_regenerate(self) -> None:
        """Answer the last question again."""
        messages = self.conversation.messages()
        if messages:
            self.regenerate(messages[-1])

    def action_continue_message(self, message_id: int = 0) -> None:
        """Go on behind an answer: by default the one in focus."""
        view = self.transcript.view_of(message_id) or self._here
        if view is None or view.message.role is not Role.ASSISTANT:
            self.say("Only an answer can be continued.", "warning")
        else:
            self.continue_from(view.message)
            self.set_focus(self.prompt)

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
            await self.sync()
            await self.show_sources(self._last(Role.ASSISTANT))

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
        self.say(f"{self._found_at + 1} of {len(self._found)}; n and N go on.")
        if (view := self.transcript.view_of(self._found[self._found_at])) is not None:
            self.set_focus(view, scroll_visible=False)
            view.scroll_visible(animate=False, top=True)
        else:
            self.run_worker(self.fill(self._found[self._found_at]), exclusive=True, group="open")

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
