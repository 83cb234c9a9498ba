"""A sync that is killed at any moment loses nothing and doubles nothing, and the next one goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localllm.rag.index import Library
from localllm.rag.reader_process import ReaderProcess
from localllm.rag.sync import sync
from tests.fakes import FakeEmbedder

ROUNDS = 200 if os.environ.get("LOCALLLM_SOAK") else 20
CHILD = """
import sys
from pathlib import Path
from localllm.rag.index import Library
from localllm.rag.sync import sync
from tests.fakes import FakeEmbedder
print("ready", flush=True)
for event in sync(Library(Path(sys.argv[1])), FakeEmbedder()):
    print(type(event).__name__, flush=True)
"""
ROOT = Path(__file__).parent.parent


def write_files(folder: Path, chance: random.Random, n: int) -> None:
    """Change, add, rename and delete some files."""
    for _ in range(n):
        path = folder / f"{chance.randrange(40)}.md"
        what = chance.random()
        if what < 0.7 or not path.exists():
            words = " ".join(f"w{chance.randrange(500)}" for _ in range(chance.randrange(1, 900)))
            path.write_text(f"# Title {chance.randrange(9)}\n{words}\n")
        elif what < 0.85:
            path.rename(folder / f"renamed-{chance.randrange(40)}.md")
        else:
            path.unlink()
    (folder / "always.md").write_text("always here")


def contents(library: Library) -> dict[str, tuple[str, int, int]]:
    """Text, chunks and chunks with a vector of every document."""
    found = {}
    for d in library.documents(status="ok"):
        assert d.content is not None
        chunks = library.chunks_of(d.id)
        with_vector = library.query(
            "SELECT count(*) FROM chunks c JOIN embeddings e ON e.chunk_sha256 = c.sha256 WHERE c.document_id = ?",
            (d.id,),
        )[0][0]
        found[d.relpath] = (library.text(d.content).text, len(chunks), with_vector)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    chance = random.Random(20261124)
    folder = tmp_path / "folder"
    folder.mkdir()
    path = tmp_path / "l.db"
    with Library(path, create=True) as library:
        library.add_root(folder, "folder")
    killed = 0
    for number in range(ROUNDS):
        write_files(folder, chance, 12)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        for _ in range(chance.randrange(0, 30)):  # so many steps, and then somewhere inside the next one
            if not child.stdout.readline():
                break
        time.sleep(chance.random() * 0.01)
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
        child.stdout.close()
        with Library(path) as library:  # readers find a sound file right after
            assert library.notes == []
            library.query("INSERT INTO chunks_fts(chunks_fts, rank) VALUES ('integrity-check', 1)")
            assert library.verify() == [], number
            assert library.query("SELECT count(*) - count(DISTINCT relpath) FROM documents")[0][0] == 0
            for text, n_chunks, _ in contents(library).values():
                assert n_chunks > 0, text
    assert killed > ROUNDS * 0.6  # the others were done before
    with ReaderProcess() as reader, Library(path) as library, Library(tmp_path / "new.db", create=True) as new:
        new.add_root(folder, "folder")
        list(sync(library, FakeEmbedder(), reader=reader))
        list(sync(new, FakeEmbedder(), reader=reader))
        assert contents(library) == contents(new)
        assert library.verify() == []
        assert {p.name for p in folder.iterdir()} == {d.relpath for d in library.documents()}
        assert all(with_vector == n for _, n, with_vector in contents(library).values())


def test_the_processes_of_a_killed_sync_end_with_it(tmp_path: Path) -> None:
    """The reader process sees the end of its input."""
    (tmp_path / "a.txt").write_text("hello")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom localllm.rag.reader_process import ReaderProcess\n"
        "reader = ReaderProcess()\nreader.read(Path(sys.argv[1]), 'text')\n"
        "print(reader._process.pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.txt")], cwd=ROOT, stdout=subprocess.PIPE)
    pid = int(done.stdout)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    pytest.fail("the reader process goes on")
