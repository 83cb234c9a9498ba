"""Vectors: exact and packed search agree, and follow what was added and removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from localllm.rag.index import Extract, FileFacts, Library, NewChunk
from localllm.rag.packed import PackedVectors, top, write_packed
from localllm.rag.rows import Layout
from localllm.rag.vectors import VectorCache, Vectors

DIM = 64


def unit(n: int, seed: int, dim: int = DIM) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "v.db", create=True)


def add(library: Library, name: str, n: int, seed: int, model_id: int) -> NDArray[np.float32]:
    """A document of `n` chunks with random vectors; returns them as stored."""
    text = "".join(f"{name} chunk {i:05}.\n" for i in range(n))
    size = len(text) // n
    root = library.add_root(Path("/x"), "folder")
    chunks = [NewChunk(i * size, (i + 1) * size, "", 4) for i in range(n)]
    library.store(root.id, name, FileFacts(1, 1, seed), Extract(text, Layout(), "text"), chunks, "test")
    rows = unit(n, seed).astype("<f2")
    hashes = [h for h, _ in library.missing_vectors(model_id, n)[0]]
    assert len(hashes) == n
    library.put_vectors(model_id, [(h, row.tobytes()) for h, row in zip(hashes, rows, strict=True)])
    return rows.astype(np.float32)


def model(library: Library) -> int:
    made = library.model("fingerprint", name="test", dim=DIM, max_tokens=64)
    library.activate(made.id)
    return made.id


@pytest.fixture(params=["exact", "scanned"], autouse=True)
def scan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs with a small matrix, and with one that is taken for large."""
    if request.param == "scanned":
        monkeypatch.setattr("localllm.rag.vectors.SCAN_FROM", 1)
    return str(request.param)


@pytest.mark.parametrize("budget", [1 << 30, 0])
def test_the_nearest_are_those_of_a_full_scan(library: Library, tmp_path: Path, budget: int, scan: str) -> None:
    m = model(library)
    rows = add(library, "a.txt", 3000, 1, m)
    vectors = Vectors(library, m, DIM, budget=budget, cache_folder=tmp_path / "cache")
    assert vectors.packed == (budget == 0)
    ids = np.array(sorted(c.id for c in library.chunks_of(1)))
    kept = 0
    for query in unit(20, 2):
        exact = ids[np.argsort(-(rows @ query))[:10]]
        found = vectors.nearest(query, 10)
        assert np.allclose(found.cosines, np.sort(found.cosines)[::-1])
        kept += len(set(found.ids.tolist()) & set(exact.tolist()))
    # Random vectors are the hardest there are for a sign scan; real ones keep more.
    assert kept == 200 if budget and scan == "exact" else kept >= 190


@pytest.mark.parametrize("budget", [1 << 30, 0])
def test_only_the_allowed_chunks_are_found(library: Library, tmp_path: Path, budget: int) -> None:
    m = model(library)
    add(library, "a.txt", 300, 1, m)
    vectors = Vectors(library, m, DIM, budget=budget, cache_folder=tmp_path / "cache")
    allowed = np.array([5, 7, 250, 99_999])
    found = vectors.nearest(unit(1, 3)[0], 10, allowed)
    assert set(found.ids.tolist()) == {5, 7, 250}
    assert len(vectors.nearest(unit(1, 3)[0], 10, np.array([], np.int64)).ids) == 0


@pytest.mark.parametrize("budget", [1 << 30, 0])
def test_vectors_follow_the_library(library: Library, tmp_path: Path, budget: int) -> None:
    m = model(library)
    first = add(library, "a.txt", 200, 1, m)
    cache = VectorCache(budget=budget, cache_folder=tmp_path / "cache")
    assert len(cache.get(library, m, DIM)) == 200
    assert cache.get(library, m, DIM).nearest(first[3], 1).ids.tolist() == [library.chunks_of(1)[3].id]

    second = add(library, "b.txt", 50, 2, m)
    vectors = cache.get(library, m, DIM)
    assert len(vectors) == 250
    new = library.chunks_of(2)[7].id
    assert vectors.nearest(second[7], 1).ids.tolist() == [new]
    assert np.isclose(vectors.cosines(second[7], np.array([new, 77_777]))[0], 1, atol=1e-2)
    assert np.isnan(vectors.cosines(second[7], np.array([new, 77_777]))[1])

    library.delete_documents([1])
    vectors = cache.get(library, m, DIM)
    assert len(vectors) == 50
    assert set(vectors.nearest(first[3], 60).ids.tolist()) == {c.id for c in library.chunks_of(2)}
    assert np.isnan(vectors.cosines(first[3], np.array([1]))[0])


