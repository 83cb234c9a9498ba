"""Chats of other applications, read into the history as trees: nothing that they kept is lost.

Known: our own JSON Lines, ChatGPT's ``conversations.json``, Jan's thread folders, and the SQLite file of ``llm``. Each
reader yields `Foreign` chats; `load` writes them in one transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localllm.errors import InputError
from localllm.events import Role
from localllm.history.records import (
    MessageState,
    citations_from,
    options_from,
    passages_from,
    spans_from,
    stats_from,
    verdict_from,
)
from localllm.history.store import History


@dataclass
class ForeignMessage:
    """One message; `key` and `parent` link it to others of the same chat."""

    key: str
    parent: str | None
    role: Role
    content: str
    created: float
    model: str = ""
    row: dict[str, Any] = field(default_factory=dict)
    """The rest, where the message came from ourselves."""


@dataclass
class Foreign:
    """One chat of another application."""

    title: str
    created: float
    messages: list[ForeignMessage]
    """Parents before children."""
    leaf: str | None = None
    system: str = ""
    row: dict[str, Any] = field(default_factory=dict)


def load(history: History, path: Path) -> tuple[int, int]:
    """Read a file or folder of chats into the history.

    Returns:
        Chats and messages that were added.

    Raises:
        InputError: It is none of the known kinds, or damaged. Nothing was added then.
    """
    try:
        chats = list(_read(path))
        with history.transaction():
            for chat in chats:
                _store(history, chat)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, sqlite3.Error) as error:
        raise InputError(
            f"{path} can't be read as chats ({type(error).__name__}: {error}).",
            "Known: our own JSONL, ChatGPT's conversations.json, Jan's threads folder, llm's logs.db.",
        ) from error
    return len(chats), sum(len(chat.messages) for chat in chats)


def _read(path: Path) -> Iterator[Foreign]:
    if path.is_dir():
        yield from _jan(path)
        return
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"SQLite format 3"):
        yield from _llm(path)
        return
    text = path.read_text("utf-8-sig")
    if text.lstrip().startswith("["):
        yield from _chatgpt(json.loads(text))
    else:
        yield from _own(text)


def _store(history: History, chat: Foreign) -> None:
    options = options_from(json.dumps(chat.row.get("options") or {}))
    model = str(chat.row.get("model") or "")
    new = history.create_chat(chat.title, created=chat.created, system=chat.system, options=options, model=model)
    ids: dict[str, int] = {}
    for message in chat.messages:
        parent = ids[message.parent] if message.parent is not None else None
        stored = history.add_message(
            new.id, message.role, message.content, parent=parent, model=message.model, created=message.created
        )
        ids[message.key] = stored.id
        if row := message.row:
            state = MessageState(row.get("state") or "complete")
            history.update_message(
                stored.id,
                state=MessageState.STOPPED if state is MessageState.STREAMING else state,
                reason=row.get("reason"),
                draft=row.get("draft"),
                stats=stats_from(json.dumps(row["stats"])) if row.get("stats") else None,
                citations=citations_from(json.dumps(row.get("citations") or [])),
                unsupported=spans_from(json.dumps(row.get("unsupported") or [])),
                passages=passages_from(json.dumps(row.get("passages") or [])),
                verdict=verdict_from(json.dumps(row["verdict"])) if row.get("verdict") else None,
                notes=tuple(row.get("notes") or ()),
            )
    if chat.leaf in ids:
        history.set_active_leaf(ids[chat.leaf], descend=False)


def _own(text: str) -> Iterator[Foreign]:
    chat: Foreign | None = None
    for line in _lines(text):
        row = json.loads(line)
        if row["kind"] == "chat":
            if chat is not None:
                yield chat
            leaf = None if row.get("leaf_id") is None else str(row["leaf_id"])
            chat = Foreign(row["title"], row["created"], [], leaf, row.get("system", ""), row)
        else:
            if chat is None:
                raise ValueError("a message comes before its chat")
            parent = None if row.get("parent_id") is None else str(row["parent_id"])
            chat.messages.append(
                ForeignMessage(
                    str(row["id"]), parent, Role(row["role"]), row["content"], row["created"], row["model"], row
                )
            )
    if chat is None:
        raise ValueError("there is no chat in it")
    yield chat


def _lines(text: str) -> list[str]:
    """The lines of JSON Lines: a message may hold characters at which `str.splitlines` would cut, such as U+2028."""
    return [line for line in text.split("\n") if line.strip()]


def _chatgpt(conversations: list[dict[str, Any]]) -> Iterator[Foreign]:
    """A mapping of nodes with parents; nodes without a text message are skipped and their children lifted."""
    for conversation in conversations:
        nodes: dict[str, dict[str, Any]] = conversation["mapping"]
        messages: dict[str, ForeignMessage] = {}
        started = float(conversation.get("create_time") or 0)

        def lifted(key: str | None, nodes: dict[str, Any] = nodes, known: dict[str, Any] = messages) -> str | None:
            for _ in range(len(nodes) + 1):  # a damaged file may go round in circles
                if key is None or key in known:
                    return key
                key = (nodes.get(key) or {}).get("parent")
            return None

        for key in _parents_first(nodes):
            message = nodes[key].get("message") or {}
            role = (message.get("author") or {}).get("role")
            parts = (message.get("content") or {}).get("parts") or []
            text = "\n\n".join(part for part in parts if isinstance(part, str))
            if role not in ("user", "assistant") or not text.strip():
                continue
            messages[key] = ForeignMessage(
                key,
                lifted(nodes[key].get("parent")),
                Role(role),
                text,
                float(message.get("create_time") or started),
                str((message.get("metadata") or {}).get("model_slug") or "") if role == "assistant" else "",
            )
        leaf = lifted(conversation.get("current_node"))
        yield Foreign(str(conversation.get("title") or ""), started, list(messages.values()), leaf)


def _parents_first(nodes: dict[str, dict[str, Any]]) -> list[str]:
    ordered: dict[str, None] = {}
    for key in nodes:
        chain: list[str] = []
        here: str | None = key
        while here is not None and here in nodes and here not in ordered and here not in chain:
            chain.append(here)
            here = nodes[here].get("parent")
        ordered |= dict.fromkeys(reversed(chain))
    return list(ordered)


def _jan(folder: Path) -> Iterator[Foreign]:
    """A folder per thread: ``thread.json`` and ``messages.jsonl``, times in milliseconds or seconds."""
    threads = sorted(folder.rglob("thread.json"))
    if not threads:
        raise ValueError("there is no thread.json in it")
    for path in threads:
        thread = json.loads(path.read_text("utf-8"))
        created = _jan_time(thread)
        lines = path.with_name("messages.jsonl")
        text = lines.read_text("utf-8") if lines.exists() else ""
        rows = [json.loads(line) for line in _lines(text)]
        messages: list[ForeignMessage] = []
        for row in sorted(rows, key=_jan_time):
            parts = row.get("content") or []
            text = "\n\n".join((part.get("text") or {}).get("value") or "" for part in parts).strip()
            if row.get("role") in ("user", "assistant") and text:
                parent = messages[-1].key if messages else None
                when = _jan_time(row) or created
                messages.append(ForeignMessage(str(len(messages)), parent, Role(row["role"]), text, when))
        leaf = messages[-1].key if messages else None
        yield Foreign(str(thread.get("title") or thread.get("summary") or ""), created, messages, leaf)


def _jan_time(row: dict[str, Any]) -> float:
    return _seconds(row.get("created_at") or row.get("created"))


def _llm(path: Path) -> Iterator[Foreign]:
    """The tables ``conversations`` and ``responses``: one row per question and answer."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as conn:
        conn.row_factory = sqlite3.Row
        for conversation in conn.execute("SELECT id, name FROM conversations ORDER BY id"):
            messages: list[ForeignMessage] = []
            system, created = "", 0.0
            for row in conn.execute(
                "SELECT id, prompt, system, response, model, datetime_utc FROM responses"
                " WHERE conversation_id = ? ORDER BY datetime_utc, id",
                (conversation["id"],),
            ):
                when = _seconds(row["datetime_utc"])
                created, system = created or when, system or row["system"] or ""
                for role, text in ((Role.USER, row["prompt"]), (Role.ASSISTANT, row["response"])):
                    if text:
                        parent = messages[-1].key if messages else None
                        model = (row["model"] or "") if role is Role.ASSISTANT else ""
                        messages.append(ForeignMessage(str(len(messages)), parent, role, text, when, model))
            leaf = messages[-1].key if messages else None
            yield Foreign(conversation["name"] or "", created, messages, leaf, system)


def _seconds(value: Any) -> float:
    """Seconds since 1970 from seconds, milliseconds, or an ISO date; one without a zone is UTC."""
    if isinstance(value, (int, float)):
        return float(value) / 1000 if value > 1e11 else float(value)
    if isinstance(value, str) and value:
        when = datetime.fromisoformat(value)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return 0.0
