"""How long a model thought aloud: measured while the answer grows, kept with it, and added to when it goes on."""

from __future__ import annotations

import pytest

from localllm.assistant import Assistant
from localllm.assistant.record import AnswerRecord
from localllm.events import Finished, FinishReason, Role, Stats, Token
from localllm.history import History, MessageState
from tests.fakes import FakeEngine


def thought_aloud(record: AnswerRecord, now: list[float], *pieces: str) -> Stats:
    """The stats of an answer whose pieces came two seconds apart."""
    for piece in pieces:
        record.follow(Token(piece))
        now[0] += 2.0
    return record.finish(Finished(FinishReason.STOP, record.text, Stats(completion_tokens=5))).stats


@pytest.mark.parametrize(
    ("pieces", "seconds"),
    [
        (["\n<think>", "so", "</think>", "Seven", "."], 4.0),
        (["<th", "ink>", "so", "</thi", "nk>Seven"], 6.0),
        (["<think>", "so"], 2.0),
        (["Seven", " is <think> no", "."], 0.0),
        ([], 0.0),
    ],
)
def test_the_time_of_the_reasoning_is_measured_and_kept(pieces: list[str], seconds: float) -> None:
    history, now = History(None), [100.0]
    message = history.add_message(history.create_chat().id, Role.ASSISTANT, "", state=MessageState.STREAMING)
    record = AnswerRecord(history, message.id, clock=lambda: now[0])
    stats = thought_aloud(record, now, *pieces)
    assert stats == Stats(completion_tokens=5, thinking_seconds=seconds)
    assert history.message(message.id).stats == stats


def test_reasoning_that_goes_on_behind_a_stop_adds_to_its_time() -> None:
    history, now = History(None), [100.0]
    message = history.add_message(history.create_chat().id, Role.ASSISTANT, "<think>so", state=MessageState.STREAMING)
    record = AnswerRecord(history, message.id, "<think>so", lambda: now[0], thinking_seconds=7.0)
    now[0] += 100.0
    assert thought_aloud(record, now, " far", " so", " good</think>", "Seven").thinking_seconds == 11.0


def test_continuing_an_answer_keeps_how_long_was_thought_about_it() -> None:
    assistant = Assistant(FakeEngine(["<think>Let me see.</think>Seven", " and eight"], seconds_per_token=0.001))
    chat = assistant.history.create_chat().id
    *_, finished = assistant.send(chat, "question")
    answer = assistant.history.path(chat)[-1]
    assert isinstance(finished, Finished) and answer.stats == finished.stats
    assert finished.stats.thinking_seconds > 0
    *_, longer = assistant.continue_(answer.id)
    assert isinstance(longer, Finished) and longer.text.endswith("Seven and eight")
    assert longer.stats.thinking_seconds == finished.stats.thinking_seconds
