"""`localllm chats`: the history from the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localllm.cli import main
from localllm.events import Citation, Role, SupportState
from localllm.history import History

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))

    def call(*args: str) -> tuple[int, str, str]:
        code = main(args=["chats", *args])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Two chats: one with two branches and a citation, one plain."""
    history = History(tmp_path / "home" / "history.db")
    pump = history.create_chat("Pump manual", system="Be brief.", created=1000.0).id
    question = history.add_message(pump, Role.USER, "When is the seal replaced?", created=1001.0)
    history.add_message(pump, Role.ASSISTANT, "Never.", parent=question.id, model="tiny", created=1002.0)
    answer = history.add_message(
        pump, Role.ASSISTANT, "Every 400 hours [1].", parent=question.id, model="tiny", created=1003.0
    )
    citation = Citation(1, "pump.md", None, 9, 0, 10, "every 400 hours", SupportState.VERIFIED)
    history.update_message(answer.id, citations=(citation,))
    trip = history.create_chat("Trip <notes>", created=2000.0).id
    history.add_message(trip, Role.USER, "Where & when?\x1b[2J", created=3e9)
    return history


def value(out: str) -> Any:
    return json.loads(out)


def test_an_empty_history_says_so(run: Run) -> None:
    assert run("list") == (0, "", "There are no chats.\n")
    assert value(run("list", "--json")[1]) == {"chats": []}


def test_list_shows_the_last_used_first(run: Run, history: History) -> None:
    code, out, _ = run("list")
    lines = out.splitlines()
    assert code == 0 and "Trip <notes>" in lines[0] and "3 messages  Pump manual" in lines[1]
    rows = value(run("list", "--json", "-n", "1")[1])["chats"]
    assert [(row["id"], row["title"], row["n_messages"]) for row in rows] == [(2, "Trip <notes>", 1)]
    assert "Pump" in run("list", "-s", "400 hours")[1] and "Trip" not in run("list", "-s", "400 hours")[1]


def test_show_prints_the_active_branch_with_its_sources(run: Run, history: History) -> None:
    code, out, _ = run("show", "Pump manual")
    assert code == 0 and "Every 400 hours [1]." in out and "Never." not in out
    assert "- [1] pump.md, line 9 (verified)" in out and "> Be brief." in out
    shown = value(run("show", "1", "--json")[1])
    assert [m["content"] for m in shown["messages"]] == ["When is the seal replaced?", "Every 400 hours [1]."]


def test_search_names_chat_and_place(run: Run, history: History) -> None:
    code, out, _ = run("search", "seal")
    assert code == 0 and out.startswith("    1  Pump manual: When is the seal")
    hits = value(run("search", "400", "--json")[1])["hits"]
    assert hits == [{"chat": 1, "title": "Pump manual", "message": 3, "snippet": "Every 400 hours [1]."}]
    assert run("search", "xyzzy")[1:] == ("", "Nothing holds 'xyzzy'.\n")


def test_a_removed_chat_can_be_restored_and_a_purged_one_not(run: Run, history: History) -> None:
    assert run("remove", "Pump manual")[0] == 0
    assert "Pump" not in run("list")[1] and "Pump" in run("list", "--deleted")[1]
    assert run("restore", "1")[0] == 0 and "Pump" in run("list")[1]
    assert run("remove", "1", "--purge")[0] == 2
    assert value(run("remove", "1", "--purge", "-y", "--json")[1]) == {"removed": [1], "purged": True}
    code, _, err = run("show", "1")
    assert code == 1 and err == "localllm: There is no chat 1. `localllm chats list` shows them.\n"


def test_purging_a_chat_removes_the_saved_state_of_the_model(run: Run, history: History, tmp_path: Path) -> None:
    from localllm.engine.sessions import SessionStore

    store = SessionStore(tmp_path / "home" / "sessions", 1 << 20, "")
    state = store.path("chat-1")
    state.parent.mkdir()
    state.write_bytes(b"tokens of the chat")
    assert run("remove", "1", "--purge", "-y")[0] == 0
    assert not state.exists()


