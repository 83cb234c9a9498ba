"""The engine's idle time in the app: reading ahead and titles, given up at once for a question."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from localllm.engine.protocol import Cancel
from localllm.events import Message
from localllm.settings import Settings
from localllm_tui.idle import IdleWork
from localllm_tui.screens.reading_ahead import certain_part
from tests.fakes import FakeEngine
from tests.tui import opened


class Stuck(FakeEngine):
    """Reads ahead until it is cancelled, and notes what ran beside what."""

    def __init__(self, answers: Sequence[str] = ("An answer.",)) -> None:
        super().__init__(answers)
        self.reading = 0
        self.cancelled = 0

    def prefill(self, messages: Sequence[Message], cancel: Cancel | None = None, session: str = "") -> int:
        assert cancel is not None
        self.prefilled.append(tuple(messages))
        self.reading += 1
        while not cancel.is_set():
            time.sleep(0.001)
        self.reading -= 1
        self.cancelled += 1
        return 0


def test_the_certain_part_is_what_stands_before_the_last_word() -> None:
    assert certain_part("Why is the sk") == "Why is the"
    assert certain_part("Why is ") == "Why is"
    assert certain_part("Why") == certain_part("/find some words") == certain_part("") == ""


def test_a_newer_wish_takes_the_place_of_an_older_one_and_stop_forgets_both() -> None:
    idle, done, started = IdleWork(), [], threading.Event()

    def wait(cancel: threading.Event) -> None:
        started.set()
        done.append("waited" if cancel.wait(10) else "in vain")

    idle.wish(wait)
    assert started.wait(10)
    idle.wish(lambda cancel: done.append("old"))
    idle.wish(lambda cancel: done.append("new"))
    idle.stop()
    idle.wish(lambda cancel: done.append("after"))
    idle.wish(lambda cancel: done.append("last"))
    for _ in range(500):
        if done[-1:] == ["last"]:
            break
        time.sleep(0.01)
    assert done in (["waited", "last"], ["waited", "after", "last"])
    idle.close()
    idle.wish(lambda cancel: done.append("closed"))
    assert "closed" not in done


def test_work_that_fails_does_not_end_the_idle_time() -> None:
    idle, done = IdleWork(), threading.Event()

    def fail(cancel: threading.Event) -> None:
        raise OSError("nobody asked for it")

    idle.wish(fail)
    time.sleep(0.01)
    idle.wish(lambda cancel: done.set())
    assert done.wait(10)
    idle.close()


async def test_what_is_typed_is_read_while_the_user_types_and_enter_does_not_wait(tmp_path: Path) -> None:
    engine = Stuck()
    async with opened(tmp_path, engine) as here:
        await here.pilot.press(*"Why is the sky bl")
        await here.until(lambda: engine.prefilled, "reading ahead")
        await here.pilot.press(*"ue?")
        n_read = len(engine.prefilled)
        assert engine.reading == 1
        await here.ask("Why is the sky blue?")
        assert engine.cancelled >= 1 and engine.requests[-1].messages[-1].content == "Why is the sky blue?"
        assert "Why is the sky blue?".startswith(engine.prefilled[n_read - 1][-1].content)
        await here.until(lambda: engine.reading == 1, "the next prompt's beginning")
        assert [m.content for m in engine.prefilled[-1]] == ["Why is the sky blue?", "An answer."]


async def test_a_chat_that_is_opened_is_read_and_nothing_while_an_answer_is_written(tmp_path: Path) -> None:
    engine = FakeEngine(["One."])
    async with opened(tmp_path, engine) as here:
        await here.ask("First")
    slow = FakeEngine(["word " * 100], hold=3)
    async with opened(tmp_path, slow) as here:
        await here.until(lambda: slow.prefilled, "the opened chat")
        assert [m.content for m in slow.prefilled[-1]] == ["First", "One."]
        here.screen.prompt.put("Go")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn and here.screen.turn.n_tokens > 4)
        before = len(slow.prefilled)
        await here.pilot.press(*"typed while it answers ")
        await here.pilot.pause(0.5)
        assert len(slow.prefilled) == before
        slow.release.set()
        await here.until(lambda: here.screen.turn is None and len(slow.prefilled) > before, "reading after it")
        assert slow.prefilled[-1][-1].content == "typed while it answers"


async def test_nothing_is_read_ahead_where_the_settings_say_no(tmp_path: Path) -> None:
    engine = FakeEngine()
    async with opened(tmp_path, engine, settings=Settings(idle_prefill=False)) as here:
        await here.ask("First")
        await here.pilot.press(*"some words more ")
        await here.pilot.pause(0.5)
        assert engine.prefilled == []


async def test_the_model_names_a_chat_after_its_first_answer(tmp_path: Path) -> None:
    engine = FakeEngine(["It has a red roof."])
    engine.title = "A red\x1b[31m roof\x07\u202e on the house"
    async with opened(tmp_path, engine) as here:
        await here.ask("What about the house?")
        await here.until(lambda: "A red roof on the house" in here.text(), "the title")
        assert here.text().count("A red roof") == 2, "above the chat and in the list"
        assert "\x1b" not in here.text() and here.history.chat(1).title == "A red roof on the house"
        await here.ask("And the door?")
        await here.pilot.pause(0.1)
        assert len(engine.title_requests) == 1


async def test_a_question_ends_the_title_and_the_next_answer_brings_it(tmp_path: Path) -> None:
    engine = FakeEngine(["It has a red roof."])
    engine.title, engine.hold_title = "The red roof", True
    async with opened(tmp_path, engine) as here:
        await here.ask("What about it?")
        await here.until(lambda: engine.title_requests, "the title")
        await here.ask("And the door?")
        assert here.history.chat(1).title == "What about it?"
        engine.release.set()
        await here.until(lambda: here.history.chat(1).title == "The red roof", "the title of the second try")


async def test_a_temporary_chat_is_read_ahead_and_gets_no_title(tmp_path: Path) -> None:
    engine = FakeEngine(["It has a red roof."])
    engine.title = "The red roof"
    async with opened(tmp_path, engine) as here:
        await here.pilot.press("alt+t")
        await here.ask("What about the house?")
        await here.until(lambda: engine.prefilled and engine.prefilled[-1][-1].content == "It has a red roof.")
        assert not engine.title_requests and here.history.chats() == []


async def test_a_title_is_not_lost_to_a_newer_wish_or_to_another_chat(tmp_path: Path) -> None:
    engine = FakeEngine(["It has a red roof."])
    engine.title, engine.hold_title = "The red roof", True
    async with opened(tmp_path, engine) as here:
        await here.ask("What about it?")
        await here.until(lambda: engine.title_requests, "the title")
        await here.pilot.press("ctrl+n", *"typed in another chat ")
        await here.until(lambda: len(engine.title_requests) >= 2, "the second try")
        engine.release.set()
        await here.until(lambda: here.history.chat(1).title == "The red roof", "the title")
        await here.until(lambda: "The red roof" in here.text() and here.screen._untitled is None, "the list")
