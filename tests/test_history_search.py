"""Searching the chats: what a user types is text, never syntax."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localllm.events import Role
from localllm.history import History, MessageState


@pytest.fixture(scope="module")
def history() -> History:
    history = History(None)
    for title, text in (
        ("Pump manual", "Replace the seal every 400 hours, part QX-2291."),
        ("Trip notes", "Le café était fermé. We went to foo_bar, and paid 50% in C++ style."),
        ("日本旅行", "京都で雨が降っていました。"),
        ("Seal spotting", "We saw grey animals on the beach."),
    ):
        chat = history.create_chat(title).id
        history.add_message(chat, Role.USER, text)
    return history


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("seal", ["Seal spotting", "Pump manual"]),
        ("SEAL every", ["Pump manual"]),
        ("repl", ["Pump manual"]),  # the last word may be a beginning
        ("repl part", []),  # the others may not
        ("part repl", ["Pump manual"]),
        ('"every 400"', ["Pump manual"]),
        ('"400 every"', []),
        ("QX-2291", ["Pump manual"]),
        ("cafe etait", ["Trip notes"]),
        ("foo_bar", ["Trip notes"]),
        ("50%", ["Trip notes"]),
        ("C++", ["Trip notes"]),
        ("%", ["Trip notes"]),
        ("_", ["Trip notes"]),
        ("京都", ["日本旅行"]),
        ("旅行", ["日本旅行"]),
        ("seal NOT every", []),
        ("title:pump OR *", []),
        ("", []),
        ('"', []),
    ],
)
def test_search_finds(history: History, query: str, titles: list[str]) -> None:
    assert [hit.title for hit in history.search(query)] == titles


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_is_a_syntax_error(history: History, query: str) -> None:
    history.search(query)
    history.chats(query)


@given(
    st.sampled_from(["Replace the seal", "QX-2291", "grey animals", "foo_bar", "était fermé", "京都で雨"]), st.data()
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_beginning_of_a_stored_text_is_found(history: History, text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(text)))
    assert any(hit.message_id for hit in history.search(text[:cut]))


def test_a_hit_marks_the_match_and_its_place(history: History) -> None:
    hit = history.search("hours")[0]
    assert "400 \x02hours\x03," in hit.snippet
    assert history.message(hit.message_id or 0).content.startswith("Replace")
    assert "\x02雨\x03" in history.search("雨")[0].snippet


def test_a_title_comes_before_messages_and_names_no_message(history: History) -> None:
    assert history.search("seal")[0].message_id is None


def test_search_stays_inside_one_chat_when_asked(history: History) -> None:
    pump = history.chat("Pump manual").id
    assert {hit.chat_id for hit in history.search("seal", chat_id=pump)} == {pump}


def test_the_index_follows_every_change() -> None:
    with History(None) as history:
        chat = history.create_chat("alpha").id
        answer = history.add_message(chat, Role.ASSISTANT, "draft words", state=MessageState.STREAMING)
        assert history.search("draft") == []
        history.update_message(answer.id, content="draft words, finished", state=MessageState.COMPLETE)
        assert len(history.search("draft")) == 1
        history.update_message(answer.id, content="other text")
        assert history.search("draft") == [] and len(history.search("other")) == 1
        history.rename(chat, "omega")
        assert history.search("alpha") == [] and len(history.search("omega")) == 1
        history.update_message(answer.id, state=MessageState.STREAMING)
        assert history.search("other") == []
        history.remove_message(answer.id)
        history._conn.execute("INSERT INTO messages_fts (messages_fts) VALUES ('integrity-check')")


def test_fifty_percent_is_no_wildcard() -> None:
    with History(None) as history:
        chat = history.create_chat("x").id
        history.add_message(chat, Role.USER, "京都 100")
        assert history.search("京%100") == []
