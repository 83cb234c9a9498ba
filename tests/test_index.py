"""The library file: one transaction per document, exact spans, and nothing lost when it is damaged."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from localllm.errors import LibraryBusy, LibraryFull, LibraryNotFound, SchemaTooNew
from localllm.rag import lease
from localllm.rag.index import Extract, FileFacts, Library, NewChunk
from localllm.rag.rows import Heading, Layout

TEXT = "# Pump\nReplace the seal every 400 hours.\n# Part\nThe part is QX-2291.\n"
LAYOUT = Layout(headings=(Heading(0, 7, 1, "Pump"), Heading(42, 49, 1, "Part")))
FACTS = FileFacts(len(TEXT), 1, 2, b"h" * 32)
CHUNKS = [NewChunk(7, 41, "Pump", 8), NewChunk(49, 69, "Part", 6)]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "libraries" / "notes.db", create=True)


def stored(library: Library, relpath: str = "pump.md", text: str = TEXT) -> int:
    root = library.add_root(library.path.parent.parent, "folder")
    return library.store(root.id, relpath, FACTS, Extract(text, LAYOUT, "markdown", "Pump"), CHUNKS, "words-1")


def found(library: Library, term: str) -> list[int]:
    return [row[0] for row in library.query("SELECT rowid FROM chunks_fts WHERE chunks_fts MATCH ?", (term,))]


def test_what_is_stored_is_read_back_with_its_place(library: Library) -> None:
    document = library.document(stored(library))
    assert document is not None
    assert document.content is not None
    assert document.source.endswith("pump.md")
    mapped = library.text(document.content)
    assert mapped.text == TEXT
    first, second = library.chunks_of(document.id)
    assert TEXT[first.start : first.end] == "Replace the seal every 400 hours.\n"
    assert (second.line, second.page, second.heading) == (4, None, "Part")
    assert library.chunks([second.id]) == {second.id: second}
    assert found(library, "seal") == [first.id]
    assert library.verify() == []


def test_the_file_is_for_the_user_alone(library: Library) -> None:
    assert stat.S_IMODE(library.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(library.path.parent.stat().st_mode) == 0o700


def test_storing_again_replaces_chunks_and_keywords(library: Library) -> None:
    document_id = stored(library)
    old = {c.id for c in library.chunks_of(document_id)}
    other = TEXT.replace("seal", "belt")
    assert stored(library, text=other) == document_id
    assert not old & {c.id for c in library.chunks_of(document_id)}
    assert found(library, "seal") == []
    assert len(found(library, "belt")) == 1
    assert library.query("SELECT count(*) FROM texts")[0][0] == 1
    assert library.verify() == []


def test_a_failure_half_way_leaves_nothing(library: Library) -> None:
    root = library.add_root(library.path.parent, "folder")
    bad = [*CHUNKS, NewChunk(0, 5, None, 1)]  # type: ignore[arg-type]
    with pytest.raises(Exception):  # noqa: B017
        library.store(root.id, "a.md", FACTS, Extract(TEXT, LAYOUT, "markdown"), bad, "words-1")
    assert library.documents() == []
    assert library.count_chunks() == 0
    assert library.verify() == []


def test_moving_a_document_keeps_its_vectors(library: Library) -> None:
    document_id = stored(library)
    model = library.model("letters-1", name="letters", dim=2, max_tokens=9)
    missing = library.missing_vectors(model.id)
    assert [text.split("\n")[0] for _, text in missing] == ["Pump", "Part"]
    library.put_vectors(model.id, [(sha, b"\0\0\0\0") for sha, _ in missing])
    library.move(document_id, library.roots()[0].id, "renamed.md", FACTS)
    assert library.missing_vectors(model.id) == []
    assert len(list(library.vectors(model.id))) == 2
    assert len(found(library, "renamed")) == 2
    assert found(library, '"pump md"') == []


def test_a_copy_shares_text_and_vectors(library: Library) -> None:
    first = stored(library)
    second = library.store_same(library.roots()[0].id, "copy.md", FACTS, first)
    assert second != first
    assert len(library.chunks_of(second)) == 2
    assert library.query("SELECT count(*) FROM texts")[0][0] == 1
    library.delete_documents([first])
    assert library.verify() == []
    library.delete_documents([second])
    assert library.query("SELECT count(*) FROM texts")[0][0] == 0
    assert library.count_chunks() == 0


def test_the_version_changes_for_this_and_for_another_process(library: Library) -> None:
    before = library.version
    stored(library)
    middle = library.version
    assert middle != before
    with Library(library.path) as other:
        other.delete_documents([d.id for d in other.documents()])
    assert library.version != middle


def test_only_one_process_indexes(library: Library) -> None:
    busy = pytest.raises(LibraryBusy, match="is indexing")
    with lease.hold(library), Library(library.path) as other, busy, lease.hold(other):
        pass
    with lease.hold(library):
        pass


def test_the_lease_of_a_dead_process_is_taken_over(library: Library) -> None:
    with library.writing() as db:
        import socket

        db.execute("INSERT INTO lease VALUES (1, 'x', ?, 999999999, '1', 0)", (socket.gethostname(),))
    with lease.hold(library):
        pass


def test_a_damaged_file_is_set_aside_and_its_folders_are_remembered(library: Library, tmp_path: Path) -> None:
    stored(library)
    library.mark_open(True)
    library.tidy()
    library.close()
    raw = bytearray(library.path.read_bytes())
    for page in range(4, len(raw) // 8192):
        raw[page * 8192 : page * 8192 + 200] = b"\xff" * 200
    library.path.write_bytes(bytes(raw))
    with Library(library.path) as again:
        assert again.documents() == []
        assert len(again.notes) == 1
        assert "set aside" in again.notes[0]
    aside = list(library.path.parent.glob("notes.damaged-*.db"))
    assert len(aside) == 1
    assert aside[0].read_bytes() == bytes(raw)


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_bytes(b"not a database at all" * 100)
    with Library(path) as library:
        assert library.notes
    assert len(list(tmp_path.glob("notes.damaged-*.db"))) == 1


def test_a_newer_schema_is_refused_and_left_alone(library: Library) -> None:
    library.close()
    with sqlite3.connect(library.path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(SchemaTooNew, match="99"):
        Library(library.path)


def test_a_missing_library_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(LibraryNotFound, match="docs add"):
        Library(tmp_path / "none.db")


def test_a_full_disk_leaves_what_was_there(library: Library) -> None:
    stored(library)
    limit = library.query("PRAGMA page_count")[0][0]
    library.query(f"PRAGMA max_page_count = {limit}")
    import random

    noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz ", k=400_000))
    with pytest.raises(LibraryFull, match="disk is full"):
        stored(library, "big.md", noise)
    assert [d.relpath for d in library.documents()] == ["pump.md"]
    assert library.verify() == []
