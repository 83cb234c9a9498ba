"""History: every chat of the user, for the screen, the command line, and several programs at once.

One object may be used from any thread: a lock lets one in at a time. Several programs may use one file: SQLite's
write-ahead log lets readers go on beside a writer, and every change is one transaction.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from localllm.errors import ChatNotFound
from localllm.events import Citation, Passage, Role, Span, Stats, Verdict
from localllm.history.database import OWNER, HistoryFile
from localllm.history.records import (
    Chat,
    ChatOptions,
    Hit,
    MessageState,
    StoredMessage,
    chat_of,
    message_of,
    to_json,
)
from localllm.history.search import find, like_pattern, terms

_CHAT = "SELECT chats.*, (SELECT count(*) FROM messages WHERE chat_id = chats.id) AS n_messages FROM chats"


class History(HistoryFile):
    """The chats in one file.

    Args:
        file: The SQLite file, made if need be; None keeps everything in memory and stores nothing.

    Raises:
        HistoryError: The file can't be opened, is damaged, or was written by a newer version.
    """

    # ---- chats ------------------------------------------------------------------------------------------------------

    def create_chat(
        self,
        title: str = "",
        *,
        model: str = "",
        system: str = "",
        options: ChatOptions | None = None,
        created: float | None = None,
    ) -> Chat:
        """A new, empty chat. Without a title it takes the beginning of its first question."""
        now = time.time() if created is None else created
        with self._writing() as conn:
            cursor = conn.execute(
                "INSERT INTO chats (title, created, updated, model, system, options) VALUES (?, ?, ?, ?, ?, ?)",
                (title.strip(), now, now, model, system, to_json(options)),
            )
            return self._chat(conn, int(cursor.lastrowid or 0))

    def chats(self, search: str | None = None, *, deleted: bool = False, limit: int = -1) -> list[Chat]:
        """Chats, the last used first.

        Args:
            search: Only chats in whose title or messages all these words occur.
            deleted: The deleted ones that can still be restored, instead of the others.
            limit: At most this many; -1 means all.
        """
        where = "deleted IS NOT NULL" if deleted else "deleted IS NULL"
        with self._reading() as conn:
            found = _chats_with(conn, search) if search and search.strip() else None
            most = limit if found is None else -1
            rows = conn.execute(f"{_CHAT} WHERE {where} ORDER BY updated DESC, id DESC LIMIT ?", (most,)).fetchall()
        chats = [chat_of(row) for row in rows if found is None or row["id"] in found]
        return chats if limit < 0 else chats[:limit]

    def chat(self, name: int | str) -> Chat:
        """The chat of this number, this title, or with a title that begins so.

        Raises:
            ChatNotFound: There is none, or several begin so.
        """
        with self._reading() as conn:
            if isinstance(name, int) or name.isdecimal():
                return self._chat(conn, int(name))
            alive = f"{_CHAT} WHERE deleted IS NULL AND"
            row = conn.execute(f"{alive} title = ? COLLATE NOCASE ORDER BY updated DESC", (name,)).fetchone()
            if row is None:
                pattern = like_pattern(name)[1:]
                rows = conn.execute(f"{alive} title LIKE ? ESCAPE '\\' LIMIT 2", (pattern,)).fetchall()
                if len(rows) > 1:
                    raise ChatNotFound(f"Several chats begin with {name!r}.", "Use the number: `localllm chats list`.")
                row = rows[0] if rows else None
        if row is None:
            raise ChatNotFound(f"There is no chat {name!r}.", "`localllm chats list` shows them.")
        return chat_of(row)

    def last_chat(self) -> Chat | None:
        """The chat used last, if there is any."""
        return next(iter(self.chats(limit=1)), None)

    def rename(self, chat_id: int, title: str) -> None:
        """Give the chat another title."""
        self._update_chat(chat_id, title=title.strip())

    def retitle(self, chat_id: int, old: str, title: str) -> bool:
        """Give the chat another title, unless somebody did meanwhile: False where it is no longer `old`."""
        with self._writing() as conn:
            changed = conn.execute("UPDATE chats SET title = ? WHERE id = ? AND title = ?", (title, chat_id, old))
            return bool(changed.rowcount)

    def set_options(self, chat_id: int, options: ChatOptions) -> None:
        """Replace what the chat asks for."""
        self._update_chat(chat_id, options=to_json(options))

    def set_system(self, chat_id: int, system: str) -> None:
        """Replace the chat's system prompt."""
        self._update_chat(chat_id, system=system)

    def save_draft(self, chat_id: int, text: str) -> None:
        """Keep what stands in the prompt, so that it survives a restart."""
        self._update_chat(chat_id, draft_text=text)

    def delete(self, chat_id: int) -> None:
        """Hide the chat; `restore` brings it back until it is purged."""
        self._update_chat(chat_id, deleted=time.time())

    def restore(self, chat_id: int) -> None:
        """Undo `delete`."""
        self._update_chat(chat_id, deleted=None)

    def purge(self, chat_id: int | None = None, *, older_than: float = 0.0) -> int:
        """Remove deleted chats for good, and say how many. Their words leave the file, too.

        Args:
            chat_id: Only this one, deleted before or not.
            older_than: Without `chat_id`: only those deleted at least this many seconds ago.
        """
        with self._writing() as conn:
            if chat_id is not None:
                n = conn.execute("DELETE FROM chats WHERE id = ?", (chat_id,)).rowcount
            else:
                n = conn.execute("DELETE FROM chats WHERE deleted <= ?", (time.time() - older_than,)).rowcount
            for index in ("messages_fts", "chats_fts") if n else ():  # its old segments still hold the words
                conn.execute(f"INSERT INTO {index} ({index}) VALUES ('optimize')")
        if n:
            with self._reading() as conn:
                conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return n

    # ---- messages ---------------------------------------------------------------------------------------------------

    def message(self, message_id: int) -> StoredMessage:
        """One message.

        Raises:
            ChatNotFound: It is gone.
        """
        with self._reading() as conn:
            return self._message(conn, message_id)

    def path(self, chat_id: int, leaf_id: int | None = None) -> list[StoredMessage]:
        """The messages from the first to the chat's active leaf, or to `leaf_id`."""
        with self._reading() as conn:
            leaf = leaf_id if leaf_id is not None else self._chat(conn, chat_id).leaf_id
            rows = conn.execute(
                "WITH RECURSIVE up (id, parent, depth) AS (SELECT id, parent_id, 0 FROM messages WHERE id = ?"
                " UNION ALL SELECT m.id, m.parent_id, up.depth + 1 FROM messages m JOIN up ON m.id = up.parent)"
                " SELECT messages.* FROM up JOIN messages ON messages.id = up.id ORDER BY up.depth DESC",
                (leaf,),
            ).fetchall()
        return [message_of(row) for row in rows]

    def messages(self, chat_id: int) -> list[StoredMessage]:
        """All messages of all branches, in the order in which they were made."""
        with self._reading() as conn:
            rows = conn.execute("SELECT * FROM messages WHERE chat_id = ? ORDER BY id", (chat_id,)).fetchall()
        return [message_of(row) for row in rows]

    def prompts(self, limit: int) -> list[str]:
        """What was asked in all chats but deleted ones, newest first, each text once; of `limit` messages at most."""
        with self._reading() as conn:
            rows = conn.execute(
                "SELECT content FROM messages JOIN chats ON chats.id = chat_id"
                " WHERE role = ? AND deleted IS NULL ORDER BY messages.created DESC, messages.id DESC LIMIT ?",
                (Role.USER.value, limit),
            ).fetchall()
        return list(dict.fromkeys(row["content"] for row in rows))

    def siblings(self, message_id: int) -> list[StoredMessage]:
        """The alternatives at this place of the tree, itself among them, in the order in which they were made."""
        with self._reading() as conn:
            here = self._message(conn, message_id)
            rows = conn.execute(
                "SELECT * FROM messages WHERE chat_id = ? AND parent_id IS ? ORDER BY id",
                (here.chat_id, here.parent_id),
            ).fetchall()
        return [message_of(row) for row in rows]

    def add_message(
        self,
        chat_id: int,
        role: Role,
        content: str,
        *,
        parent: int | None = None,
        state: MessageState = MessageState.COMPLETE,
        model: str = "",
        created: float | None = None,
    ) -> StoredMessage:
        """Append a message and make it the active leaf.

        Args:
            chat_id: Its chat.
            role: Who speaks.
            content: The text so far.
            parent: The message it answers; None makes it the first of a branch of its own.
            state: `STREAMING` while this process writes it.
            model: The model that answers.
            created: When, for imports.

        Raises:
            ChatNotFound: The chat or the parent is gone.
        """
        now = time.time() if created is None else created
        with self._writing() as conn:
            chat = self._chat(conn, chat_id)
            if parent is not None and self._message(conn, parent).chat_id != chat_id:
                raise ValueError(f"message {parent} is not in chat {chat_id}")
            cursor = conn.execute(
                "INSERT INTO messages (chat_id, parent_id, role, content, state, created, model, owner)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (chat_id, parent, role.value, content, state.value, now, model, OWNER),
            )
            title = chat.title or (title_of(content) if role is Role.USER else "")
            conn.execute(
                "UPDATE chats SET leaf_id = ?, updated = ?, title = ?, model = coalesce(nullif(?, ''), model)"
                " WHERE id = ?",
                (cursor.lastrowid, now, title, model, chat_id),
            )
            return self._message(conn, int(cursor.lastrowid or 0))

    def update_message(
        self,
        message_id: int,
        *,
        content: str | None = None,
        state: MessageState | None = None,
        reason: str | None = None,
        model: str | None = None,
        draft: str | None = None,
        stats: Stats | None = None,
        citations: tuple[Citation, ...] | None = None,
        unsupported: tuple[Span, ...] | None = None,
        passages: tuple[Passage, ...] | None = None,
        verdict: Verdict | None = None,
        notes: tuple[str, ...] | None = None,
    ) -> bool:
        """Change parts of a message; None leaves a part as it is. False when the message is gone."""
        changes: dict[str, Any] = {
            "content": content,
            "state": state.value if state else None,
            "reason": reason,
            "model": model,
            "draft": draft,
            "owner": OWNER if state is MessageState.STREAMING else None,
        }
        parts = {
            "stats": stats,
            "citations": citations,
            "unsupported": unsupported,
            "passages": passages,
            "verdict": verdict,
            "notes": notes,
        }
        changes = {name: value for name, value in changes.items() if value is not None}
        changes |= {name: to_json(value) for name, value in parts.items() if value is not None}
        if not changes:
            return True
        columns = ", ".join(f"{name} = ?" for name in changes)
        with self._writing() as conn:
            found = conn.execute(
                f"UPDATE messages SET {columns} WHERE id = ?", (*changes.values(), message_id)
            ).rowcount
            if found and state is not MessageState.STREAMING:
                conn.execute(
                    "UPDATE chats SET updated = ?, model = coalesce(nullif(?, ''), model)"
                    " WHERE id = (SELECT chat_id FROM messages WHERE id = ?)",
                    (time.time(), model or "", message_id),
                )
        return bool(found)

    def remove_message(self, message_id: int) -> None:
        """Remove a message and everything below it; the branch ends at its parent then."""
        with self._writing() as conn:
            here = self._message(conn, message_id)
            conn.execute("DELETE FROM messages WHERE id = ?", (message_id,))
            if self._chat(conn, here.chat_id).leaf_id is None:
                conn.execute("UPDATE chats SET leaf_id = ? WHERE id = ?", (here.parent_id, here.chat_id))

    def set_active_leaf(self, message_id: int, *, descend: bool = True) -> int:
        """Make the branch of this message the active one, and return its leaf.

        Args:
            message_id: A message of the branch.
            descend: Go down to the newest message below it; otherwise the branch ends right here.
        """
        with self._writing() as conn:
            here = self._message(conn, message_id)
            leaf = message_id
            while descend:
                row = conn.execute("SELECT max(id) AS id FROM messages WHERE parent_id = ?", (leaf,)).fetchone()
                if row["id"] is None:
                    break
                leaf = row["id"]
            conn.execute("UPDATE chats SET leaf_id = ? WHERE id = ?", (leaf, here.chat_id))
        return leaf

    def fork(self, message_id: int) -> Chat:
        """A new chat that begins with a copy of everything up to this message."""
        with self._writing() as conn:
            here = self._message(conn, message_id)
            old = self._chat(conn, here.chat_id)
            new = self.create_chat(f"{old.title} (fork)", model=old.model, system=old.system, options=old.options)
            parent: int | None = None
            for message in self.path(old.id, message_id):
                copied = "role, content, state, created, reason, model, draft, owner"
                parts = "stats, citations, unsupported, passages, verdict, notes"
                parent = conn.execute(
                    f"INSERT INTO messages (chat_id, parent_id, {copied}, {parts})"
                    f" SELECT ?, ?, {copied}, {parts} FROM messages WHERE id = ?",
                    (new.id, parent, message.id),
                ).lastrowid
            conn.execute("UPDATE chats SET leaf_id = ? WHERE id = ?", (parent, new.id))
            return self._chat(conn, new.id)

    # ---- search -----------------------------------------------------------------------------------------------------

    def search(self, text: str, *, chat_id: int | None = None, limit: int = 50) -> list[Hit]:
        """Titles and messages in which all the words occur, best first; a title comes before messages.

        Args:
            text: Words, and phrases in double quotes; the last word may be a beginning.
            chat_id: Only in this chat.
            limit: At most this many.
        """
        parts = terms(text)
        if not parts:
            return []
        with self._reading() as conn:
            hits = find(conn, parts)
        return [hit for hit in hits if chat_id is None or hit.chat_id == chat_id][:limit]

    def _chat(self, conn: sqlite3.Connection, chat_id: int) -> Chat:
        row = conn.execute(f"{_CHAT} WHERE id = ?", (chat_id,)).fetchone() if abs(chat_id) < 1 << 63 else None
        if row is None:
            raise ChatNotFound(f"There is no chat {chat_id}.", "`localllm chats list` shows them.")
        return chat_of(row)

    def _message(self, conn: sqlite3.Connection, message_id: int) -> StoredMessage:
        row = conn.execute("SELECT * FROM messages WHERE id = ?", (message_id,)).fetchone()
        if row is None:
            raise ChatNotFound(f"There is no message {message_id}.")
        return message_of(row)

    def _update_chat(self, chat_id: int, **changes: Any) -> None:
        columns = ", ".join(f"{name} = ?" for name in changes)
        with self._writing() as conn:
            self._chat(conn, chat_id)
            conn.execute(f"UPDATE chats SET {columns} WHERE id = ?", (*changes.values(), chat_id))


def title_of(text: str, width: int = 60) -> str:
    """The beginning of a text as a title: one line, cut between words."""
    line = " ".join(text.split())
    if len(line) <= width:
        return line
    cut = line[:width].rsplit(" ", 1)[0]
    return (cut if len(cut) > width // 2 else line[: width - 1]) + "…"


def _chats_with(conn: sqlite3.Connection, search: str) -> set[int]:
    return {hit.chat_id for hit in find(conn, terms(search))}
