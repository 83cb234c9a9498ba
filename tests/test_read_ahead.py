"""What is read while the user types is not read again, and neither it nor a title costs the chat anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.assistant import Assistant
from localllm.engine.local import LocalEngine
from localllm.engine.protocol import EngineSpec
from localllm.events import Finished, Message, Role
from localllm.history import History
from localllm.settings import Settings
from tests.fakes import FakeEngine
from tests.models import CHAT, need
from tests.test_assistant_seams import FakeGrounding, FakeLibrary

LONG = "Compare the three pumps of the north hall by price, noise and age, and say which one to keep. " * 12
SETTINGS = Settings(temperature=0.0, max_tokens=24)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    need(CHAT)
    folder = tmp_path_factory.mktemp("sessions")
    engine = LocalEngine(EngineSpec(CHAT, n_ctx=2048, n_threads=1, speculation="none", sessions_dir=folder))
    yield engine
    engine.close()


def evaluated(finished: Finished) -> int:
    return finished.stats.prompt_tokens - finished.stats.cached_tokens


@pytest.mark.model
def test_a_question_that_was_read_while_it_was_typed_is_not_read_again(engine: LocalEngine, tmp_path: Path) -> None:
    with History(tmp_path / "a.db") as history:
        assistant = Assistant(engine, history=history, settings=SETTINGS)
        chats = [history.create_chat(system=f"You are assistant {n}.").id for n in range(2)]
        cold = assistant.ask(LONG, chat=chats[0])
        for n in (300, 600, len(LONG) - 10):
            assistant.read_ahead(chats[1], LONG[:n].rpartition(" ")[0])
        warm = assistant.ask(LONG, chat=chats[1])
        assert evaluated(cold) > 200 and evaluated(warm) < 16
        assert warm.stats.prompt_tokens == cold.stats.prompt_tokens


@pytest.mark.model
def test_a_title_and_reading_ahead_leave_the_second_turn_as_cheap_as_it_was(
    engine: LocalEngine, tmp_path: Path
) -> None:
    counts: dict[str, int] = {}
    for name in ("plain", "titled", "titled and read ahead"):
        with History(tmp_path / f"{name}.db") as history:
            assistant = Assistant(engine, history=history, settings=SETTINGS)
            chat = history.create_chat(system=f"This chat is called {name}.").id
            assistant.ask("Why is the sky blue?", chat=chat)
            if name != "plain":
                assistant.write_title(chat)
            if name == "titled and read ahead":
                assistant.read_ahead(chat)
            counts[name] = evaluated(assistant.ask("And why is the sunset red?", chat=chat))
    assert counts["plain"] >= counts["titled"] >= counts["titled and read ahead"]
    assert counts["plain"] > counts["titled and read ahead"]


@pytest.mark.model
def test_a_chat_that_is_opened_again_takes_up_its_saved_state(engine: LocalEngine, tmp_path: Path) -> None:
    with History(tmp_path / "a.db") as history:
        assistant = Assistant(engine, history=history, settings=SETTINGS)
        first, second = (history.create_chat(system=f"You are {n}. " + LONG).id for n in ("one", "two"))
        assistant.ask("Hello?", chat=first)
        assistant.ask("Hello?", chat=second)  # takes the place of the first one, which is saved
        read: list[int] = []
        decode = engine._backend.decode

        def counting(seq: int, tokens: list[int], pos: int, n_outputs: int) -> bool:
            read.append(len(tokens))
            return decode(seq, tokens, pos, n_outputs)

        engine._backend.decode = counting  # type: ignore[method-assign,assignment]
        try:
            cached = assistant.read_ahead(first)
        finally:
            engine._backend.decode = decode  # type: ignore[method-assign]
        assert cached > 250 and sum(read) < 16, "loaded, not evaluated"


def test_what_is_typed_is_read_behind_the_chat_and_behind_the_place_of_an_edit() -> None:
    engine = FakeEngine(["first", "second"])
    assistant = Assistant(engine, settings=Settings(system="Be brief."))
    chat = assistant.history.create_chat().id
    assistant.ask("one", chat=chat)
    assistant.ask("two", chat=chat)
    assistant.read_ahead(chat, "three and")
    assert [m.content for m in engine.prefilled[-1]] == ["Be brief.", "one", "first", "two", "second", "three and"]
    edited = assistant.history.path(chat)[2]
    assistant.read_ahead(chat, "two and", parent=edited.parent_id)
    assert [m.content for m in engine.prefilled[-1]] == ["Be brief.", "one", "first", "two and"]
    assistant.read_ahead(chat, "one and", parent=None)
    assert [m.content for m in engine.prefilled[-1]] == ["Be brief.", "one and"]
    assistant.read_ahead(None, "a new chat")
    assert [m.content for m in engine.prefilled[-1]] == ["Be brief.", "a new chat"]


def test_with_documents_the_turns_are_certain_and_the_question_is_not() -> None:
    engine = FakeEngine(["An answer [1]."])
    assistant = Assistant(engine, library=FakeLibrary(FakeGrounding()))
    chat = assistant.history.create_chat().id
    assert assistant.read_ahead(chat, "What does") == 0, "nobody knows yet what the documents' part will say"
    assistant.ask("What?", chat=chat)
    assistant.read_ahead(chat, "And then")
    before = engine.prefilled[-1]
    assert [m.role for m in before] == [Role.SYSTEM, Role.USER, Role.ASSISTANT]
    assistant.ask("And then what?", chat=chat)
    assert engine.requests[-1].messages[:3] == before


def test_nothing_is_read_for_whoever_cancelled() -> None:
    engine = FakeEngine()
    assistant = Assistant(engine, settings=replace(Settings(), system="Be brief."))
    cancel = threading.Event()
    cancel.set()
    assert assistant.read_ahead(None, "a", cancel=cancel) == 0 and engine.prefilled == []
    assert assistant.read_ahead(None, "a") > 0 and engine.prefilled == [
        (Message(Role.SYSTEM, "Be brief."), Message(Role.USER, "a"))
    ]
