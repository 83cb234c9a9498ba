"""Assistant: a question goes in, one stream of events comes out. There is no second path.

`send`, `regenerate`, `continue_` and `ask` all run `_turn`: the question is stored before generation, the answer about
every second while it grows, and what was said is kept, and marked, however the turn ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal

from localllm.assistant import titles
from localllm.assistant.ahead import certain_beginning
from localllm.assistant.documents import constraint_of, passage_guard
from localllm.assistant.generate import generate
from localllm.assistant.guard import GuardSlot
from localllm.assistant.record import AnswerRecord
from localllm.assistant.seams import Retriever, Rulebook
from localllm.assistant.slot import EngineSlot, Opener
from localllm.assistant.terms import answered, chat_settings, sampling_of, session_name, system_message
from localllm.engine.protocol import Cancel, Engine, Request
from localllm.errors import EngineDied, LocalLLMError
from localllm.events import (
    Event,
    Finished,
    FinishReason,
    Loading,
    Message,
    Repairing,
    Retrieved,
    Role,
    Stats,
    Token,
    TurnStarted,
)
from localllm.history import Chat, History, MessageState, StoredMessage
from localllm.prompt import alternating, fit
from localllm.settings import Settings


class Assistant:
    """Answers questions in chats.

    Args:
        engine: A loaded engine; None loads one with `opener` when it is first needed.
        opener: Loads an engine, at first and again after its worker died.
        history: Where turns are kept; None keeps them in memory, for temporary chats.
        library: Documents that every question asks.
        rules: Rules that every answer must follow.
        find_library: Opens a library by name, for chats that name one.
        find_rules: Opens a rule set by name or file, for chats that name one.
        find_guard: How the guard model of a name is loaded, for rules that ask one.
        settings: How answers are made, where a chat says nothing else.

    Example:
        >>> with Assistant(engine) as assistant:                              # doctest: +SKIP
        ...     print(assistant.ask("Why is the sky blue?").text)
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        opener: Opener | None = None,
        history: History | None = None,
        library: Retriever | None = None,
        rules: Rulebook | None = None,
        find_library: Callable[[str], Retriever] | None = None,
        find_rules: Callable[[str], Rulebook] | None = None,
        find_guard: Callable[[str], Opener] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.history = history if history is not None else History(None)
        self.settings = settings if settings is not None else Settings()
        self.library = library
        self.rules = rules
        self._find_library = find_library
        self._find_rules = find_rules
        self._libraries: dict[str, Retriever] = {}
        self._documents_say: dict[str, str] = {}
        """By library: its instructions for the model, as of the last question."""
        self._slot = EngineSlot(engine, opener)
        self._guard = GuardSlot(find_guard) if find_guard is not None else None
        self.last_request: Request | None = None
        """The request of the newest answer, as it went to the engine."""

    # ---- the engine -------------------------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine | None:
        """The loaded engine, or None while there is none."""
        return self._slot.engine

    def load(self, cancel: Cancel | None = None) -> Generator[Loading, None, None]:
        """Load the engine now, in advance of the first question; any thread may wait for the same load.

        Raises:
            ModelError: The model can't be loaded.
        """
        yield from self._slot.load(cancel)

    def check(self, settings: Settings) -> None:
        """Open the library and the rule set that these settings name, so that a wrong name is known at once.

        Raises:
            LibraryNotFound: There is no such library.
            RuleSyntax: There is no such rule set, or it can't be read.
        """
        self._rulebook(settings)
        self._library(settings)

    def switch(self, opener: Opener) -> None:
        """Close the loaded model; the next question is answered by what this opener loads."""
        self._slot.replace(opener)

    def close(self) -> None:
        """Close the engines and the libraries it opened. The history stays open: it belongs to the caller."""
        self._slot.close()
        if self._guard is not None:
            self._guard.close()
        for library in self._libraries.values():
            library.close()
        self._libraries.clear()

    def __enter__(self) -> Assistant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- what can be asked ------------------------------------------------------------------------------------------

    def ask(self, text: str, *, chat: int | None = None, cancel: Cancel | None = None) -> Finished:
        """One answer, whole. Without a chat it starts a new one."""
        finished: Finished | None = None
        for event in self.send(chat if chat is not None else self.history.create_chat().id, text, cancel=cancel):
            if isinstance(event, Finished):
                finished = event
        assert finished is not None, "a turn ends with Finished"
        return finished

    def send(
        self,
        chat: int,
        text: str,
        *,
        cancel: Cancel | None = None,
        parent: int | Literal["leaf"] | None = "leaf",
        settings: Settings | None = None,
    ) -> Generator[Event, None, None]:
        """Ask a question in a chat; the last event is `Finished`.

        Args:
            chat: Number of the chat.
            text: The question.
            cancel: Ends the answer; the text so far is kept.
            parent: The message that it follows: the end of the active branch, or an earlier one to branch off there
                (that of an edited question), or None for a new beginning.
            settings: Instead of the assistant's own and the chat's.

        Raises:
            ModelError: The model can't be loaded. The question is kept.
            GenerationError: No answer, or a part of one, which is kept.
            ChatNotFound: There is no such chat or parent.
        """
        here = self.history.chat(chat)
        before = here.leaf_id if parent == "leaf" else parent
        question = self.history.add_message(chat, Role.USER, text, parent=before)
        yield from self._turn(here, question, cancel, settings)

    def regenerate(
        self, message: int, *, cancel: Cancel | None = None, settings: Settings | None = None, feedback: str = ""
    ) -> Generator[Event, None, None]:
        """Answer again: a new alternative beside this answer, or an answer to this question.

        `feedback`, such as the faults of the answer before, is told to the model with the question and not stored.
        """
        here = self.history.message(message)
        question = here
        if here.role is Role.ASSISTANT:
            if here.parent_id is None:
                raise ValueError("this answer follows no question")
            question = self.history.message(here.parent_id)
        yield from self._turn(self.history.chat(here.chat_id), question, cancel, settings, feedback=feedback)

    def continue_(
        self, message: int, *, cancel: Cancel | None = None, settings: Settings | None = None
    ) -> Generator[Event, None, None]:
        """Go on behind an answer that was stopped, cut short, or edited; it grows in place."""
        here = self.history.message(message)
        if here.role is not Role.ASSISTANT or here.parent_id is None:
            raise ValueError("only an answer to a question can be continued")
        question = self.history.message(here.parent_id)
        yield from self._turn(self.history.chat(here.chat_id), question, cancel, settings, grow=here)

    def read_ahead(
        self,
        chat: int | None,
        typed: str = "",
        *,
        parent: int | Literal["leaf"] | None = "leaf",
        cancel: Cancel | None = None,
        settings: Settings | None = None,
    ) -> int:
        """Let the engine read, in idle time, what the next prompt begins with: call it while the user types.

        Blocks until it is read; a question that is asked meanwhile ends it.

        Args:
            chat: Number of the chat; None for one that begins with the next question.
            typed: The beginning of that question. Where documents are asked or input rules hold, it is not certain
                what stands before it, or how it is sent, and it is left out.
            parent: The message that the question will follow, as in `send`.
            cancel: Ends it.
            settings: Instead of the assistant's own and the chat's.

        Returns:
            Tokens that are read now; 0 where no model is loaded, where the settings say no, and where nothing is
            certain.
        """
        engine = self._slot.engine
        here = Chat(0, "", 0.0, 0.0) if chat is None else self.history.chat(chat)
        settings = settings or chat_settings(self.settings, here.options)
        if engine is None or not settings.idle_prefill:
            return 0
        try:
            certain = self._next_prompt(engine, here, settings, typed, here.leaf_id if parent == "leaf" else parent)
            if not certain or (cancel is not None and cancel.is_set()):
                return 0
            return engine.prefill(certain, cancel, self._session(here.id))
        except LocalLLMError:
            return 0  # the question itself will say what is wrong

    def write_title(self, chat: int, *, cancel: Cancel | None = None, settings: Settings | None = None) -> str:
        """Let the model name a young chat that is still called by the beginning of its first question.

        It is asked behind the chat as it stands: what the engine has read of it stays read, and is extended. A title
        that the user gave meanwhile stays; so does the old one where the model writes nothing that can be used.

        Returns:
            The new title; empty where the chat keeps its own.
        """
        engine, here = self._slot.engine, self.history.chat(chat)
        settings = settings or chat_settings(self.settings, here.options)
        turns = answered(self.history.path(chat))
        wanted = settings.auto_titles and not self.history.temporary and titles.is_young(here, turns)
        # A recurrent model could not take the request for a title back: the chat would have to be read anew.
        if engine is None or engine.info.recurrent or not wanted:
            return ""
        try:
            before = self._next_prompt(engine, here, settings, "", here.leaf_id)
            text = titles.ask(engine, before or [Message(m.role, m.content) for m in turns], cancel)
        except LocalLLMError:
            return ""
        title = titles.usable(text, turns)
        return title if title and self.history.retitle(chat, here.title, title) else ""

    def sent_prompt(self) -> str:
        """The newest prompt, exactly as the model sees it; empty while nothing was sent."""
        engine, request = self._slot.engine, self.last_request
        return engine.render(request.messages, request.prefix).text if engine and request else ""

    # ---- the one path -----------------------------------------------------------------------------------------------

    def _turn(
        self,
        chat: Chat,
        question: StoredMessage,
        cancel: Cancel | None,
        settings: Settings | None,
        grow: StoredMessage | None = None,
        feedback: str = "",
    ) -> Generator[Event, None, None]:
        """Answer `question` in `chat`, in a new message or behind the text of `grow`."""
        settings = settings or chat_settings(self.settings, chat.options)
        prefix = grow.content if grow else ""
        if grow is None:
            answer = self.history.add_message(
                chat.id, Role.ASSISTANT, "", parent=question.id, state=MessageState.STREAMING
            )
        else:
            answer = grow
            self.history.update_message(grow.id, state=MessageState.STREAMING, reason="")
            self.history.set_active_leaf(grow.id, descend=False)
        thought = grow.stats.thinking_seconds if grow and grow.stats else 0.0
        record = AnswerRecord(self.history, answer.id, prefix, thinking_seconds=thought)
        try:
            yield TurnStarted(chat.id, question.id, answer.id)
            for event in self._answer(chat, question, settings, prefix, cancel, feedback):
                if isinstance(event, (Token, Repairing)):
                    record.follow(event)
                elif isinstance(event, Retrieved):
                    record.passages = event.passages
                elif isinstance(event, Finished):
                    event = record.finish(event)
                yield event
        except BaseException as error:
            record.interrupt(error)
            if isinstance(error, EngineDied):
                self._slot.died()
            raise

    def _answer(
        self,
        chat: Chat,
        question: StoredMessage,
        settings: Settings,
        prefix: str,
        cancel: Cancel | None,
        feedback: str = "",
    ) -> Generator[Event, None, None]:
        """The events of the answer, without anything stored."""
        rulebook, library = self._rulebook(settings), self._library(settings)
        started = time.perf_counter()
        engine = yield from self._slot.load(cancel)
        waited = time.perf_counter() - started
        if engine is not None and rulebook is not None and rulebook.asks_guard_model and settings.guard_model:
            assert self._guard is not None, "the settings name a guard model that nobody can load"
            rulebook.guard_engine = yield from self._guard.load(settings.guard_model, cancel)
            engine = engine if rulebook.guard_engine is not None else None
        if engine is None:
            yield Finished(FinishReason.CANCELLED, prefix, Stats(load_seconds=waited))
            return
        rules = rulebook.compile(engine, settings) if rulebook else None
        notes = list(rules.notes) if rules else []
        asked = question.content

        def end(reason: FinishReason, text: str, **parts: Any) -> Finished:
            stats = parts.pop("stats", Stats(n_ctx=engine.info.n_ctx))
            return Finished(
                reason,
                text,
                replace(stats, load_seconds=waited + stats.load_seconds),
                model=engine.info.model,
                draft=stats.speculation.drafter,
                notes=(*notes, *parts.pop("notes", ())),
                **parts,
            )

        if rulebook and (checked := rulebook.check_question(asked)):
            notes += checked.notes
            if checked.reject:
                yield end(FinishReason.REFUSED, "", verdict=checked.verdict)
                return
            asked = checked.text

        turns = self._turns(question)
        grounding = None
        if library is not None:
            grounding = library.ground(
                asked,
                turns=turns,
                engine=engine,
                settings=settings,
                guard=passage_guard(rulebook),
                cancel=cancel,
            )
            notes += grounding.notes
            if settings.assembly in ("warm", "instant"):
                notes.append(f"Passages are read anew: {settings.assembly!r} is not built yet.")
            if grounding.system:
                self._documents_say[settings.docs] = grounding.system
            yield Retrieved(grounding.passages, grounding.mode, grounding.seconds)
            if grounding.refusal:
                yield end(FinishReason.REFUSED, grounding.refusal, nearest=grounding.passages)
                return

        head = system_message(chat, settings, rules, grounding.system if grounding else "")
        said = "\n\n".join(part for part in (grounding.question if grounding else asked, feedback) if part)
        fitted = fit(
            engine,
            alternating([*head, *turns, Message(Role.USER, said)]),
            n_ctx=engine.info.n_ctx,
            max_tokens=settings.max_tokens,
            prefix=prefix,
            passages=len(grounding.passages) if grounding else 0,
        )
        notes += fitted.notes
        constraint, left = constraint_of(grounding, rules)
        notes += left
        self.last_request = request = Request(
            messages=fitted.messages,
            max_tokens=settings.max_tokens,
            sampling=sampling_of(settings),
            constraint=constraint,
            prefix=prefix,
            corpus=tuple(passage.text for passage in grounding.passages) if grounding else (),
            speculation="none" if settings.draft == "none" else "auto",
            when_full="shift" if settings.when_full == "shift" else "stop",
            session=self._session(chat.id),
        )
        yield fitted.context
        made = yield from generate(engine, request, rules=rules, grounding=grounding, cancel=cancel)
        yield end(
            made.reason,
            made.text,
            stats=made.stats,
            context=fitted.context,
            citations=made.grounded.citations if made.grounded else (),
            unsupported=made.grounded.unsupported if made.grounded else (),
            nearest=grounding.passages if grounding and made.reason is FinishReason.REFUSED else (),
            verdict=made.verdict,
            notes=made.notes,
        )

    def _next_prompt(
        self, engine: Engine, chat: Chat, settings: Settings, typed: str, before: int | None
    ) -> tuple[Message, ...]:
        """What the prompt of the next question begins with, behind message `before`."""
        asks_documents = self.library is not None or settings.docs != ""
        return certain_beginning(
            engine,
            chat,
            settings,
            turns=answered(self.history.path(chat.id, before)) if before is not None else (),
            typed=typed,
            rulebook=self._rulebook(settings),
            documents=self._documents_say.get(settings.docs) if asks_documents else "",
        )

    def _turns(self, question: StoredMessage) -> list[Message]:
        """The earlier messages of the branch. Questions that got no answer at all are left out with it."""
        path = self.history.path(question.chat_id, question.id)[:-1]
        return [Message(m.role, m.content) for m in answered(path)]

    def _session(self, chat: int) -> str:
        return "" if self.history.temporary or not chat else session_name(chat)

    def _library(self, settings: Settings) -> Retriever | None:
        if self.library is not None or not settings.docs or self._find_library is None:
            return self.library
        if settings.docs not in self._libraries:
            self._libraries[settings.docs] = self._find_library(settings.docs)
        return self._libraries[settings.docs]

    def _rulebook(self, settings: Settings) -> Rulebook | None:
        if self.rules is not None or not settings.rules or self._find_rules is None:
            return self.rules
        return self._find_rules(settings.rules)
