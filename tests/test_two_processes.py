"""Two processes and one library: one indexes at a time, the other searches, and a dead one is in nobody's way."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from localllm.errors import LibraryBusy
from localllm.rag import lease
from localllm.rag.index import Library
from localllm.rag.progress import Summary
from localllm.rag.reader_process import ReaderProcess
from localllm.rag.search import search
from localllm.rag.sync import sync
from localllm.rag.vectors import VectorCache
from tests.fakes import FakeEmbedder

ROOT = Path(__file__).parent.parent
CHILD = """
import sys
from pathlib import Path
from localllm.rag.index import Library
from localllm.rag.progress import Progress
from localllm.rag.sync import sync
from tests.fakes import FakeEmbedder
stopped = False
for event in sync(Library(Path(sys.argv[1])), FakeEmbedder()):
    if isinstance(event, Progress) and event.stage == sys.argv[2] and event.done >= 2 and not stopped:
        print("in the middle", flush=True)
        stopped = bool(sys.stdin.readline())
print("done", flush=True)
"""


class Other:
    """A process that syncs a library and stops in the middle until it is told to go on."""

    def __init__(self, library: Library, stage: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(library.path), stage], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.expect("in the middle\n")

    def expect(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == line

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.expect("done\n")
        self.process.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.md").write_text(f"# Part {i}\nThe seal number {i} is replaced.\n")
    with Library(tmp_path / "l.db", create=True) as made:
        made.add_root(folder, "folder")
        yield made


def run(library: Library) -> Summary:
    with ReaderProcess() as reader:
        *_, summary = sync(library, FakeEmbedder(), reader=reader)
    assert isinstance(summary, Summary)
    return summary


@pytest.mark.parametrize("stage", ["read", "embed"])
def test_while_one_process_indexes_another_searches_and_does_not_index(library: Library, stage: str) -> None:
    other = Other(library, stage)
    try:
        assert lease.indexer(library) == other.process.pid
        with pytest.raises(LibraryBusy, match=rf"number {other.process.pid} on .* is indexing"):
            run(library)
        hits = search(library, "seal replaced", None, 5, "keyword").hits
        assert len(hits) == (2 if stage == "read" else 5)  # whole documents, as many as are stored
        with Library(library.path) as opened:  # a library that is being written is not taken for damaged
            assert opened.notes == []
        other.go_on()
        assert lease.indexer(library) is None
        assert run(library).unchanged == 5
    finally:
        other.close()
    assert library.verify() == []


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("stage", ["read", "embed"])
def test_when_the_indexing_process_is_killed_the_next_one_takes_over_at_once(library: Library, stage: str) -> None:
    other = Other(library, stage)
    try:
        other.process.send_signal(signal.SIGKILL)
        other.process.wait()
        summary = run(library)
    finally:
        other.close()
    assert (summary.added + summary.unchanged, summary.not_embedded) == (5, 0)
    assert library.verify() == []


def test_vectors_in_memory_follow_what_another_process_writes(library: Library) -> None:
    run(library)
    model, cache, query = library.active_model, VectorCache(), np.ones(FakeEmbedder.dim, np.float32)
    assert model is not None
    assert len(cache.get(library, model.id, model.dim)) == 5
    for path in (library.path.parent / "folder").iterdir():
        path.write_text(path.read_text() + f"\n# More\nAnother chunk of {path.name}.\n")
    other = Other(library, "embed")
    other.go_on()
    other.close()
    vectors = cache.get(library, model.id, model.dim)
    ids = {row[0] for row in library.query("SELECT id FROM chunks")}
    assert len(vectors) == len(ids)
    assert set(vectors.nearest(query / np.linalg.norm(query), 100).ids.tolist()) == ids
