"""One turn, start to finish: one stream of events, and nothing that was said is ever lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from localllm.assistant import Assistant
from localllm.assistant.record import AnswerRecord
from localllm.engine.protocol import Cancel, Engine, EngineEvent, Request
from localllm.errors import ContextOverflow, EngineDied, ModelNotFound, SettingsError
from localllm.events import (
    ContextUse,
    Event,
    Finished,
    FinishReason,
    Loading,
    Message,
    Prefilling,
    Role,
    Stats,
    Token,
    TurnStarted,
)
from localllm.history import ChatOptions, History, MessageState
from localllm.settings import Settings
from tests.fakes import FakeEngine


class DyingEngine(FakeEngine):
    """Dies after a number of tokens."""

    def __init__(self, tokens: int, error: Exception) -> None:
        super().__init__(["one two three four five six"])
        self.tokens, self.error = tokens, error

    def stream(self, request: Request, cancel: Cancel | None = None) -> Iterator[EngineEvent]:
        for i, event in enumerate(super().stream(request, cancel)):
            if i > self.tokens:
                raise self.error
            yield event


def texts(assistant: Assistant, chat: int) -> list[str]:
    return [message.content for message in assistant.history.path(chat)]


def started(events: list[Event]) -> TurnStarted:
    assert isinstance(events[0], TurnStarted)
    return events[0]


# ---- the stream -----------------------------------------------------------------------------------------------------


def test_a_turn_is_one_stream_from_started_to_finished() -> None:
    assistant = Assistant(FakeEngine(["Because of scattering."]))
    chat = assistant.history.create_chat().id
    events = list(assistant.send(chat, "Why is the sky blue?"))
    kinds = [type(event) for event in events]
    assert kinds[:3] == [TurnStarted, ContextUse, Prefilling] and kinds[-1] is Finished
    assert set(kinds[3:-1]) == {Token}
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.text == "".join(e.text for e in events if isinstance(e, Token)) == "Because of scattering."
    assert (finished.reason, finished.model) == (FinishReason.STOP, "Fake-1B.Q4_0")
    assert finished.context == events[1]


def test_ask_is_a_loop_over_the_same_stream() -> None:
    assistant = Assistant(FakeEngine(["Yes."]))
    assert assistant.ask("Is it?").text == "Yes."
    assert texts(assistant, 1) == ["Is it?", "Yes."]


def test_the_model_reads_system_prompt_and_earlier_turns() -> None:
    engine = FakeEngine(["first", "second"])
    assistant = Assistant(engine, settings=Settings(system="Be brief."))
    chat = assistant.history.create_chat().id
    assistant.ask("one", chat=chat)
    assistant.ask("two", chat=chat)
    assert engine.requests[-1].messages == (
        Message(Role.SYSTEM, "Be brief."),
        Message(Role.USER, "one"),
        Message(Role.ASSISTANT, "first"),
        Message(Role.USER, "two"),
    )


def test_what_is_read_ahead_is_what_the_next_question_begins_with() -> None:
    engine = FakeEngine(["first", ""])
    assistant = Assistant(engine, settings=Settings(system="Be brief."))
    chat = assistant.history.create_chat().id
    assistant.ask("one", chat=chat)
    assistant.ask("a question that gets no answer", chat=chat)
    assert assistant.read_ahead(chat) > 0
    assistant.ask("two", chat=chat)
    assert engine.requests[-1].messages == (*engine.prefilled[-1], Message(Role.USER, "two"))


def test_nothing_is_read_ahead_where_it_is_not_wanted_or_not_known() -> None:
    engine = FakeEngine()
    assistant = Assistant(engine)
    chat = assistant.history.create_chat(system="Be brief.").id
    assert assistant.read_ahead(chat, settings=Settings(idle_prefill=False)) == 0
    assert assistant.read_ahead(chat, settings=Settings(docs="manuals")) == 0
    assert assistant.read_ahead(assistant.history.create_chat().id) == 0, "an empty chat begins with the question"
    assert engine.prefilled == []
    assert Assistant(opener=lambda _: engine, history=assistant.history).read_ahead(chat) == 0
    small = FakeEngine(n_ctx=16)
    assert Assistant(small, history=assistant.history).read_ahead(chat) == 0, "it would not fit"


def test_a_chat_has_its_own_system_prompt_and_settings() -> None:
    engine = FakeEngine()
    assistant = Assistant(engine, settings=Settings(system="Be brief.", temperature=0.5, seed=3))
    options = ChatOptions(settings={"temperature": 0.0, "max_tokens": 7})
    chat = assistant.history.create_chat(system="Be long.", options=options).id
    assistant.ask("q", chat=chat)
    request = engine.requests[-1]
    assert request.messages[0].content == "Be long."
    assert (request.sampling.temperature, request.sampling.seed, request.max_tokens) == (0.0, 3, 7)


def test_settings_of_a_chat_that_make_no_sense_give_one_line() -> None:
    assistant = Assistant(FakeEngine())
    for bad in ({"temperature": "hot"}, {"warp": 9}):
        chat = assistant.history.create_chat(options=ChatOptions(settings=bad)).id
        with pytest.raises(SettingsError, match="own settings"):
            list(assistant.send(chat, "q"))


# ---- the history ----------------------------------------------------------------------------------------------------


def test_the_question_is_stored_before_generation_and_the_answer_marked_as_streaming() -> None:
    assistant = Assistant(FakeEngine(["answer"]))
    chat = assistant.history.create_chat().id
    stream = assistant.send(chat, "question")
    turn = next(stream)
    assert isinstance(turn, TurnStarted)
    question, answer = assistant.history.path(chat)
    assert (question.content, question.id) == ("question", turn.question_id)
    assert (answer.state, answer.id) == (MessageState.STREAMING, turn.answer_id)
    list(stream)
    answer = assistant.history.message(turn.answer_id)
    assert (answer.state, answer.content, answer.reason) == (MessageState.COMPLETE, "answer", "stop")
    assert answer.stats is not None and answer.stats.completion_tokens == 6


def test_the_growing_answer_is_saved_about_every_second(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(None)
    chat = history.create_chat().id
    message = history.add_message(chat, Role.ASSISTANT, "", state=MessageState.STREAMING)
    saved: list[str] = []
    real = history.update_message

    def update(message_id: int, *, content: str) -> bool:
        saved.append(content)
        return real(message_id, content=content)

    monkeypatch.setattr(history, "update_message", update)
    now = [100.0]
    record = AnswerRecord(history, message.id, clock=lambda: now[0])
    for n in range(20):
        now[0] += 0.25
        record.follow(Token(str(n % 10)))
    assert [len(text) for text in saved] == [4, 8, 12, 16, 20]
    assert history.message(message.id).content == saved[-1]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_cancel_keeps_the_partial_answer(n: int) -> None:
    assistant = Assistant(FakeEngine(["one two three four"]))
    chat = assistant.history.create_chat().id
    cancel = threading.Event()
    events: list[Event] = []
    for event in assistant.send(chat, "count", cancel=cancel):
        events.append(event)
        if sum(isinstance(e, Token) for e in events) >= n and isinstance(event, (Prefilling, Token)):
            cancel.set()
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.reason is FinishReason.CANCELLED
    assert finished.text == "one two three four"[: 4 * n]
    answer = assistant.history.message(started(events).answer_id)
    assert (answer.content, answer.state, answer.reason) == (finished.text, MessageState.STOPPED, "cancelled")


@pytest.mark.parametrize("how", ["close", "interrupt"])
def test_leaving_the_stream_keeps_the_partial_answer(how: str) -> None:
    assistant = Assistant(FakeEngine(["one two three four"]))
    chat = assistant.history.create_chat().id
    stream = assistant.send(chat, "count")
    for event in stream:
        if isinstance(event, Token):
            break
    if how == "close":
        stream.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt())
    answer = assistant.history.path(chat)[1]
    assert (answer.content, answer.state, answer.reason) == ("one ", MessageState.STOPPED, "cancelled")


@pytest.mark.parametrize("error", [EngineDied("The worker ended."), RuntimeError("bug")])
def test_an_error_keeps_the_partial_answer_and_says_what_failed(error: Exception) -> None:
    assistant = Assistant(DyingEngine(2, error))
    chat = assistant.history.create_chat().id
    with pytest.raises(type(error)):
        list(assistant.send(chat, "count"))
    question, answer = assistant.history.path(chat)
    assert question.content == "count"
    assert (answer.content, answer.state, answer.reason) == ("one two ", MessageState.ERROR, str(error))


def test_a_question_too_long_is_kept_and_marked() -> None:
    assistant = Assistant(FakeEngine(n_ctx=100))
    chat = assistant.history.create_chat().id
    with pytest.raises(ContextOverflow):
        list(assistant.send(chat, "x" * 200))
    question, answer = assistant.history.path(chat)
    assert question.content == "x" * 200 and answer.state is MessageState.ERROR and "100" in answer.reason


def test_a_question_that_got_no_answer_is_not_asked_again_with_the_next() -> None:
    engine = DyingEngine(0, EngineDied("died"))
    assistant = Assistant(engine)
    chat = assistant.history.create_chat().id
    with pytest.raises(EngineDied):
        list(assistant.send(chat, "lost"))
    engine.tokens = 99
    list(assistant.send(chat, "found"))
    assert engine.requests[-1].messages == (Message(Role.USER, "found"),)


def test_a_history_that_fails_at_the_end_does_not_take_the_answer_away() -> None:
    assistant = Assistant(FakeEngine(["precious"]))
    chat = assistant.history.create_chat().id
    stream = assistant.send(chat, "q")
    seen = [next(stream), next(stream)]
    assistant.history.close()
    seen += list(stream)
    assert isinstance(seen[-1], Finished)
    assert seen[-1].text == "precious" and "could not be kept" in seen[-1].notes[-1]


def test_left_out_messages_are_noted_in_the_answer() -> None:
    assistant = Assistant(FakeEngine(["a" * 120], n_ctx=600))
    chat = assistant.history.create_chat().id
    notes = [assistant.ask(f"question {i}", chat=chat).notes for i in range(5)]
    assert notes[0] == () and "were left out" in notes[-1][0]
    assert "were left out" in assistant.history.path(chat)[-1].notes[0]


# ---- alternatives ---------------------------------------------------------------------------------------------------


def test_regenerate_makes_an_alternative_beside_the_answer() -> None:
    assistant = Assistant(FakeEngine(["first", "second"]))
    chat = assistant.history.create_chat().id
    turn = started(list(assistant.send(chat, "q")))
    again = started(list(assistant.regenerate(turn.answer_id)))
    assert [m.content for m in assistant.history.siblings(turn.answer_id)] == ["first", "second"]
    assert texts(assistant, chat) == ["q", "second"]
    assert again.question_id == turn.question_id


def test_regenerate_in_mid_chat_reads_only_what_came_before() -> None:
    engine = FakeEngine(["a1", "a2", "a1 again"])
    assistant = Assistant(engine)
    chat = assistant.history.create_chat().id
    turn = started(list(assistant.send(chat, "q1")))
    list(assistant.send(chat, "q2"))
    list(assistant.regenerate(turn.answer_id))
    assert engine.requests[-1].messages == (Message(Role.USER, "q1"),)
    assert texts(assistant, chat) == ["q1", "a1 again"]


def test_an_edited_question_is_a_branch_beside_the_old_one() -> None:
    assistant = Assistant(FakeEngine(["a1", "a2", "a2 edited", "other"]))
    chat = assistant.history.create_chat().id
    first = started(list(assistant.send(chat, "q1")))
    second = started(list(assistant.send(chat, "q2")))
    list(assistant.send(chat, "q2 edited", parent=first.answer_id))
    assert texts(assistant, chat) == ["q1", "a1", "q2 edited", "a2 edited"]
    assert len(assistant.history.siblings(second.question_id or 0)) == 2
    list(assistant.send(chat, "q0", parent=None))
    assert texts(assistant, chat) == ["q0", "other"]


def test_continue_goes_on_behind_the_text_and_grows_the_same_message() -> None:
    engine = FakeEngine(["one two ", "three four"])
    assistant = Assistant(engine)
    chat = assistant.history.create_chat().id
    turn = started(list(assistant.send(chat, "count")))
    events = list(assistant.continue_(turn.answer_id))
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.text == "one two three four"
    assert engine.requests[-1].prefix == "one two "
    assert engine.requests[-1].messages == (Message(Role.USER, "count"),)
    assert texts(assistant, chat) == ["count", "one two three four"]
    assert started(events).answer_id == turn.answer_id


def test_an_edited_answer_can_be_continued() -> None:
    engine = FakeEngine(["bad", " and more"])
    assistant = Assistant(engine)
    chat = assistant.history.create_chat().id
    turn = started(list(assistant.send(chat, "q")))
    assistant.history.update_message(turn.answer_id, content="good")
    list(assistant.continue_(turn.answer_id))
    assert texts(assistant, chat) == ["q", "good and more"]


def test_only_answers_can_be_continued() -> None:
    assistant = Assistant(FakeEngine())
    chat = assistant.history.create_chat().id
    turn = started(list(assistant.send(chat, "q")))
    with pytest.raises(ValueError, match="only an answer"):
        list(assistant.continue_(turn.question_id or 0))


# ---- the engine -----------------------------------------------------------------------------------------------------


def slow_opener(engine: Engine, go: threading.Event) -> Callable[[Callable[[Loading], None]], Engine]:
    def opener(report: Callable[[Loading], None]) -> Engine:
        report(Loading("Fake", 0.0))
        assert go.wait(10)
        report(Loading("Fake", 1.0))
        return engine

    return opener


def test_the_first_question_loads_the_model_and_shows_how_far_it_is() -> None:
    go = threading.Event()
    assistant = Assistant(opener=slow_opener(FakeEngine(["hi"]), go))
    assert assistant.engine is None
    events = []
    for event in assistant.send(assistant.history.create_chat().id, "q"):
        events.append(event)
        if isinstance(event, Loading):
            go.set()
    loads = [e.fraction for e in events if isinstance(e, Loading)]
    assert loads == [0.0, 1.0]
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.text == "hi" and finished.stats.load_seconds > 0


def test_loading_in_advance_and_a_question_share_one_load() -> None:
    go, opened = threading.Event(), []

    def opener(report: Callable[[Loading], None]) -> Engine:
        opened.append(1)
        return slow_opener(FakeEngine(["hi"]), go)(report)

    assistant = Assistant(opener=opener)
    early = threading.Thread(target=lambda: list(assistant.load()))
    early.start()
    answer: list[Finished] = []
    late = threading.Thread(target=lambda: answer.append(assistant.ask("q")))
    late.start()
    go.set()
    early.join(10)
    late.join(10)
    assert answer[0].text == "hi" and opened == [1]


def test_cancel_while_the_model_loads_ends_the_turn_and_keeps_the_load() -> None:
    go, cancel = threading.Event(), threading.Event()
    assistant = Assistant(opener=slow_opener(FakeEngine(["hi"]), go))
    chat = assistant.history.create_chat().id
    events = []
    for event in assistant.send(chat, "q", cancel=cancel):
        events.append(event)
        cancel.set()
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.reason is FinishReason.CANCELLED
    go.set()
    list(assistant.load())
    assert assistant.engine is not None


def test_a_failed_load_is_raised_and_tried_anew_with_the_next_question() -> None:
    answers: list[Engine | Exception] = [ModelNotFound("There is no model."), FakeEngine(["hi"])]

    def opener(report: Callable[[Loading], None]) -> Engine:
        result = answers.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    assistant = Assistant(opener=opener)
    chat = assistant.history.create_chat().id
    with pytest.raises(ModelNotFound):
        list(assistant.send(chat, "q"))
    assert assistant.ask("q", chat=chat).text == "hi"


def test_after_the_worker_died_the_next_question_starts_a_new_one() -> None:
    engines = [DyingEngine(1, EngineDied("died")), FakeEngine(["alive"])]
    assistant = Assistant(opener=lambda report: engines.pop(0))
    chat = assistant.history.create_chat().id
    with pytest.raises(EngineDied):
        list(assistant.send(chat, "q"))
    assert assistant.engine is None
    assert assistant.ask("q", chat=chat).text == "alive"


def test_switching_models_closes_the_old_one_and_the_chat_goes_on() -> None:
    old = FakeEngine(["old"])
    assistant = Assistant(old)
    chat = assistant.history.create_chat().id
    assistant.ask("q1", chat=chat)
    assistant.switch(lambda report: FakeEngine(["new"]))
    assert old.closed
    assert assistant.ask("q2", chat=chat).text == "new"
    assert texts(assistant, chat) == ["q1", "old", "q2", "new"]


def test_a_model_that_arrives_after_closing_is_closed() -> None:
    go, engine = threading.Event(), FakeEngine()
    assistant = Assistant(opener=slow_opener(engine, go))
    stream = assistant.load()
    next(iter(stream))
    assistant.close()
    go.set()
    deadline = time.monotonic() + 10
    while not engine.closed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert engine.closed


def test_stats_count_the_time_that_a_question_waited_for_the_model() -> None:
    assert Assistant(FakeEngine()).ask("q").stats.load_seconds < 0.5
    assert Stats().load_seconds == 0
