"""Titles of chats by the model: asked behind the chat, kept when they say something, never over the user's own."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.assistant import Assistant
from localllm.assistant.titles import PREFIX, usable
from localllm.events import Message, Role
from localllm.history import History, MessageState, StoredMessage
from localllm.settings import Settings
from tests.fakes import FakeEngine


def turns(*texts: str) -> list[StoredMessage]:
    roles = (Role.USER, Role.ASSISTANT)
    return [
        StoredMessage(n, 1, n - 1 or None, roles[(n - 1) % 2], text, MessageState.COMPLETE, 0.0)
        for n, text in enumerate(texts, 1)
    ]


SKY = turns("Why is the sky blue?", "Sunlight is scattered by the air, and blue light most.")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Why the Sky Is Blue", "Why the Sky Is Blue"),
        (" **Blue sky and sunlight**.", "Blue sky and sunlight"),
        ("Scattered light\x1b[31m\u202e", "Scattered light"),
        ("The Blue Sky of the Sky", ""),
        ("How to Write a Good Review", ""),
        ("Blue Stars", ""),
        ("", ""),
        ("...", ""),
        ("the and of", ""),
        ("blue " * 20, ""),
    ],
)
def test_a_title_is_on_the_subject_and_not_in_circles(text: str, title: str) -> None:
    assert usable(text, SKY) == title


def test_scripts_without_spaces_have_titles_too() -> None:
    said = turns("富士山の高さは何メートルですか。", "3776メートルです。")
    assert usable("富士山の高さ", said) == "富士山の高さ"
    assert usable("美味しい寿司屋", said) == ""


@given(st.text(max_size=80), st.text(max_size=80))
def test_whatever_the_model_writes_a_title_is_one_short_printable_line(text: str, said: str) -> None:
    title = usable(text, turns(said, text))
    assert len(title) <= 60 and title == " ".join(title.split())
    assert all(c.isprintable() for c in title)


def named(
    folder: Path | None, title: str = "Blue light and the sky", settings: Settings | None = None
) -> tuple[Assistant, FakeEngine, int]:
    engine = FakeEngine(["Blue light is scattered most."])
    engine.title = title
    history = History(folder and folder / f"{uuid.uuid4()}.db")
    assistant = Assistant(engine, history=history, settings=settings)
    chat = assistant.history.create_chat().id
    assistant.ask("Why is the sky blue?", chat=chat)
    return assistant, engine, chat


def test_the_model_is_asked_behind_the_chat_and_its_title_is_kept(tmp_path: Path) -> None:
    assistant, engine, chat = named(tmp_path)
    assert assistant.history.chat(chat).title == "Why is the sky blue?"
    assert assistant.write_title(chat) == "Blue light and the sky" == assistant.history.chat(chat).title
    request = engine.title_requests[0]
    assert request.messages[:2] == (
        Message(Role.USER, "Why is the sky blue?"),
        Message(Role.ASSISTANT, "Blue light is scattered most."),
    )
    assert request.prefix == PREFIX and request.max_tokens <= 20 and "\n" in request.stop
    assert assistant.write_title(chat) == "" and len(engine.title_requests) == 1, "once"
    assert len(assistant.history.messages(chat)) == 2, "nothing of it is in the chat"


def test_rubbish_leaves_the_first_words(tmp_path: Path) -> None:
    assistant, _, chat = named(tmp_path, "My favourite recipes")
    assert assistant.write_title(chat) == "" and assistant.history.chat(chat).title == "Why is the sky blue?"


def test_a_title_of_the_user_wins_before_and_meanwhile(tmp_path: Path) -> None:
    assistant, engine, chat = named(tmp_path)
    assistant.history.rename(chat, "Mine")
    assert assistant.write_title(chat) == "" and not engine.title_requests
    assistant, engine, chat = named(tmp_path)
    engine.hold_title = True
    thread = threading.Thread(target=assistant.write_title, args=(chat,))
    thread.start()
    while not engine.title_requests:
        time.sleep(0.001)
    assistant.history.rename(chat, "Mine")
    engine.release.set()
    thread.join(10)
    assert assistant.history.chat(chat).title == "Mine"


def test_no_title_where_none_is_wanted_and_none_of_one_that_was_interrupted(tmp_path: Path) -> None:
    assistant, engine, chat = named(tmp_path, settings=Settings(auto_titles=False))
    assert assistant.write_title(chat) == "" and not engine.title_requests
    assistant, engine, chat = named(None)
    assert assistant.write_title(chat) == "" and not engine.title_requests, "a temporary chat"
    assistant, engine, chat = named(tmp_path)
    cancel = threading.Event()
    cancel.set()
    engine.hold_title = True
    assert assistant.write_title(chat, cancel=cancel) == ""
    assert assistant.history.chat(chat).title == "Why is the sky blue?"


def test_an_old_chat_keeps_the_name_its_user_knows(tmp_path: Path) -> None:
    assistant, engine, chat = named(tmp_path)
    for _ in range(3):
        assistant.ask("And red?", chat=chat)
    assert assistant.write_title(chat) == "" and not engine.title_requests
