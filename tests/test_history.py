"""The history: trees of messages in one file, private, and kept through kills, rivals and damage."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from localllm.errors import ChatNotFound, HistoryError
from localllm.events import (
    Citation,
    Passage,
    Role,
    RuleState,
    RuleVerdict,
    Span,
    Speculation,
    Stats,
    SupportState,
    Verdict,
)
from localllm.history import ChatOptions, History, MessageState, set_aside


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history.db")


def talk(history: History, *texts: str, chat: int | None = None) -> tuple[int, list[int]]:
    """A chat of alternating turns; returns its id and the message ids."""
    chat = chat or history.create_chat().id
    parent, ids = None, []
    for i, text in enumerate(texts):
        parent = history.add_message(chat, Role.ASSISTANT if i % 2 else Role.USER, text, parent=parent).id
        ids.append(parent)
    return chat, ids


# ---- chats ----------------------------------------------------------------------------------------------------------


def test_a_chat_keeps_what_it_was_created_with(history: History) -> None:
    options = ChatOptions("work", "letter", "calm", {"temperature": 0.2})
    made = history.create_chat("Pump", model="m", system="Be brief.", options=options)
    assert history.chat(made.id) == made
    assert (made.title, made.model, made.system, made.options) == ("Pump", "m", "Be brief.", options)


def test_a_chat_without_a_title_takes_the_beginning_of_its_first_question(history: History) -> None:
    chat, _ = talk(history, "Why is the sky\n blue? " + "x" * 100, "Because.")
    assert history.chat(chat).title == "Why is the sky blue? " + "x" * 38 + "…"
    history.rename(chat, "Sky")
    history.add_message(chat, Role.USER, "And the sea?")
    assert history.chat(chat).title == "Sky"


def test_a_chat_is_found_by_number_title_or_its_beginning(history: History) -> None:
    pump, trip = history.create_chat("Pump manual").id, history.create_chat("Trip notes").id
    assert history.chat(pump).id == history.chat(str(pump)).id == history.chat("pump MANUAL").id == pump
    assert history.chat("Trip").id == trip
    history.create_chat("Trip home")
    for name in ("Tri", "nothing", 99, "99", "9" * 30):
        with pytest.raises(ChatNotFound):
            history.chat(name)


def test_percent_signs_in_a_name_are_no_wildcards(history: History) -> None:
    history.create_chat("Pump manual")
    with pytest.raises(ChatNotFound):
        history.chat("%manual")


def test_chats_are_listed_with_the_last_used_first(history: History) -> None:
    first, second = history.create_chat("a").id, history.create_chat("b").id
    history.add_message(first, Role.USER, "hello")
    assert [c.id for c in history.chats()] == [first, second]
    assert history.last_chat() == history.chat(first)
    assert [c.id for c in history.chats(limit=1)] == [first]


def test_a_deleted_chat_comes_back_until_it_is_purged(history: History) -> None:
    chat, _ = talk(history, "question", "answer")
    history.delete(chat)
    assert history.chats() == [] and history.search("answer") == []
    assert [c.id for c in history.chats(deleted=True)] == [chat]
    history.restore(chat)
    assert [c.id for c in history.chats("answer")] == [chat]
    history.delete(chat)
    assert history.purge(older_than=3600) == 0
    assert history.purge() == 1
    with pytest.raises(ChatNotFound):
        history.chat(chat)


def test_purging_a_chat_leaves_no_message_and_no_word_in_the_index(history: History) -> None:
    chat, _ = talk(history, "question", "unmistakable")
    assert history.purge(chat) == 1
    assert history._conn.execute("SELECT count(*) FROM messages").fetchone()[0] == 0
    for index in ("messages_fts", "chats_fts"):
        history._conn.execute(f"INSERT INTO {index} ({index}) VALUES ('integrity-check')")
    assert history.search("unmistakable") == []


def test_the_words_of_a_purged_chat_leave_the_files(tmp_path: Path) -> None:
    with History(tmp_path / "h.db") as history:
        chat, _ = talk(history, "wherefore", "xylophone " * 900)
        talk(history, "kept", "also kept")
        history.purge(chat)
        left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"xylophone" not in left and b"wherefore" not in left and b"kept" in left


def test_a_draft_survives_a_restart(tmp_path: Path) -> None:
    with History(tmp_path / "h.db") as history:
        chat = history.create_chat().id
        history.save_draft(chat, "half a tho")
    with History(tmp_path / "h.db") as history:
        assert history.chat(chat).draft_text == "half a tho"


# ---- the tree -------------------------------------------------------------------------------------------------------


def test_the_path_is_the_active_branch_from_the_root(history: History) -> None:
    chat, ids = talk(history, "q1", "a1", "q2", "a2")
    assert [m.content for m in history.path(chat)] == ["q1", "a1", "q2", "a2"]
    other = history.add_message(chat, Role.ASSISTANT, "a2 again", parent=ids[2])
    assert [m.content for m in history.path(chat)] == ["q1", "a1", "q2", "a2 again"]
    assert [m.id for m in history.siblings(other.id)] == [ids[3], other.id]


def test_switching_to_a_branch_goes_to_its_newest_leaf(history: History) -> None:
    chat, ids = talk(history, "q1", "a1", "q2", "a2")
    edited = history.add_message(chat, Role.USER, "q1 edited")
    assert [m.content for m in history.path(chat)] == ["q1 edited"]
    assert [m.id for m in history.siblings(edited.id)] == [ids[0], edited.id]
    assert history.set_active_leaf(ids[0]) == ids[3]
    assert [m.id for m in history.path(chat)] == ids
    assert history.set_active_leaf(ids[1], descend=False) == ids[1]
    assert [m.id for m in history.path(chat)] == ids[:2]


def test_a_fork_copies_the_branch_up_to_the_message_and_nothing_else(history: History) -> None:
    chat, ids = talk(history, "q1", "a1", "q2", "a2")
    history.update_message(ids[1], stats=Stats(completion_tokens=7))
    fork = history.fork(ids[1])
    copies = history.path(fork.id)
    assert [(m.content, m.role) for m in copies] == [("q1", Role.USER), ("a1", Role.ASSISTANT)]
    assert copies[1].stats == Stats(completion_tokens=7)
    assert not {m.id for m in copies} & set(ids)
    assert [m.id for m in history.path(chat)] == ids
    history.purge(chat)
    assert len(history.path(fork.id)) == 2


def test_removing_a_message_takes_what_is_below_it(history: History) -> None:
    chat, ids = talk(history, "q1", "a1", "q2", "a2")
    history.remove_message(ids[2])
    assert [m.id for m in history.path(chat)] == ids[:2]
    assert [m.id for m in history.messages(chat)] == ids[:2]


def test_a_parent_of_another_chat_is_refused(history: History) -> None:
    _, ids = talk(history, "q")
    with pytest.raises(ValueError, match="not in chat"):
        history.add_message(history.create_chat().id, Role.ASSISTANT, "a", parent=ids[0])


def test_everything_about_an_answer_is_read_back_as_it_was_written(history: History) -> None:
    _, ids = talk(history, "q", "a [1]")
    passage = Passage(1, "pump.md", "Pump", "Service", None, 9, 100, 140, 0.8, "Replace the seal.")
    parts: dict[str, Any] = {
        "stats": Stats(10, 5, 20, 0.5, 0.1, 2.0, 4096, Speculation(8, 6, 14, 10, 1.3, "ngram")),
        "citations": (Citation(1, "pump.md", 3, 9, 100, 140, "Replace", SupportState.NEAR),),
        "unsupported": (Span(0, 4),),
        "passages": (passage,),
        "verdict": Verdict(False, (RuleVerdict("len", RuleState.FAIL, 213, 200, Span(1, 2), "too long"),)),
        "notes": ("2 messages were left out.",),
    }
    history.update_message(
        ids[1], content="b", state=MessageState.STOPPED, reason="cancelled", model="m", draft="d", **parts
    )
    read = history.message(ids[1])
    assert {name: getattr(read, name) for name in parts} == parts
    assert (read.content, read.state, read.reason, read.model, read.draft) == (
        "b", MessageState.STOPPED, "cancelled", "m", "d",
    )  # fmt: skip


def test_fields_that_a_newer_version_wrote_are_ignored(history: History) -> None:
    _, ids = talk(history, "q")
    history._conn.execute("UPDATE messages SET stats = ?", ('{"completion_tokens": 3, "warp": 9}',))
    assert history.message(ids[0]).stats == Stats(completion_tokens=3)


def test_updating_a_message_that_is_gone_says_so(history: History) -> None:
    assert history.update_message(12345, content="x") is False


def test_prompts_are_the_questions_of_all_chats_newest_first_and_each_once(history: History) -> None:
    one, other, gone = (history.create_chat().id for _ in range(3))
    for at, (chat, role, text) in enumerate([
        (one, Role.USER, "first"), (one, Role.ASSISTANT, "answer"), (other, Role.USER, "second"),
        (one, Role.USER, "first"), (gone, Role.USER, "deleted"), (other, Role.USER, "last"),
    ]):  # fmt: skip
        history.add_message(chat, role, text, created=1000.0 + at)
    history.add_message(other, Role.USER, "imported, older", created=10.0)
    history.delete(gone)
    assert history.prompts(100) == ["last", "first", "second", "imported, older"]
    assert history.prompts(2) == ["last", "first"]
    history.restore(gone)
    assert history.prompts(2) == ["last", "deleted"]


# ---- the file -------------------------------------------------------------------------------------------------------


def test_the_file_and_its_companions_are_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.db"
    with History(path) as history:
        talk(history, "q")
        files = sorted(path.parent.iterdir())
        assert len(files) == 3  # the database, its log, its shared memory
        assert [f.stat().st_mode & 0o777 for f in files] == [0o600] * 3
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_history_in_memory_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with History(None) as history:
        chat, _ = talk(history, "secret")
        assert history.temporary and history.chats("secret")[0].id == chat
    assert list(tmp_path.iterdir()) == []


def test_foreign_keys_hold_on_every_connection(tmp_path: Path) -> None:
    for _ in range(2):
        with History(tmp_path / "h.db") as history:
            assert history._conn.execute("PRAGMA foreign_keys").fetchone()[0] == 1
            with pytest.raises(sqlite3.IntegrityError):
                history._conn.execute(
                    "INSERT INTO messages (chat_id, role, content, state, created)"
                    " VALUES (99, 'user', '', 'complete', 0)"
                )


def test_the_list_of_steps_is_that_of_the_migrations() -> None:
    from localllm.history.migrations import migrations
    from localllm.history.schema import STEPS

    with History(None) as history:
        assert tuple(step.name for step in migrations.applied(Database(history._conn))) == STEPS


def test_a_newer_schema_is_refused_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    with History(path) as history:
        history._conn.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('localllm-history', 'm999_telepathy', '')"
        )
        history._conn.commit()
    with pytest.raises(HistoryError, match=r"h\.db was written by a newer localllm \(m999_telepathy\)\. Update"):
        History(path)


@pytest.mark.parametrize("damage", ["text", "header", "middle"])
def test_a_damaged_file_gives_one_line_that_names_it_and_is_left_alone(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "h.db"
    with History(path) as history:
        for _ in range(50):
            talk(history, "question " * 50, "answer " * 50)
    data = bytearray(path.read_bytes())
    if damage == "text":
        data = bytearray(b"these are not the bytes you are looking for\n" * 400)
    elif damage == "header":
        data[16:24] = b"\xff" * 8
    else:
        data[4096 : len(data) - 4096] = b"\xa5" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(HistoryError, match=r"h\.db is damaged .*set-aside") as caught, History(path) as history:
        history.chats("answer")
        history.path(history.chats()[0].id)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == data


def test_a_damaged_file_is_set_aside_only_when_asked_and_never_deleted(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    for n in (1, 2):
        path.write_bytes(b"junk" * 1000)
        moved = set_aside(path)
        assert moved == tmp_path / f"history.set-aside-{n}.db"
        assert moved.read_bytes() == b"junk" * 1000 and not path.exists()
    with History(path) as history:
        assert history.chats() == []


def test_a_folder_that_cant_be_made_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="can't be written to") as caught:
        History(tmp_path / "file" / "history.db")
    assert "LOCALLLM_HOME" in str(caught.value)


def test_a_closed_history_says_so(history: History) -> None:
    history.close()
    history.close()
    with pytest.raises(HistoryError, match="closed"):
        history.chats()


# ---- at the same time -----------------------------------------------------------------------------------------------

RIVAL = """
import sys
from pathlib import Path
from localllm.events import Role
from localllm.history import History
history = History(Path(sys.argv[1]))
chat = history.create_chat(sys.argv[2]).id
parent = None
for i in range(60):
    parent = history.add_message(chat, Role.USER, f"{sys.argv[2]} {i}", parent=parent).id
    history.update_message(parent, content=f"{sys.argv[2]} {i} done")