def test_removing_stops_before_it_begins_when_one_name_is_wrong(run: Run, history: History) -> None:
    assert run("remove", "1", "nothing")[0] == 1
    assert "Pump" in run("list")[1]


def test_rename_changes_the_title(run: Run, history: History) -> None:
    assert run("rename", "1", "Seals")[0] == 0
    assert run("show", "Seals")[0] == 0


def test_html_loads_nothing_and_escapes_everything(run: Run, history: History) -> None:
    _, out, _ = run("export", "2", "--format", "html")
    assert "<h1>Trip &lt;notes&gt;</h1>" in out and "Where &amp; when?" in out
    assert "<script" not in out and "http" not in out and "src=" not in out


def test_export_writes_a_private_file_at_once(run: Run, history: History, tmp_path: Path) -> None:
    target = tmp_path / "out.md"
    assert run("export", "--all", "-o", str(target))[:2] == (0, "")
    text = target.read_text("utf-8")
    assert "# Pump manual" in text and "# Trip <notes>" in text
    assert target.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []
    code, _, err = run("export", "1", "-o", str(tmp_path / "no" / "x.md"))
    assert code == 1 and "can't be written" in err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_an_export_goes_through_links_and_into_pipes_and_replaces_neither(
    run: Run, history: History, tmp_path: Path
) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link.md"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    link.symlink_to(tmp_path / "real.md")
    assert run("export", "1", "-o", str(pipe))[0] == run("export", "1", "-o", str(link))[0] == 0
    assert os.read(reader, 1 << 16).decode() == (tmp_path / "real.md").read_text("utf-8")
    assert pipe.is_fifo() and link.is_symlink()
    os.close(reader)


def test_a_failure_of_a_file_is_json_where_json_was_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr("localllm.history.importing.load", denied)
    code, out, _ = run("import", str(Path(__file__)), "--json")
    assert code == 1
    assert value(out) == {"error": {"kind": "os_error", "message": "/somewhere: Permission denied.", "hint": ""}}


def test_export_wants_names_or_all(run: Run, history: History) -> None:
    assert run("export")[0] == 2 and run("export", "1", "--all")[0] == 2
    assert run("export", "--all", "--format", "html")[0] == 2


def test_json_lines_keep_every_branch_and_come_back_the_same(run: Run, history: History, tmp_path: Path) -> None:
    target = tmp_path / "all.jsonl"
    run("export", "--all", "--format", "jsonl", "-o", str(target))
    assert value(run("import", str(target), "--json")[1]) == {"chats": 2, "messages": 4}
    old, new = history.chat(1), next(c for c in history.chats() if c.title == "Pump manual" and c.id != 1)
    assert (new.title, new.system, new.created) == (old.title, old.system, old.created)

    def shape(chat: int) -> list[tuple[Any, ...]]:
        messages = history.messages(chat)
        place = {m.id: n for n, m in enumerate(messages)}
        return [(m.role, m.content, m.model, m.created, m.citations, place.get(m.parent_id or -1)) for m in messages]

    assert shape(new.id) == shape(1)
    assert [m.content for m in history.path(new.id)] == [m.content for m in history.path(1)]


@pytest.mark.parametrize("text", ["{", "[1]", '{"kind": "message"}', "", "plain text", '{"kind": "chat"}'])
def test_a_file_that_holds_no_chats_is_refused_and_adds_nothing(
    run: Run, history: History, tmp_path: Path, text: str
) -> None:
    (tmp_path / "bad").write_text(text)
    code, out, err = run("import", str(tmp_path / "bad"))
    assert code == 1 and out == "" and err.startswith("localllm: ") and len(err.splitlines()) == 1
    assert len(history.chats()) == 2
