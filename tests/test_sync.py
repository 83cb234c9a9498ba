"""Sync keeps a library in step with its folders, whatever happens to them and to itself."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.errors import LibraryBusy, LibraryFull
from localllm.rag.index import Library
from localllm.rag.progress import Cancelled, Progress, RootOffline, Skipped, Summary, SyncEvent
from localllm.rag.reader_process import ReaderProcess
from localllm.rag.sync import sync
from tests import documents
from tests.fakes import FakeEmbedder

OLD = 1_700_000_000


@pytest.fixture(scope="module")
def reader() -> Iterator[ReaderProcess]:
    with ReaderProcess() as process:
        yield process


class Desk:
    """A folder and a library that follows it."""

    def __init__(self, home: Path, reader: ReaderProcess) -> None:
        self.folder, self.reader = home / "folder", reader
        self.folder.mkdir()
        self.library = Library(home / "libraries" / "desk.db", create=True)
        self.root = self.library.add_root(self.folder, "folder")
        self.embedder: FakeEmbedder | None = None

    def write(self, name: str, text: str, age: int = 0) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (OLD - age, OLD - age))
        return path

    def events(self, **options: object) -> list[SyncEvent]:
        return list(sync(self.library, self.embedder, reader=self.reader, **options))  # type: ignore[arg-type]

    def sync(self, **options: object) -> Summary:
        summary = self.events(**options)[-1]
        assert isinstance(summary, Summary)
        return summary

    def names(self, *states: str) -> list[str]:
        return [d.relpath for d in self.library.documents() if d.status in (states or ("ok", "partial"))]

    def hits(self, word: str) -> list[str]:
        rows = self.library.query(
            "SELECT d.relpath FROM chunks_fts f JOIN chunks c ON c.id = f.rowid JOIN documents d "
            "ON d.id = c.document_id WHERE chunks_fts MATCH ? ORDER BY 1",
            (word,),
        )
        return [row[0] for row in rows]


@pytest.fixture
def desk(tmp_path: Path, reader: ReaderProcess) -> Iterator[Desk]:
    made = Desk(tmp_path, reader)
    yield made
    assert made.library.verify() == []
    made.library.close()


def test_new_changed_and_deleted_files_are_followed(desk: Desk) -> None:
    desk.write("a.md", "# Pump\nseal")
    desk.write("b.txt", "fan")
    assert (desk.sync().added, desk.hits("seal")) == (2, ["a.md"])
    desk.write("a.md", "# Pump\nbelt", age=1)
    (desk.folder / "b.txt").unlink()
    summary = desk.sync()
    assert (summary.changed, summary.removed) == (1, 1)
    assert (desk.hits("seal"), desk.hits("belt"), desk.hits("fan")) == ([], ["a.md"], [])


def test_a_sync_that_finds_nothing_new_reads_and_writes_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write("a.md", "text")
    desk.embedder = FakeEmbedder()
    desk.sync()
    generation = desk.library.generation
    monkeypatch.setattr(ReaderProcess, "read", lambda *_: pytest.fail("a file was read"))
    monkeypatch.setattr(FakeEmbedder, "embed", lambda *_: pytest.fail("a text was embedded"))
    monkeypatch.setattr(Library, "mark_open", lambda *_: pytest.fail("the library was marked"))
    assert desk.sync().unchanged == 1
    assert desk.library.generation == generation


def test_a_touched_file_is_hashed_and_not_read_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    path = desk.write("a.md", "text")
    desk.sync()
    os.utime(path, (OLD + 5, OLD + 5))
    monkeypatch.setattr(ReaderProcess, "read", lambda *_: pytest.fail("a file was read"))
    assert desk.sync().unchanged == 1


def test_a_file_changed_a_moment_ago_is_hashed_again(desk: Desk) -> None:
    path = desk.folder / "a.md"
    path.write_text("one")
    desk.sync()
    info = path.stat()
    path.write_text("two")  # same size, and with a coarse clock the same time
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert desk.sync().changed == 1
    assert desk.hits("two") == ["a.md"]


def test_deep_finds_an_edit_that_kept_size_and_time(desk: Desk) -> None:
    desk.write("a.md", "one")
    desk.sync()
    desk.write("a.md", "two")
    assert desk.sync().changed == 0
    assert desk.sync(deep=True).changed == 1
    assert desk.hits("two") == ["a.md"]


def test_renames_moves_and_copies_cost_no_reading_and_no_embedding(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.embedder = FakeEmbedder()
    desk.write("a.md", "# Pump\nseal")
    desk.write("b.md", "# Fan\nbelt")
    desk.sync()
    ids = {d.relpath: d.id for d in desk.library.documents()}
    (desk.folder / "sub").mkdir()
    (desk.folder / "a.md").rename(desk.folder / "sub" / "renamed.md")
    (desk.folder / "copy.md").write_bytes((desk.folder / "b.md").read_bytes())
    monkeypatch.setattr(ReaderProcess, "read", lambda *_: pytest.fail("a file was read"))
    monkeypatch.setattr(FakeEmbedder, "embed", lambda *_: pytest.fail("a text was embedded"))
    summary = desk.sync()
    assert (summary.moved, summary.added, summary.removed, summary.not_embedded) == (1, 1, 0, 0)
    assert desk.names() == ["b.md", "copy.md", "sub/renamed.md"]
    assert {d.relpath: d.id for d in desk.library.documents()}["sub/renamed.md"] == ids["a.md"]
    assert desk.hits("renamed") == ["sub/renamed.md"]


def test_a_file_moved_over_another_leaves_one(desk: Desk) -> None:
    desk.write("a.md", "seal", age=3)
    desk.write("b.md", "belt")
    desk.sync()
    (desk.folder / "a.md").replace(desk.folder / "b.md")
    desk.sync()
    assert desk.names() == ["b.md"]
    assert (desk.hits("seal"), desk.hits("belt")) == (["b.md"], [])


def test_a_missing_root_keeps_its_documents_and_says_so(desk: Desk) -> None:
    desk.write("a.md", "seal")
    desk.sync()
    desk.folder.rename(desk.folder.with_name("unplugged"))
    events = desk.events()
    assert RootOffline(str(desk.folder)) in events
    assert desk.hits("seal") == ["a.md"]
    assert desk.library.roots()[0].offline
    desk.folder.with_name("unplugged").rename(desk.folder)
    assert desk.sync().unchanged == 1
    assert not desk.library.roots()[0].offline


def test_a_root_that_is_empty_all_at_once_keeps_its_documents(desk: Desk) -> None:
    path = desk.write("a.md", "seal")
    desk.sync()
    path.unlink()
    assert desk.sync().offline == [str(desk.folder)]
    assert desk.hits("seal") == ["a.md"]


def test_a_folder_that_can_not_be_opened_keeps_its_documents(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write("sub/a.md", "seal")
    desk.write("b.md", "belt")
    desk.sync()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        assert desk.sync().removed == 0
        assert desk.sync().errors == 0  # said once
    assert desk.hits("seal") == ["sub/a.md"]
    desk.sync()
    assert desk.names() == ["b.md", "sub/a.md"]
    assert desk.names("error") == []


def test_every_file_left_out_is_listed_with_its_reason_and_said_once(desk: Desk) -> None:
    documents.make_all(desk.folder)
    documents.pdf(desk.folder / "locked.pdf", password=b"secret")
    documents.zip_bomb(desk.folder / "bomb.docx")
    desk.write("empty.md", "")
    desk.write("blank.md", " \n ")
    desk.write("noise.txt", "\0\1\2")
    desk.write("film.mkv", "x")
    desk.write(".env", "PASSWORD=x")
    first = [e for e in desk.events() if isinstance(e, Skipped)]
    listed = {d.relpath: d.reason for d in desk.library.documents() if d.status in ("skipped", "error")}
    assert {Path(e.path).name for e in first} == set(listed) == {
        "locked.pdf", "bomb.docx", "empty.md", "blank.md", "noise.txt", "film.mkv", ".env"
    }  # fmt: skip
    assert "password" in listed["locked.pdf"]
    assert all(listed.values())
    assert len(desk.names()) == len(documents.TEXTS) + 7
    assert [e for e in desk.events() if isinstance(e, Skipped)] == []


def test_spans_are_exact_over_all_readers_through_the_whole_way(desk: Desk) -> None:
    documents.make_all(desk.folder)
    desk.embedder = FakeEmbedder()
    desk.sync()
    for document in desk.library.documents():
        assert document.content is not None, document
        text = desk.library.text(document.content).text
        chunks = desk.library.chunks_of(document.id)
        assert any(documents.SENTENCE in text[c.start : c.end] for c in chunks)


def test_a_file_that_becomes_unreadable_is_found_no_more(desk: Desk) -> None:
    desk.write("a.txt", "seal")
    desk.sync()
    desk.write("a.txt", "\0\1\2 seal", age=1)
    desk.sync()
    assert desk.hits("seal") == []
    assert desk.names("skipped") == ["a.txt"]


def test_a_file_that_ignore_rules_now_leave_out_is_found_no_more(desk: Desk) -> None:
    desk.write("a.md", "seal")
    desk.write("b.md", "belt")
    desk.sync()
    desk.write(".localllmignore", "a.md\n")
    desk.sync()
    assert (desk.hits("seal"), desk.hits("belt")) == ([], ["b.md"])


def test_a_file_that_changes_while_it_is_read_is_tried_again_and_then_left_for_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = desk.write("a.md", "one")
    read = ReaderProcess.read

    def grow(self: ReaderProcess, *arguments: object) -> object:
        extract = read(self, *arguments)  # type: ignore[arg-type]
        path.write_text(path.read_text() + " more")
        return extract

    with monkeypatch.context() as patch:
        patch.setattr(ReaderProcess, "read", grow)
        assert desk.sync().errors == 1
    assert desk.names("pending") == ["a.md"]
    assert desk.sync().changed == 1
    assert desk.hits("more") == ["a.md"]


def test_a_single_file_is_followed_and_dropped_when_it_is_deleted(desk: Desk, tmp_path: Path) -> None:
    path = desk.write("alone/a.md", "seal")
    desk.write("alone/other.md", "belt")
    desk.library.remove_root(desk.root.id)
    desk.library.add_root(path, "file")
    desk.sync()
    assert [d.path for d in desk.library.documents()] == [path]
    path.unlink()
    assert desk.sync().removed == 1
    assert desk.hits("seal") == []


def test_two_roots_with_the_same_file_share_text_and_vectors(desk: Desk, tmp_path: Path) -> None:
    desk.embedder = FakeEmbedder()
    desk.write("a.md", "seal")
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.md").write_text("seal")
    desk.library.add_root(other, "folder")
    desk.sync()
    assert desk.hits("seal") == ["a.md", "b.md"]
    assert desk.library.query("SELECT count(*) FROM texts")[0][0] == 1
    assert desk.library.query("SELECT count(*) FROM embeddings")[0][0] == 1


def test_cancel_stops_between_files_and_the_next_sync_goes_on(desk: Desk) -> None:
    for i in range(6):
        desk.write(f"{i}.md", f"text {i}")
    cancel, seen = threading.Event(), 0
    last: SyncEvent | None = None
    for last in sync(desk.library, None, cancel=cancel, reader=desk.reader):
        seen += isinstance(last, Progress) and last.stage == "read"
        if seen == 3:
            cancel.set()
    assert isinstance(last, Summary)
    assert last.cancelled
    assert desk.names() == ["0.md", "1.md"]
    assert desk.sync().added == 4


def test_cancel_is_looked_at_inside_one_long_file(desk: Desk) -> None:
    """Count the looks: reading, cutting and storing one file of 3 MB looks hundreds of times, and stops at any."""
    desk.write("big.txt", "One more sentence about the pump. " * 90_000)

    class After:
        def __init__(self, looks: int) -> None:
            self.left, self.looks = looks, 0

        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > self.left

    counting = After(10**9)
    desk.sync(cancel=counting)
    assert counting.looks > 300
    desk.write("big.txt", "Two more sentences about the pump. " * 90_000, age=1)
    assert desk.sync(cancel=After(counting.looks // 2)).cancelled
    assert desk.hits('"one more"')  # the old version is whole
    assert desk.hits('"two more"') == []


def test_a_document_is_seen_whole_or_not_at_all_by_another_reader(desk: Desk) -> None:
    for i in range(4):
        desk.write(f"{i}.md", "# A\none\n# B\ntwo\n# C\nthree\n")
    with Library(desk.library.path) as other:
        for _ in sync(desk.library, None, reader=desk.reader):
            counts = other.query("SELECT count(*) FROM chunks GROUP BY document_id")
            assert all(row[0] == 3 for row in counts)


def test_only_one_sync_at_a_time_and_searches_go_on(desk: Desk) -> None:
    desk.write("a.md", "seal")
    running = sync(desk.library, None, reader=desk.reader)
    next(running)
    with Library(desk.library.path) as other:
        with pytest.raises(LibraryBusy, match="is indexing"):
            list(sync(other, None, reader=desk.reader))
        other.documents()
    list(running)
    assert desk.sync().unchanged == 1


def test_a_full_disk_stops_the_sync_and_the_next_one_goes_on(desk: Desk) -> None:
    for i in range(5):
        desk.write(f"{i}.md", f"first {i} " + "words " * 200)
    desk.sync()
    desk.write("big.txt", " ".join(f"word{i}" for i in range(60_000)))
    pages = desk.library.query("PRAGMA page_count")[0][0]
    desk.library.query(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LibraryFull, match=r"disk is full.*About \d+ MB are needed"):
        desk.sync()
    assert len(desk.names()) == 5
    desk.library.query("PRAGMA max_page_count = 1000000")
    assert desk.sync().added == 1


def test_a_damaged_library_is_set_aside_and_the_next_sync_fills_a_new_one(desk: Desk, tmp_path: Path) -> None:
    desk.write("a.md", "seal")
    desk.sync()
    desk.library.mark_open(True)  # as a killed sync leaves it
    desk.library.tidy()
    desk.library.close()
    path = desk.library.path
    raw = bytearray(path.read_bytes())
    for page in range(6, len(raw) // 8192):
        raw[page * 8192 : page * 8192 + 400] = b"\xff" * 400
    path.write_bytes(bytes(raw))
    desk.library = Library(path)
    assert "set aside" in desk.library.notes[0]
    assert [p.read_bytes() for p in path.parent.glob("desk.damaged-*.db")] == [bytes(raw)]
    assert desk.sync().added == 1
    assert desk.hits("seal") == ["a.md"]


def test_progress_tells_files_bytes_rate_and_time_left(desk: Desk) -> None:
    desk.embedder = FakeEmbedder()
    for i in range(3):
        desk.write(f"{i}.md", "words " * 100)
    events = [e for e in desk.events() if isinstance(e, Progress)]
    assert [e.stage for e in events if e.stage != "read"][:1] == ["scan"]
    reading = [e for e in events if e.stage == "read"]
    assert [e.done for e in reading] == [0, 1, 2, 3]
    assert reading[-1].bytes_done == reading[-1].bytes_total == 3 * 600
    assert reading[2].seconds_left is not None
    assert any(e.stage == "embed" and e.chunks_per_second > 0 for e in events)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a named pipe")
@pytest.mark.parametrize("what", ["pipe", "link"])
def test_a_file_that_turns_into_a_pipe_or_a_link_is_neither_waited_for_nor_followed(
    desk: Desk, tmp_path: Path, what: str
) -> None:
    path = desk.write("a.md", "seal")
    (tmp_path / "secret.md").write_text("a secret outside the folder")
    events = sync(desk.library, None, reader=desk.reader)
    assert isinstance(next(events), Progress)  # the folder was walked
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "secret.md")
    left_out = [e for e in events if isinstance(e, Skipped)]
    assert [Path(e.path).name for e in left_out] == ["a.md"]
    assert (desk.hits("secret"), desk.hits("seal")) == ([], [])


@pytest.mark.skipif(sys.platform == "win32", reason="inodes")
def test_hard_links_are_documents_of_their_own_with_one_text(desk: Desk) -> None:
    os.link(desk.write("a.md", "seal"), desk.folder / "b.md")
    desk.embedder = FakeEmbedder()
    desk.sync()
    assert desk.hits("seal") == ["a.md", "b.md"]
    assert desk.library.query("SELECT count(*) FROM texts")[0][0] == 1
    assert desk.library.query("SELECT count(*) FROM embeddings")[0][0] == 1
    assert desk.sync().unchanged == 2


def test_several_folders_that_can_not_be_opened_keep_their_documents(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one/a.md", "two/b.md", "twofold/c.md", "left/d.md"):
        desk.write(name, name)
    desk.sync()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith(("one", "two")):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    (desk.folder / "left" / "d.md").unlink()
    (desk.folder / "twofold" / "c.md").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        assert desk.sync().removed == 2
    assert desk.names() == ["one/a.md", "two/b.md"]


def test_a_very_large_file_and_one_of_very_many_chunks_say_what_is_left_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (desk.folder / "huge.txt").open("wb") as file:
        file.truncate(200_000_001)
    desk.write("long.md", "\n\n".join(f"# Part {i}\n" + "word " * 140 for i in range(9)))
    monkeypatch.setattr("localllm.rag.chunks.MAX_CHUNKS", 4)
    monkeypatch.setattr("localllm.rag.sync.MAX_CHUNKS", 4)
    desk.sync()
    reasons = {d.relpath: (d.status, d.reason, d.n_chunks) for d in desk.library.documents()}
    assert reasons == {
        "huge.txt": ("skipped", "larger than 200 MB (200 MB)", 0),
        "long.md": ("partial", "only its first 4 chunks are searched", 4),
    }


class Cost:
    """A cancel that is never set, and notes the processor time between two looks at it."""

    def __init__(self) -> None:
        self.longest, self._last = 0.0, time.process_time()

    def is_set(self) -> bool:
        now = time.process_time()
        self.longest, self._last = max(self.longest, now - self._last), now
        return False


def test_cancel_is_looked_at_often_whatever_a_sync_does(desk: Desk) -> None:
    """In processor time of this process, which waiting and a busy machine do not change."""
    desk.embedder = FakeEmbedder()
    words = " ".join(f"word{i}" for i in range(60_000))
    desk.write("big.txt", words)
    for i in range(400):
        desk.write(f"small/{i}.md", f"text {i}")
        desk.write(f"other/{i}.bin", f"nothing {i}")
    added = Cost()
    desk.sync(cancel=added)
    (desk.folder / "small").rename(desk.folder / "moved")
    for path in (desk.folder / "other").iterdir():
        path.unlink()
    desk.write("copy.txt", words)
    changed = Cost()
    assert desk.sync(cancel=changed).moved == 400
    for path in (desk.folder / "moved").iterdir():
        path.unlink()
    (desk.folder / "big.txt").unlink()
    removed = Cost()
    assert desk.sync(cancel=removed).removed == 401
    assert max(added.longest, changed.longest, removed.longest) < 0.5


def test_a_long_statement_ends_when_it_is_cancelled_and_those_of_others_go_on(desk: Desk) -> None:
    cancel = threading.Event()
    cancel.set()
    long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT max(i) FROM n"
    with desk.library.stoppable(cancel):
        with pytest.raises(Cancelled):
            desk.library.query(long, (10**9,))
        thread = threading.Thread(target=lambda: found.append(desk.library.query(long, (50_000,))[0][0]))
        found: list[int] = []
        thread.start()
        thread.join()
    assert found == [50_000]
    assert desk.library.query(long, (50_000,))[0][0] == 50_000


def test_a_document_whose_text_is_damaged_is_read_again(desk: Desk) -> None:
    desk.write("a.md", "seal")
    desk.write("b.md", "belt")
    desk.sync()
    with desk.library.writing() as db:
        db.execute("UPDATE texts SET body = x'00' WHERE rowid = 1")
    assert len(desk.library.verify()) == 1
    assert (desk.sync().changed, desk.library.verify()) == (1, [])


def test_a_few_changes_do_not_merge_the_whole_keyword_index(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watched folder would have it written anew with every file that is saved."""
    merges = []
    monkeypatch.setattr(Library, "tidy", lambda *_: merges.append(1))
    for i in range(40):
        desk.write(f"{i}.md", f"text {i}")
    desk.sync()
    assert len(merges) == 1
    desk.write("0.md", "other", age=1)
    desk.sync()
    assert len(merges) == 1


def test_a_single_file_on_a_drive_that_is_away_keeps_its_text(desk: Desk, tmp_path: Path) -> None:
    """The drive's folder is gone, or is there and empty."""
    path = desk.write("drive/a.md", "seal")
    desk.library.remove_root(desk.root.id)
    desk.library.add_root(path, "file")
    desk.sync()
    path.parent.rename(tmp_path / "drive")
    assert desk.sync().offline == [str(path)]
    path.parent.mkdir()
    assert desk.sync().offline == [str(path)]
    assert desk.hits("seal") == ["a.md"]
    path.parent.rmdir()
    (tmp_path / "drive").rename(path.parent)
    assert desk.sync().unchanged == 1


def test_an_editor_that_saves_by_renaming_changes_one_document(desk: Desk) -> None:
    desk.write("a.md", "seal")
    desk.sync()
    ids = [d.id for d in desk.library.documents()]
    desk.write(".a.md.swp", "noise")
    desk.write("a.md~", "noise")
    desk.write("a.tmp", "belt").replace(desk.folder / "a.md")
    assert desk.sync().changed == 1
    assert [d.id for d in desk.library.documents()] == ids
    assert (desk.hits("belt"), desk.hits("noise")) == (["a.md"], [])
