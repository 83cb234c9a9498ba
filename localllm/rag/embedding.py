"""Vectors: made for the chunks that have none yet, in small batches, each a transaction of its own.

What is missing is found by comparing the tables, so a killed run goes on where it stopped. Another embedder's vectors
are made beside those in use, and one transaction switches chunks and vectors over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from localllm.errors import TextTooLong
from localllm.rag import lease
from localllm.rag.chunks import Chunker
from localllm.rag.index import Library
from localllm.rag.progress import Cancelled, Progress, Summary, SyncEvent
from localllm.rag.rows import NewChunk, chunk_sha256, embedded_text

if TYPE_CHECKING:
    from localllm.engine.protocol import Cancel, Embedder

_BATCH_SECONDS = 0.2
"""Aim of one batch: a cancel is answered within half a second."""
_SMALLEST_BATCH, _LARGEST_BATCH = 4, 64
"""A single text leaves cores idle or makes them wait for each other: an embedder works on several side by side."""
_FETCH = 2048
"""Chunks looked up at a time."""


def embed_missing(
    library: Library, embedder: Embedder, check: Callable[[], None], cancel: Cancel | None, summary: Summary
) -> Iterator[SyncEvent]:
    """Make the vectors that are missing, for the embedder in use; a library without one takes this.

    Args:
        library: Under our lease.
        embedder: Makes the vectors.
        check: Called before each batch; what it raises ends the work.
        cancel: Ends the look-ups, which take seconds in a large library.
        summary: Counts are added to it.
    """
    active = library.active_model
    if active is not None and active.fingerprint != embedder.fingerprint:
        summary.not_embedded = library.count_missing_vectors(active.id)
        summary.notes.append(
            f"The vectors here were made by {active.name or 'another embedder'}; new documents are found by keywords "
            "until `localllm docs reembed` has run."
        )
        return
    if active is not None and library.get("complete") == [library.generation, active.id]:
        return
    model = library.model(
        embedder.fingerprint, name=name_of(embedder), dim=embedder.dim, max_tokens=embedder.max_tokens
    )
    with library.stoppable(cancel):
        total = library.count_missing_vectors(model.id)
    if active is None and total:
        library.activate(model.id)
    done, pace, after = 0, _Pace(), 0
    try:
        while True:
            with library.stoppable(cancel):
                batch, after = library.missing_vectors(model.id, _FETCH, after)
            if not batch:
                break
            for part in _batches(batch, pace):
                check()
                try:
                    store_vectors(library, model.id, embedder, part, pace)
                except TextTooLong:
                    # Cut without this embedder's tokens, and no text is cut in silence: the document is cut again.
                    summary.notes.append("Some chunks are too long for the embedder; they are found by keywords.")
                    summary.not_embedded = total - done
                    return
                done += len(part)
                yield Progress(
                    "embed", done, total, chunks=summary.chunks, chunks_per_second=pace.per_second,
                    seconds_left=(total - done) / pace.per_second,
                )  # fmt: skip
        if library.active_model is not None:
            library.put("complete", [library.generation, model.id])
    finally:
        summary.embedded += done
        summary.not_embedded = total - done


def store_vectors(
    library: Library, model_id: int, embedder: Embedder, part: Sequence[tuple[bytes, str]], pace: _Pace
) -> None:
    """Embed one batch and store it, one transaction."""
    import numpy as np

    began = time.monotonic()
    rows = embedder.embed([text for _, text in part]).astype("<f2")
    if rows.shape != (len(part), embedder.dim) or not np.isfinite(rows).all():
        raise ValueError(f"the embedder gave {rows.shape} numbers for {len(part)} texts, or numbers that are none")
    library.put_vectors(model_id, [(key, row.tobytes()) for (key, _), row in zip(part, rows, strict=True)])
    pace.took(len(part), time.monotonic() - began)


def reembed(
    library: Library, embedder: Embedder, *, cancel: Cancel | None = None, keep_old: bool = False
) -> Iterator[SyncEvent]:
    """Make another embedder's vectors beside those in use, then switch chunks and vectors in one transaction.

    Searches see the old vectors until the switch and the new ones after it, never a mixture. Cancelled or killed, it
    goes on where it stopped when it is called again.

    Args:
        library: Read by others meanwhile.
        embedder: The one to use from then on.
        cancel: Looked at before each batch.
        keep_old: Keep the old vectors, so that switching back costs nothing.

    Raises:
        LibraryBusy: Another process is indexing this library.
    """
    started, summary, chunker = time.monotonic(), Summary(), Chunker(embedder)

    def check() -> None:
        held.beat()
        if cancel is not None and cancel.is_set():
            raise Cancelled

    with lease.hold(library) as held, library.large_cache():
        library.mark_open(True)
        try:
            model = library.model(
                embedder.fingerprint, name=name_of(embedder), dim=embedder.dim, max_tokens=embedder.max_tokens
            )
            documents = [d for d in library.documents() if d.content is not None]
            changes: list[tuple[int, list[NewChunk]]] = []
            pace, n_chunks = _Pace(), 0
            for number, document in enumerate(documents):
                check()
                assert document.content is not None
                mapped = library.text(document.content)
                chunks = chunker.cut(mapped, check)
                changes.append((document.id, chunks))
                n_chunks += len(chunks)
                texts = [(c.heading, mapped.text[c.start : c.end]) for c in chunks]
                wanted = {chunk_sha256(h, t): embedded_text(h, t) for h, t in texts}
                missing = [(key, wanted[key]) for key in library.without_vector(model.id, list(wanted))]
                for part in _batches(missing, pace):
                    check()
                    store_vectors(library, model.id, embedder, part, pace)
                    summary.embedded += len(part)
                done = number + 1
                yield Progress(
                    "embed", done, len(documents), chunks=n_chunks, chunks_per_second=pace.per_second,
                    seconds_left=(time.monotonic() - started) * (len(documents) - done) / done, path=document.source,
                )  # fmt: skip
            library.rechunk(changes, chunker.name, model.id, check)
            library.purge_vectors(None if keep_old else model.id)
            library.put("complete", [library.generation, model.id])
            summary.chunks, summary.cut = n_chunks, len(changes)
        except Cancelled:
            summary.cancelled = True
            summary.notes.append("The old vectors are still in use; run it again to go on.")
        library.mark_open(False)
        if not summary.cancelled:
            library.tidy()
    summary.seconds = time.monotonic() - started
    yield summary


def name_of(embedder: Embedder) -> str:
    """The embedder's display name where it has one."""
    return str(getattr(embedder, "name", ""))


class _Pace:
    """How many chunks go into a batch: as many as take `_BATCH_SECONDS`."""

    def __init__(self) -> None:
        self.size = _SMALLEST_BATCH
        self._done, self._seconds = 0, 0.0

    @property
    def per_second(self) -> float:
        """Chunks per second so far; at least a tiny number."""
        return max(self._done / self._seconds if self._seconds else 0.0, 1e-6)

    def took(self, n: int, seconds: float) -> None:
        """A batch of `n` chunks took this long."""
        self._done, self._seconds = self._done + n, self._seconds + seconds
        if n >= self.size:
            grown = int(n * _BATCH_SECONDS / max(seconds, 1e-6))
            self.size = max(_SMALLEST_BATCH, min(2 * self.size, grown, _LARGEST_BATCH))


def _batches(items: Sequence[tuple[bytes, str]], pace: _Pace) -> Iterator[Sequence[tuple[bytes, str]]]:
    """Neighbours in length go together: an embedder pads to the longest."""
    ordered = sorted(items, key=lambda item: len(item[1]))
    start = 0
    while start < len(ordered):
        part = ordered[start : start + pace.size]
        yield part
        start += len(part)
