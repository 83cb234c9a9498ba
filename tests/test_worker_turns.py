"""Several requests at one worker: a cancellation stops the one it is meant for, at once, and no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localllm.engine.protocol import EngineSpec, GenerationDone, TokenEvent
from localllm.engine.wire import Sender, receive, unpack_event
from localllm.engine.worker import Flag, Worker
from localllm.engine.worker_process import WorkerProcess
from localllm.errors import ModelNotFound
from localllm.events import FinishReason, Prefilling, Stats


@dataclass
class Evaluator:
    """An engine that answers one word per step, and does in the middle of a step what the test asks for."""

    n_seq: int = 1
    during: dict[str, Callable[[], None]] = field(default_factory=dict)
    aborting: bool = False
    aborted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spec = SimpleNamespace(n_seq=self.n_seq)
        self.info = SimpleNamespace(n_ctx=64)

    def interrupt(self, stop: bool = True) -> None:
        self.aborting = stop

    def evaluate(self, name: str) -> None:
        if action := self.during.pop(name, None):
            action()
        if self.aborting:
            self.aborted.append(name)

    def stream(self, name: str, flag: Flag) -> Iterator[TokenEvent | GenerationDone]:
        for _ in range(3):
            self.evaluate(name)
            if flag.is_set():
                yield GenerationDone(FinishReason.CANCELLED, Stats())
                return
            yield TokenEvent(name)
        yield GenerationDone(FinishReason.STOP, Stats())

    def prefill(self, name: str, flag: Flag) -> int:
        self.evaluate(name)
        return 0 if flag.is_set() else 1


@dataclass
class Desk:
    """A worker whose requests are put in by hand, and what it answered."""

    engine: Evaluator

    def __post_init__(self) -> None:
        self.read_end, write_end = os.pipe()
        self.sender = Sender(write_end)
        self.worker = Worker(-1, self.sender, self.engine)

    def ask(self, number: int, name: str, kind: str = "stream") -> None:
        self.worker._flags[number] = Flag()
        self.worker._inbox.append((kind, number, name))

    def cancel(self, number: int) -> None:
        self.worker._cancel(number)

    def work(self) -> dict[int, Any]:
        """Work until there is nothing to do; the last thing said to each request before its end."""
        while self.worker._step():
            pass
        self.worker._flush()
        self.sender.close()
        last: dict[int, Any] = {}
        for kind, number, value in receive(self.read_end):
            if kind != "end":
                last[number] = unpack_event(value) if kind == "event" else value
        os.close(self.read_end)
        return last


def reasons(last: dict[int, Any]) -> dict[int, FinishReason]:
    return {number: event.reason for number, event in last.items() if isinstance(event, GenerationDone)}


def test_taking_back_a_question_that_waits_leaves_the_running_answer_alone() -> None:
    engine = Evaluator()
    desk = Desk(engine)
    engine.during["first"] = lambda: desk.cancel(2)
    desk.ask(1, "first")
    desk.ask(2, "second")
    assert reasons(desk.work()) == {1: FinishReason.STOP, 2: FinishReason.CANCELLED}
    assert engine.aborted == []


def test_a_question_that_waits_is_told_at_once_that_it_was_taken_back() -> None:
    engine = Evaluator()
    desk = Desk(engine)
    desk.ask(1, "first")
    desk.ask(2, "second")
    desk.worker._step()
    desk.cancel(2)
    desk.worker._step()
    assert 2 not in desk.worker._flags
    assert 1 in desk.worker._flags, "the first answer is still being written"
    desk.work()


def test_of_two_answers_side_by_side_one_is_cancelled_and_the_other_ends_well() -> None:
    engine = Evaluator(n_seq=2)
    desk = Desk(engine)
    engine.during["first"] = lambda: desk.cancel(2)
    desk.ask(1, "first")
    desk.ask(2, "second")
    assert reasons(desk.work()) == {1: FinishReason.STOP, 2: FinishReason.CANCELLED}
    assert "first" not in engine.aborted


def test_cancelling_an_answer_stops_its_own_evaluation_and_not_the_next_one() -> None:
    engine = Evaluator()
    desk = Desk(engine)
    engine.during["first"] = lambda: desk.cancel(1)
    desk.ask(1, "first")
    desk.ask(2, "second")
    assert reasons(desk.work()) == {1: FinishReason.CANCELLED, 2: FinishReason.STOP}
    assert engine.aborted == ["first"]


def test_idle_work_is_stopped_while_it_runs_and_never_started_beside_an_answer() -> None:
    engine = Evaluator()
    desk = Desk(engine)
    engine.during["idle"] = lambda: desk.cancel(1)
    desk.ask(1, "idle", "prefill")
    desk.ask(2, "answer")
    desk.ask(3, "more idle", "prefill")
    last = desk.work()
    assert (last[1], last[3]) == (0, 0)
    assert reasons(last) == {2: FinishReason.STOP}
    assert engine.aborted == ["idle"]


def test_the_first_token_goes_at_once_with_the_end_of_the_prefill_and_quick_ones_go_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("localllm.engine.worker._GATHER", 60.0)

    class Quick(Evaluator):
        def stream(self, name: str, flag: Flag) -> Iterator[Any]:
            yield Prefilling(0, 5)
            yield Prefilling(5, 5)
            for i in range(4):
                yield TokenEvent(f"{i} ", (i,))
            yield TokenEvent("drafted", (8, 9), True)
            yield GenerationDone(FinishReason.STOP, Stats())

    desk = Desk(Quick())
    sent: list[list[Any]] = []
    send = desk.sender.send

    def note(*messages: Any) -> None:
        sent.append([unpack_event(value) for _, _, value in messages])
        send(*messages)

    monkeypatch.setattr(desk.sender, "send", note)
    desk.ask(1, "a")
    desk.work()
    done = GenerationDone(FinishReason.STOP, Stats())
    assert sent == [
        [Prefilling(0, 5)],
        [Prefilling(5, 5), TokenEvent("0 ", (0,))],
        [TokenEvent("1 2 3 ", (1, 2, 3)), TokenEvent("drafted", (8, 9), True), done],
        [None],
    ]


def test_what_is_said_to_a_worker_that_was_closed_reaches_no_other_file(tmp_path: Path) -> None:
    process = WorkerProcess(EngineSpec(tmp_path / "none.gguf"), tmp_path / "worker.log", lambda _: None)
    assert process.settled.wait(60)
    assert isinstance(process.failure, ModelNotFound)
    process.close()
    files = [(tmp_path / f"{i}.db").open("wb") for i in range(8)]  # they get the numbers that have become free
    process.cancel(1)
    for file in files:
        file.close()
    assert [path.stat().st_size for path in sorted(tmp_path.glob("*.db"))] == [0] * 8


def test_a_progress_callback_that_fails_leaves_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(message: object) -> Iterator[object]:
        raise RuntimeError("the screen has gone")

    monkeypatch.setattr("threading.excepthook", lambda _: None)
    monkeypatch.setattr("localllm.engine.worker_process.receive", fail)
    process = WorkerProcess(EngineSpec(tmp_path / "none.gguf"), tmp_path / "worker.log", lambda _: None)
    assert process.settled.wait(60)
    assert process.ended
    process.close()