"""


def test_two_programs_write_one_new_file_at_once_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    rivals = [subprocess.Popen([sys.executable, "-c", RIVAL, str(path), name]) for name in ("left", "right")]
    assert [rival.wait(60) for rival in rivals] == [0, 0]
    with History(path) as history:
        for name in ("left", "right"):
            assert [m.content for m in history.path(history.chat(name).id)] == [f"{name} {i} done" for i in range(60)]


def test_threads_of_one_program_share_one_history(history: History) -> None:
    chat = history.create_chat().id

    def write(n: int) -> None:
        for i in range(25):
            history.add_message(chat, Role.USER, f"thread {n} message {i}")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(history.messages(chat)) == 100 and len(history.search("message", limit=200)) >= 100


KILLED = """
import os, sys, time
from pathlib import Path
from localllm.events import Role
from localllm.history import History, MessageState
history = History(Path(sys.argv[1]))
chat = history.create_chat().id
question = history.add_message(chat, Role.USER, "a question")
answer = history.add_message(chat, Role.ASSISTANT, "", parent=question.id, state=MessageState.STREAMING)
history.update_message(answer.id, content="the first second of an answer")
print("written", flush=True)
time.sleep(60)
"""


def test_a_killed_program_leaves_question_and_answer_marked_as_stopped(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "written\n"
    with History(path) as history:
        assert history.path(1)[1].state is MessageState.STREAMING  # its writer lives
        assert history.search("second") == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with History(path) as history:
        question, answer = history.path(1)
        assert (question.content, question.state) == ("a question", MessageState.COMPLETE)
        assert (answer.content, answer.state, answer.reason) == (
            "the first second of an answer", MessageState.STOPPED, "interrupted",
        )  # fmt: skip
        assert [hit.message_id for hit in history.search("second")] == [answer.id]


def test_an_earlier_run_with_the_same_process_number_is_no_living_writer(tmp_path: Path) -> None:
    with History(tmp_path / "h.db") as history:
        chat = history.create_chat().id
        message = history.add_message(chat, Role.ASSISTANT, "half", state=MessageState.STREAMING)
        history._conn.execute("UPDATE messages SET owner = ?", (f"{os.getpid()}:another-run",))
        history._conn.commit()
    with History(tmp_path / "h.db") as history:
        assert history.message(message.id).state is MessageState.STOPPED
