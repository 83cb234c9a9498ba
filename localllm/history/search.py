"""What a user types into a search box, as a query that SQLite can't misread, and what it finds."""

from __future__ import annotations

import re
import sqlite3

from localllm.history.records import Hit

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese: scripts that put no spaces between words."""


def terms(text: str) -> list[str]:
    """The parts that must all be found: words, and phrases in double quotes."""
    text = text.replace("\0", " ")
    parts = [quoted or word for quoted, word in re.findall(r'"([^"]*)"|([^\s"]+)', text)]
    return [part.strip() for part in parts if part.strip()]


def needs_like(parts: list[str]) -> bool:
    """Whether word search can't serve: a script without spaces, or nothing but punctuation."""
    return any(_UNSPACED.search(part) or not any(c.isalnum() for c in part) for part in parts)


def match_expression(parts: list[str]) -> str:
    """An FTS5 expression: every part as a quoted phrase, all of them, the last one as a beginning.

    Nothing a user types is an operator here: inside double quotes FTS5 knows only text.
    """
    phrases = ['"' + part.replace('"', '""') + '"' for part in parts]
    return " AND ".join(phrases) + "*" if phrases else '""'


def like_pattern(part: str) -> str:
    r"""A ``LIKE ... ESCAPE '\'`` pattern that finds the part anywhere."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", part) + "%"


def snippet_around(text: str, part: str, width: int = 60) -> str:
    """The text around the first place of `part`, the match between ``\\x02`` and ``\\x03``."""
    at = text.casefold().find(part.casefold())
    if at < 0:
        return text[:width]
    start, end = max(0, at - width // 2), min(len(text), at + len(part) + width // 2)
    before, after = "…" if start else "", "…" if end < len(text) else ""
    return f"{before}{text[start:at]}\x02{text[at : at + len(part)]}\x03{text[at + len(part) : end]}{after}"


def find(conn: sqlite3.Connection, parts: list[str]) -> list[Hit]:
    """Titles, then messages, in which all parts occur, best first; deleted chats are left out."""
    if needs_like(parts):
        patterns = [like_pattern(part) for part in parts]

        def where(column: str) -> str:
            return " AND ".join(rf"{column} LIKE ? ESCAPE '\'" for _ in patterns)

        titles = conn.execute(
            f"SELECT id AS chat_id, title, NULL AS message_id, title AS text FROM chats"
            f" WHERE deleted IS NULL AND {where('title')} ORDER BY updated DESC",
            patterns,
        ).fetchall()
        messages = conn.execute(
            f"SELECT c.id AS chat_id, c.title, m.id AS message_id, m.content AS text FROM messages m"
            f" JOIN chats c ON c.id = m.chat_id WHERE c.deleted IS NULL AND {where('m.content')}"
            f" ORDER BY m.id DESC",
            patterns,
        ).fetchall()
        return [
            Hit(r["chat_id"], r["title"], r["message_id"], snippet_around(r["text"], parts[0]))
            for r in [*titles, *messages]
        ]
    expression = match_expression(parts)
    titles = conn.execute(
        "SELECT c.id AS chat_id, c.title, NULL AS message_id,"
        " highlight(chats_fts, 0, char(2), char(3)) AS snippet FROM chats_fts"
        " JOIN chats c ON c.id = chats_fts.rowid WHERE chats_fts MATCH ? AND c.deleted IS NULL ORDER BY rank",
        (expression,),
    ).fetchall()
    messages = conn.execute(
        "SELECT c.id AS chat_id, c.title, m.id AS message_id,"
        " snippet(messages_fts, 0, char(2), char(3), '…', 16) AS snippet FROM messages_fts"
        " JOIN messages m ON m.id = messages_fts.rowid JOIN chats c ON c.id = m.chat_id"
        " WHERE messages_fts MATCH ? AND c.deleted IS NULL ORDER BY rank",
        (expression,),
    ).fetchall()
    return [Hit(r["chat_id"], r["title"], r["message_id"], r["snippet"]) for r in [*titles, *messages]]