def test_another_connection_is_noticed(library: Library, tmp_path: Path) -> None:
    m = model(library)
    add(library, "a.txt", 20, 1, m)
    cache = VectorCache()
    before = cache.get(library, m, DIM)
    assert cache.get(library, m, DIM) is before
    with Library(library.path) as other:
        other.delete_documents([1])
    assert len(cache.get(library, m, DIM)) == 0


def test_a_library_without_vectors_finds_nothing(library: Library) -> None:
    vectors = Vectors(library, model(library), DIM)
    assert len(vectors) == 0
    assert len(vectors.nearest(unit(1, 1)[0], 5).ids) == 0


def test_the_packed_file_of_a_generation_is_used_again_and_older_ones_go(library: Library, tmp_path: Path) -> None:
    m = model(library)
    add(library, "a.txt", 20, 1, m)
    folder = tmp_path / "cache"
    Vectors(library, m, DIM, budget=0, cache_folder=folder)
    (path,) = folder.iterdir()
    written = path.stat().st_mtime_ns
    Vectors(library, m, DIM, budget=0, cache_folder=folder)
    assert path.stat().st_mtime_ns == written
    assert path.stat().st_mode & 0o077 == 0
    add(library, "b.txt", 20, 2, m)
    Vectors(library, m, DIM, budget=0, cache_folder=folder)
    assert [p.name for p in folder.iterdir()] != [path.name]
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_cache_file_is_written_again(library: Library, tmp_path: Path, damage: bytes | None) -> None:
    m = model(library)
    rows = add(library, "a.txt", 20, 1, m)
    folder = tmp_path / "cache"
    Vectors(library, m, DIM, budget=0, cache_folder=folder)
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-10] if damage is None else damage)
    vectors = Vectors(library, m, DIM, budget=0, cache_folder=folder)
    assert vectors.nearest(rows[4], 1).ids.tolist() == [library.chunks_of(1)[4].id]


def test_rows_that_are_not_announced_leave_no_file(tmp_path: Path) -> None:
    batch = [(np.arange(5), unit(5, 1).astype(np.float16))]
    for n in (4, 6):
        with pytest.raises(ValueError, match="rows than announced"):
            write_packed(tmp_path / "x", n, DIM, batch)
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 200), st.integers(0, 200), st.integers(1, 50), st.integers(0, 10_000))
def test_dead_rows_are_never_found(n: int, dead: int, k: int, seed: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "p"
        write_packed(path, n, 100, [(np.arange(n) * 3, unit(n, seed, 100).astype(np.float16))])
        packed = PackedVectors(path)
        alive = np.ones(n, np.bool_)
        alive[np.random.default_rng(seed).integers(0, n, dead)] = False
        at, cosines = packed.nearest(unit(1, seed + 1, 100)[0], k, None, alive)
        assert alive[at].all()
        assert len(at) == min(k, int(alive.sum()))
        assert (np.diff(cosines) <= 0).all()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(-1, 1, width=32), max_size=60), st.integers(1, 20))
def test_top_takes_the_largest_in_order(values: list[float], k: int) -> None:
    scores = np.array(values, np.float32)
    assert scores[top(scores, k)].tolist() == sorted(values, reverse=True)[:k]


@pytest.mark.parametrize("budget", [1 << 30, 0])
def test_what_another_process_drops_while_vectors_are_loaded_harms_nothing(
    library: Library, tmp_path: Path, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    m = model(library)
    rows = add(library, "a.txt", 30, 1, m)
    add(library, "b.txt", 20, 2, m)
    load = Library.vectors

    def dropped_meanwhile(here: Library, model_id: int) -> Iterator[tuple[int, bytes]]:
        with Library(here.path) as process:
            process.delete_documents([2])
        return load(here, model_id)

    cache = VectorCache(budget=budget, cache_folder=tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(Library, "vectors", dropped_meanwhile)
        assert len(cache.get(library, m, DIM)) == 50
    vectors = cache.get(library, m, DIM)
    assert len(vectors) == 30
    assert vectors.nearest(rows[3], 1).ids.tolist() == [library.chunks_of(1)[3].id]


def test_reading_all_vectors_sorts_nothing_in_memory(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own plan held every vector of a library before it gave the first."""
    m = model(library)
    add(library, "a.txt", 20, 1, m)
    plans: list[str] = []
    stream = Library.stream

    def explained(here: Library, sql: str, values: tuple[int]) -> Iterator[Any]:
        plans.extend(row["detail"] for row in here.query(f"EXPLAIN QUERY PLAN {sql}", values))
        return stream(here, sql, values)

    monkeypatch.setattr(Library, "stream", explained)
    assert len(list(library.vectors(m))) == 20
    assert len(plans) > 1
    assert not any("TEMP B-TREE" in plan for plan in plans)
