"""Chats of other applications come in as trees, with nothing lost that they kept."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from localllm.errors import InputError
from localllm.events import Role
from localllm.history import History
from localllm.history.export import FORMATS
from localllm.history.importing import load


@pytest.fixture
def history() -> History:
    return History(None)


def node(key: str, parent: str | None, role: str = "", text: str = "", **message: Any) -> dict[str, Any]:
    content = {"content_type": "text", "parts": [text]}
    inner = {"author": {"role": role}, "content": content, "create_time": 1700.5, **message} if role else None
    return {"id": key, "parent": parent, "children": [], "message": inner}


def test_chatgpt_conversations_keep_their_branches(history: History, tmp_path: Path) -> None:
    nodes = [
        node("a2", "q1", "assistant", "second try", metadata={"model_slug": "gpt-x"}),
        node("root", None),
        node("sys", "root", "system", ""),
        node("q1", "sys", "user", "question"),
        node("a1", "q1", "assistant", "first try"),
        node("tool", "a2", "tool", "tool output"),
        node("q2", "tool", "user", "more"),
    ]
    conversation = {
        "title": "Sky",
        "create_time": 1700.0,
        "current_node": "q2",
        "mapping": {n["id"]: n for n in nodes},
    }
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([conversation]))
    assert load(history, path) == (1, 4)
    chat = history.chat("Sky")
    assert chat.created == 1700.0
    assert [m.content for m in history.path(chat.id)] == ["question", "second try", "more"]
    assert [m.model for m in history.path(chat.id)] == ["", "gpt-x", ""]
    answer = history.path(chat.id)[1]
    assert {m.content for m in history.siblings(answer.id)} == {"first try", "second try"}


def test_jan_threads_are_read_in_the_order_of_their_times(history: History, tmp_path: Path) -> None:
    thread = tmp_path / "threads" / "jan_1"
    thread.mkdir(parents=True)
    (thread / "thread.json").write_text(json.dumps({"id": "jan_1", "title": "Trip", "created": 1_700_000_000_000}))

    def line(role: str, text: str, at: int) -> str:
        content = [{"type": "text", "text": {"value": text, "annotations": []}}]
        return json.dumps({"role": role, "content": content, "created_at": at})

    lines = [line("assistant", "hi", 1_700_000_002), line("user", "hello", 1_700_000_001)]
    (thread / "messages.jsonl").write_text("\n".join(lines))
    assert load(history, tmp_path / "threads") == (1, 2)
    messages = history.path(history.chat("Trip").id)
    assert [(m.role, m.content, m.created) for m in messages] == [
        (Role.USER, "hello", 1_700_000_001.0),
        (Role.ASSISTANT, "hi", 1_700_000_002.0),
    ]


def test_llm_logs_are_read_without_being_written_to(history: History, tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE conversations (id TEXT PRIMARY KEY, name TEXT, model TEXT)")
        conn.execute(
            "CREATE TABLE responses (id TEXT PRIMARY KEY, model TEXT, prompt TEXT, system TEXT, response TEXT,"
            " conversation_id TEXT, datetime_utc TEXT)"
        )
        conn.execute("INSERT INTO conversations VALUES ('c1', 'Cheese', 'm')")
        rows = [
            ("r1", "m1", "one", "Be brief.", "first", "c1", "2024-05-01T10:00:00"),
            ("r2", "m2", "two", None, "second", "c1", "2024-05-01T10:05:00.25+00:00"),
        ]
        conn.executemany("INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        conn.commit()
    before = path.read_bytes()
    assert load(history, path) == (1, 4)
    chat = history.chat("Cheese")
    messages = history.path(chat.id)
    assert [m.content for m in messages] == ["one", "first", "two", "second"]
    assert (chat.system, messages[1].model, messages[3].model) == ("Be brief.", "m1", "m2")
    assert messages[0].created == 1714557600.0 and messages[2].created == 1714557900.25
    assert path.read_bytes() == before


def test_a_circle_of_parents_does_not_hang(history: History, tmp_path: Path) -> None:
    a, b = node("a", "b", "user", "one"), node("b", "a", "assistant", "two")
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([{"title": "loop", "mapping": {"a": a, "b": b}, "current_node": "a"}]))
    assert load(history, path) == (1, 2)


def exported(path: Path, *texts: str) -> None:
    """A file of our own kind, with one chat of these texts."""
    source = History(None)
    chat = source.create_chat("Seals")
    parent: int | None = None
    for i, text in enumerate(texts):
        parent = source.add_message(chat.id, (Role.USER, Role.ASSISTANT)[i % 2], text, parent=parent).id
    path.write_text(FORMATS["jsonl"](source, source.chat(chat.id)), "utf-8")
    source.close()


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x1e", "\r"])
def test_our_own_chats_come_back_whatever_characters_they_hold(
    history: History, tmp_path: Path, separator: str
) -> None:
    path = tmp_path / "chats.jsonl"
    exported(path, f"before{separator}after", "an answer")
    assert load(history, path) == (1, 2)
    assert [m.content for m in history.messages(history.chats()[0].id)] == [f"before{separator}after", "an answer"]


@pytest.mark.parametrize("damage", ["parent", "state"])
def test_of_a_damaged_file_nothing_is_added(history: History, tmp_path: Path, damage: str) -> None:
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    exported(whole, "a question", "an answer")
    lines = whole.read_text("utf-8").splitlines()
    last = json.loads(lines[-1])
    last |= {"parent_id": 99} if damage == "parent" else {"state": "lost"}
    broken.write_text("\n".join([*lines, *lines[:-1], json.dumps(last)]), "utf-8")
    with pytest.raises(InputError, match=r"broken\.jsonl"):
        load(history, broken)
    assert history.chats() == []
    assert load(history, whole) == (1, 2), "the history can be written to afterwards"


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("2024-05-01T10:00:00", 1714557600.0),
        ("2024-05-01T10:00:00Z", 1714557600.0),
        ("2024-05-01T05:00:00-05:00", 1714557600.0),
        (1714557600, 1714557600.0),
        (1714557600000, 1714557600.0),
    ],
)
def test_times_are_read_in_every_form(history: History, tmp_path: Path, date: str | int, seconds: float) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "thread.json").write_text(json.dumps({"title": "t", "created": date}))
    load(history, tmp_path)
    assert history.chats()[0].created == seconds
