"""Asking and answering: prompts become turns, turns become text on the screen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from textual import on
from textual.message import Message

from localllm.counted import counted
from localllm.errors import EngineDied, LocalLLMError
from localllm.events import (
    ContextUse,
    Finished,
    Loading,
    Prefilling,
    Repairing,
    Retrieved,
    Role,
    Token,
    TurnStarted,
    Violation,
)
from localllm.history import StoredMessage
from localllm_tui import mentions
from localllm_tui.engine_news import ModelReady, one_line
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.model_news import ModelNews
from localllm_tui.turn import Failed, Happening, Turn
from localllm_tui.widgets.message_view import MessageView
from localllm_tui.widgets.welcome import Welcome

SHORTEST_PAUSE, LONGEST_PAUSE = 0.04, 0.3
"""Seconds between two drawings of a running answer."""
SPEED_SECONDS = 1.0
"""How often the speed of a running answer is shown anew: figures that flicker can't be read."""
SHARE, SHARE_OF_THE_ENGINE = 1 / 3, 1 / 60
"""Of one core, for drawing: where a core is free, and where the engine computes on all of them and would wait. Its
threads wait for each other many times per token, so that one of them held up holds up all."""


class Asking(ModelNews):
    """Runs one turn at a time; further prompts wait in a queue."""

    _next_draw = 0.0
    _next_speed = 0.0
    _cpu = 0.0
    """CPU seconds of this thread at the last drawing."""

    @dataclass
    class TurnNews(Message):
        """A turn has something to drain."""

        turn: Turn

    # ---- starting turns ---------------------------------------------------------------------------------------------

    def notify_turn(self, turn: Turn) -> None:
        """Called from the turn's thread."""
        self.post_message(self.TurnNews(turn))

    def action_send(self) -> None:
        """Send the prompt; while an answer is written, it waits."""
        text = self.prompt.text
        if self.run_slash(text):
            return
        if not text.strip():
            if self.no_model is not None and not self.downloading and not self.settings.offline:
                self.run_worker(self.run_action("get_starter"))
            return
        if self.no_model is not None and self.downloading:
            self.say("The model is still being fetched; the prompt stays here until it is ready.")
            return
        try:
            asked, files = mentions.expand(text)
            asked = self.prompt.full_text + asked[len(text) :]
        except LocalLLMError as error:
            self.say(str(error), "error")
            return
        if self.turn is not None and self.editing is not None:
            self.say("An answer is being written: stop it with Esc first.", "warning")
            return
        self.prompt.take()
        if files:
            self.say("Attached: " + ", ".join(path.name for path in files))
        if self.editing is not None:
            edited, self.editing = self.editing, None
            self.banner("")
            self.prompt.put(self._aside)
            self._aside = ""
            self.send_edited(edited, asked)
        elif self.turn is not None:
            self.queue.append(asked)
            self._show_queue()
        else:
            self.ask(asked)

    def run_slash(self, text: str) -> bool:
        """Do what a slash command says; False when it is none."""
        return False

    def ask(self, text: str) -> None:
        """Ask at the end of the chat."""
        self._begin(lambda: self.conversation.send(text, self.notify_turn))

    def send_edited(self, message: StoredMessage, text: str) -> None:
        """A question is asked again beside the old one; an answer stands beside the old one and can be continued."""
        if message.role is Role.USER:
            self._begin(lambda: self.conversation.send(text, self.notify_turn, parent=message.parent_id))
            return
        try:
            self.conversation.edit_answer(message, text)
        except LocalLLMError as error:
            self.say(str(error), "error")
            return
        self.run_worker(self.sync())
        self.say("The edited answer stands beside the old one. Alt+C goes on behind it.")

    def regenerate(self, message: StoredMessage) -> None:
        """Answer again."""
        if self._free():
            self._begin(lambda: self.conversation.regenerate(message.id, self.notify_turn))

    def continue_from(self, message: StoredMessage) -> None:
        """Go on behind an answer."""
        if self._free():
            self._begin(lambda: self.conversation.continue_(message, self.notify_turn))

    def _free(self) -> bool:
        if self.turn is not None:
            self.say("An answer is being written: stop it with Esc first.", "warning")
        return self.turn is None

    def _begin(self, start: Callable[[], Turn]) -> None:
        self.idle.stop()
        self.load_for_chat()
        for welcome in self.query(Welcome):
            welcome.remove()
        try:
            self.turn = start()
        except LocalLLMError as error:
            self.say(str(error), "error")
            return
        self.hints.show(True)
        self.prompt.set_busy(True)
        self.status.set(activity="answering", problem=False, live_speed=0.0)

    # ---- the queue --------------------------------------------------------------------------------------------------

    def _show_queue(self) -> None:
        self.status.set(queued=len(self.queue))
        waiting = "   ".join(f"⏎ {clean_line(text)[:40]}" for text in self.queue)
        self.banner(f"Waiting: {waiting}" if self.queue else "")

    def action_clear_queue(self) -> None:
        """Give the waiting prompts back to the prompt."""
        if self.queue:
            texts = [*self.queue, *([self.prompt.full_text] if self.prompt.text.strip() else [])]
            self.queue = []
            self.prompt.put("\n\n".join(texts))
            self._show_queue()

    def action_stop(self) -> None:
        """Stop the answer and give waiting prompts back; else leave editing; else close what lies over the messages."""
        if self.turn is not None:
            self.turn.stop()
            self.status.set(activity="stopping")
            self.action_clear_queue()
        elif self.editing is not None:
            self.stop_editing()
        else:
            self.remove_class("-show-chats", "-show-sources")
            self.set_focus(self.prompt)

    # ---- what happens in a turn -------------------------------------------------------------------------------------

    @on(TurnNews)
    async def turn_news(self, news: TurnNews) -> None:
        """Draw at a pace that leaves time for the keyboard and for the engine; the end is drawn at once."""
        wait = self._next_draw - time.monotonic()
        if wait > 0.005 and not news.turn.stopping and not news.turn.ended:
            self.set_timer(wait, partial(self._drain_rest, news.turn))
        else:
            await self._drain_rest(news.turn)

    async def _drain_rest(self, turn: Turn) -> None:
        if not turn.over:  # else it was planned, or told, before the end was drawn
            await self.drain(turn)

    async def drain(self, turn: Turn) -> None:
        """Take what happened and show it."""
        self._pace()
        shown = self._is_shown(turn)
        for happening in turn.drain():
            if isinstance(happening, Token):
                turn.text += happening.text
            try:
                await self._apply(turn, happening, shown)
            except LocalLLMError as error:
                self.say(str(error), "error")
        self.show_gauges(turn if shown and not turn.over else None)
        if turn.over and turn is self.turn:
            await self._turn_is_over(turn)
        elif shown and turn.tokens_per_second and time.monotonic() >= self._next_speed:
            self._next_speed = time.monotonic() + SPEED_SECONDS
            self.status.set(live_speed=float(round(turn.tokens_per_second)))

    def show_gauges(self, turn: Turn | None) -> None:
        """How the running answer stands with its rules; None where no running answer is shown."""

    def _pace(self) -> None:
        """When to draw next: everything that this thread did since the last time is what a drawing costs."""
        now = time.thread_time()
        cost, self._cpu = max(0.0, now - self._cpu), now
        pause = cost / (SHARE_OF_THE_ENGINE if self._engine_is_busy else SHARE)
        self._next_draw = time.monotonic() + min(LONGEST_PAUSE, max(SHORTEST_PAUSE, pause))

    @property
    def _engine_is_busy(self) -> bool:
        """It computes on every core of this machine."""
        info = self.status.status.info
        return info is not None and not info.n_gpu_layers and info.n_threads >= (os.cpu_count() or 1)

    def _is_shown(self, turn: Turn) -> bool:
        chat = self.conversation.chat
        return chat is not None and chat.id == turn.chat_id and self.conversation.temporary == turn.temporary

    async def _apply(self, turn: Turn, happening: Happening, shown: bool) -> None:
        view = self.transcript.view_of(turn.answer_id) if shown else None
        match happening:
            case TurnStarted():
                if shown:
                    self.refresh_title()
                    await self.show_newest()
                else:
                    self.chat_list.refill()
            case Token(text=text):
                if view is not None:
                    view.status = ""
                    view.rows_ahead = rows_ahead(turn.tokens_per_second, view.size.width) if self._engine_is_busy else 0
                    self.transcript.grow(view, text)
            case Loading(model=model, fraction=fraction):
                self._say_in(view, f"loading {clean_line(model)} {fraction:.0%}".replace("%", " %"))
            case Prefilling(done=done, total=total) if total > 256:
                self._say_in(view, f"reading {done:,} of {total:,} tokens")
            case Retrieved(passages=passages, seconds=seconds):
                self._say_in(view, f"{counted(len(passages), 'passage')} found in {seconds:.2f} s")
                if shown:
                    self.set_class(bool(passages), "-has-sources")
                    await self.sources.fill(passages, ())
            case ContextUse():
                if shown:
                    self.status.set(context_used=happening.prompt_tokens, dropped=happening.dropped_messages)
                if self.status.status.info is None and self.conversation.assistant.engine is not None:
                    self.post_message(ModelReady(self.conversation.assistant.engine.info))
            case Violation(rule=rule):
                self._say_in(view, f"rule {rule.id} is broken: {rule.reason}")
            case Repairing():
                turn.text = happening.kept
                if view is not None:
                    view.replace_text(happening.kept)
                    self._say_in(view, f"repairing {happening.rule_id}, attempt {happening.attempt + 1}")
            case Finished():
                turn.over = True
                await self._finished(turn, happening, shown)
            case Failed(error=error):
                turn.over = True
                await self._failed(turn, error, shown)

    def _say_in(self, view: MessageView | None, text: str) -> None:
        if view is not None and view.status != clean_line(text):
            view.status = clean_line(text)
            view.draw()

    async def _finished(self, turn: Turn, finished: Finished, shown: bool) -> None:
        if not self.app.app_focus:  # the user is in another window
            self.app.bell()
        if not shown:
            self.say(f"An answer in another chat is ready ({finished.reason.value}).")
            return
        stats = finished.stats
        self.status.set(stats=stats, context_used=stats.window_tokens)
        await self._show_stored(turn)

    async def _failed(self, turn: Turn, error: BaseException, shown: bool) -> None:
        if isinstance(error, EngineDied):
            self.status.set(info=None)
        if shown and turn.answer_id is not None:
            await self._show_stored(turn)
        self.say(one_line(error), "error")

    async def _show_stored(self, turn: Turn) -> None:
        """What the history holds is what is shown in the end."""
        self.transcript.catch_up()
        await self.sync()
        view = self.transcript.view_of(turn.answer_id)
        if view is not None and turn.answer_id is not None:
            message = self.conversation.history.message(turn.answer_id)
            if message != view.message:
                view.show(message, self.conversation.alternatives(message))
            await self.show_sources(message)
            if self.transcript.following:
                self.transcript.follow()

    async def _turn_is_over(self, turn: Turn) -> None:
        self.turn = None
        self.hints.show(False)
        self.prompt.set_busy(False)
        self.status.set(activity="", problem=False, live_speed=0.0)
        self.chat_list.refill()
        if self.queue and not turn.stopping:
            text = self.queue.pop(0)
            self._show_queue()
            if self._is_shown(turn):
                self.ask(text)
            else:
                self.prompt.put(text)
        self.read_ahead(entitle=None if turn.temporary else turn.chat_id)


def rows_ahead(tokens_per_second: float, width: int) -> int:
    """Rows that about a second of an answer fills, at most 8: so often the screen is laid out anew at most."""
    return min(8, int(4 * tokens_per_second / max(20, width)))
