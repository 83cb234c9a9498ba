"""The library file: one transaction per document, exact spans, and nothing lost when it is damaged."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localllm.errors import LibraryBusy, LibraryDamaged, LibraryFull, LibraryNotFound, SchemaTooNew
from localllm.rag import lease, opening
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
    missing, _ = library.missing_vectors(model.id, 256)
    assert [text.split("\n")[0] for _, text in missing] == ["Pump", "Part"]
    library.put_vectors(model.id, [(sha, b"\0\0\0\0") for sha, _ in missing])
    library.move(document_id, library.roots()[0].id, "renamed.md", FACTS)
    assert library.missing_vectors(model.id, 256)[0] == []
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


@pytest.mark.parametrize(
    "loss", ["DELETE FROM texts", "UPDATE texts SET body = x'00'", "UPDATE texts SET layout = x''"]
)
def test_verify_names_a_document_whose_text_is_lost(library: Library, loss: str) -> None:
    stored(library)
    library.query("PRAGMA foreign_keys = OFF")
    with library.writing() as db:
        db.execute(loss)
    assert any("its text is damaged or missing" in fault for fault in library.verify())


def test_tidying_while_another_process_writes_is_told_in_our_words(library: Library) -> None:
    with another_writes(library), pytest.raises(LibraryBusy):
        library.tidy()
    library.tidy()


def test_verify_of_a_file_with_damaged_pages_names_them(library: Library) -> None:
    stored(library)
    damage(library)
    with sqlite3.connect(library.path) as db:  # no check at the start: nothing says that it was not closed properly
        assert db.execute("SELECT count(*) FROM meta WHERE key = 'open' AND value").fetchone()[0] == 0
    db.close()
    with Library(library.path) as again:
        assert again.notes == []
        assert again.verify() != []
    with Library(library.path) as again:
        assert "set aside" in again.notes[0]


def test_a_file_that_turns_out_damaged_is_set_aside_when_it_is_opened_next(library: Library) -> None:
    stored(library)
    damage(library)
    with Library(library.path) as again:
        assert again.notes == []
        with pytest.raises(LibraryDamaged, match="damaged"):
            again.query("SELECT sum(length(fts_text)) FROM chunks")
    with Library(library.path) as again:
        assert "set aside" in again.notes[0]
        assert [r.path for r in again.roots()] == [library.path.parent.parent]


@contextmanager
def another_writes(library: Library) -> Iterator[None]:
    """Another process is in the middle of a change, and nobody waits for it."""
    library.query("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(library.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.rollback()
        other.close()


def damage(library: Library) -> None:
    library.tidy()
    root_page = library.query("SELECT rootpage FROM sqlite_master WHERE name = 'chunks'")[0][0]
    library.close()
    with library.path.open("r+b") as file:
        file.seek((root_page - 1) * 8192)
        file.write(b"\xff" * 400)


def test_verify_while_another_process_writes_says_nothing_of_the_file(library: Library) -> None:
    stored(library)
    with another_writes(library), pytest.raises(LibraryBusy):
        library.verify()
    assert library.verify() == []


def test_a_vector_of_the_wrong_size_is_a_fault(library: Library) -> None:
    stored(library)
    model = library.model("letters-1", name="letters", dim=2, max_tokens=9)
    library.put_vectors(model.id, [(sha, b"\0" * 6) for sha, _ in library.missing_vectors(model.id, 9)[0]])
    assert library.verify() == ["2 vectors are not of their model's size"]


def test_nothing_stays_open_when_opening_fails(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    library.mark_open(True)
    library.close()
    opened: list[sqlite3.Connection] = []
    connect = opening.connect

    def spy(path: Path, *, create: bool) -> sqlite3.Connection:
        opened.append(connect(path, create=create))
        return opened[-1]

    def refuse(*_: object) -> None:
        raise LibraryBusy("busy")

    monkeypatch.setattr(opening, "connect", spy)
    monkeypatch.setattr(Library, "mark_open", refuse)
    with pytest.raises(LibraryBusy):
        Library(library.path)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_a_lease_is_ours_from_the_moment_that_others_see_it(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that looks in between would take it for one that a dead process left."""
    insert = lease.Lease._insert

    def insert_and_look(held: lease.Lease) -> None:
        insert(held)
        with Library(library.path) as other, pytest.raises(LibraryBusy):
            insert(lease.Lease(other))

    monkeypatch.setattr(lease.Lease, "_insert", insert_and_look)
    with lease.hold(library):
        pass
    assert lease.indexer(library) is None


@pytest.fixture
def someone_else() -> Iterator[Path]:
    """A folder of ours, in which we are another user for the length of the test."""
    if sys.platform == "win32":
        pytest.skip("needs users of Unix")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        if os.getuid() == 0:
            os.seteuid(0)
        Path(name).chmod(0o755)


def become_someone_else(folder: Path) -> None:
    if os.getuid() == 0:
        os.seteuid(65534)
    else:
        folder.chmod(0o555)


@pytest.mark.parametrize("open_elsewhere", [False, True])
def test_a_library_that_can_not_be_written_to_is_read(someone_else: Path, open_elsewhere: bool) -> None:
    path = someone_else / "notes.db"
    library = Library(path, create=True)
    root = library.add_root(someone_else, "folder")
    library.store(root.id, "pump.md", FACTS, Extract(TEXT, LAYOUT, "markdown", "Pump"), CHUNKS, "words-1")
    library.mark_open(True)  # whatever it says, it can't be checked here
    if not open_elsewhere:
        library.tidy()
        library.close()
    for file in someone_else.iterdir():
        file.chmod(0o444)
    become_someone_else(someone_else)
    with Library(path) as again:
        assert again.read_only
        assert len(found(again, "seal")) == 1
        assert again.verify() == []
        with pytest.raises(LibraryBusy, match="can't be written to"):
            again.add_root(path.parent, "folder")
    library.close()


def test_a_library_that_may_not_be_read_says_so(someone_else: Path) -> None:
    Library(someone_else / "notes.db", create=True).close()
    (someone_else / "notes.db").chmod(0)
    become_someone_else(someone_else)
    with pytest.raises(LibraryBusy, match="can't be opened"):
        Library(someone_else / "notes.db")


def test_tidying_in_steps_merges_the_keyword_index(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localllm.rag.index._MERGE_PAGES", 1)
    for i in range(40):
        stored(library, f"{i}.md", TEXT.replace("seal", f"seal{i}" * 50))
    looks = []
    library.tidy(lambda: looks.append(1))
    assert len(looks) >= 2
    assert library.query("SELECT count(DISTINCT segid) FROM chunks_fts_idx")[0][0] == 1
    assert library.verify() == []


def test_missing_vectors_are_gone_through_once(library: Library) -> None:
    stored(library)
    stored(library, "again.md")
    stored(library, "other.md", TEXT.replace("seal", "belt"))
    model = library.model("letters-1", name="letters", dim=2, max_tokens=9)
    seen: list[str] = []
    after = 0
    while True:
        some, after = library.missing_vectors(model.id, 1, after)
        if not some:
            break
        seen += [text.splitlines()[1] for _, text in some]
        library.put_vectors(model.id, [(sha, b"\0\0\0\0") for sha, _ in some])
    assert sorted(seen) == [
        "Replace the belt every 400 hours.", "Replace the seal every 400 hours.", "he part is QX-2291."
    ]  # fmt: skip
    assert library.count_missing_vectors(model.id) == 0
