"""The tables, and the steps from one version to the next, as sqlite-utils migrations.

Imported only where a step is due: sqlite-utils brings numpy along, which would cost every start a tenth of a second.
Names of steps are listed in `schema.STEPS` too.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("localllm-history")


@migrations()
def m001_chats_and_messages(db: Database) -> None:
    """Chats, and the tree of messages of each."""
    db.execute("""
        CREATE TABLE chats (
            id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL DEFAULT '',
            created REAL NOT NULL, updated REAL NOT NULL,
            model TEXT NOT NULL DEFAULT '', system TEXT NOT NULL DEFAULT '', options TEXT,
            leaf_id INTEGER REFERENCES messages(id) ON DELETE SET NULL,
            draft_text TEXT NOT NULL DEFAULT '', deleted REAL)""")
    db.execute("""
        CREATE TABLE messages (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            chat_id INTEGER NOT NULL REFERENCES chats(id) ON DELETE CASCADE,
            parent_id INTEGER REFERENCES messages(id) ON DELETE CASCADE,
            role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
            content TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('complete', 'streaming', 'stopped', 'error')),
            created REAL NOT NULL, reason TEXT NOT NULL DEFAULT '',
            model TEXT NOT NULL DEFAULT '', draft TEXT NOT NULL DEFAULT '', owner TEXT NOT NULL DEFAULT '',
            stats TEXT, citations TEXT, unsupported TEXT, passages TEXT, verdict TEXT, notes TEXT)""")
    db.execute("CREATE INDEX messages_by_chat ON messages (chat_id, parent_id)")
    db.execute("CREATE INDEX messages_by_parent ON messages (parent_id)")
    db.execute("CREATE INDEX chats_by_update ON chats (updated)")


@migrations()
def m002_full_text(db: Database) -> None:
    """Full-text indexes over titles and messages, kept by triggers.

    A message that is still being written is not indexed: it would be indexed anew every second.
    """
    tokens = "tokenize = 'unicode61 remove_diacritics 2'"
    db.execute(f"CREATE VIRTUAL TABLE chats_fts USING fts5 (title, content = 'chats', content_rowid = 'id', {tokens})")
    db.execute(
        f"CREATE VIRTUAL TABLE messages_fts USING fts5 (content, content = 'messages', content_rowid = 'id', {tokens})"
    )
    add_chat = "INSERT INTO chats_fts (rowid, title) VALUES (new.id, new.title);"
    drop_chat = "INSERT INTO chats_fts (chats_fts, rowid, title) VALUES ('delete', old.id, old.title);"
    add = "INSERT INTO messages_fts (rowid, content) VALUES (new.id, new.content);"
    drop = "INSERT INTO messages_fts (messages_fts, rowid, content) VALUES ('delete', old.id, old.content);"
    done_new, done_old = "new.state <> 'streaming'", "old.state <> 'streaming'"
    for name, event, condition, action in (
        ("chats_added", "AFTER INSERT ON chats", "1", add_chat),
        ("chats_dropped", "AFTER DELETE ON chats", "1", drop_chat),
        ("chats_renamed", "AFTER UPDATE OF title ON chats", "1", drop_chat + add_chat),
        ("messages_added", "AFTER INSERT ON messages", done_new, add),
        ("messages_dropped", "AFTER DELETE ON messages", done_old, drop),
        ("messages_changed_old", "BEFORE UPDATE OF content, state ON messages", done_old, drop),
        ("messages_changed_new", "AFTER UPDATE OF content, state ON messages", done_new, add),
    ):
        db.execute(f"CREATE TRIGGER {name} {event} WHEN {condition} BEGIN {action} END")
