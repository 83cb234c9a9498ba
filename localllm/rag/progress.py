"""What a sync says while it works: every event it yields, and the summary that ends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sync is."""

    stage: Literal["scan", "read", "cut", "embed"]
    done: int
    total: int
    """Files found so far, files to read, documents to cut again, or chunks to embed; `reembed` counts documents."""
    bytes_done: int = 0
    bytes_total: int = 0
    chunks: int = 0
    """Chunks written in this sync."""
    chunks_per_second: float = 0.0
    """Of this stage: written, or embedded."""
    seconds_left: float | None = None
    """Of this stage; None while nothing can be said."""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that has no text here, and why."""

    path: str
    reason: str
    error: bool
    """The file is at fault, or its reader."""


@dataclass(frozen=True, slots=True)
class RootOffline:
    """A folder is missing, or empty when it was not before: its documents stay as they are."""

    path: str


@dataclass
class Summary:
    """What a sync did; the last event."""

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    """New in this sync; `Library.documents` lists all."""
    errors: int = 0
    cut: int = 0
    """Documents cut anew for another embedder, from their kept text."""
    chunks: int = 0
    embedded: int = 0
    not_embedded: int = 0
    """Chunks without a vector at the end: no embedder, or cancelled."""
    cancelled: bool = False
    offline: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Remarks for the user, one line each."""
    seconds: float = 0.0

    @property
    def told(self) -> list[str]:
        """What became of the documents, for people: ``3 added``, ``1 moved``; what did not happen is not told."""
        counts = (
            (self.added, "added"), (self.changed, "changed"), (self.moved, "moved"), (self.removed, "removed"),
            (self.unchanged, "unchanged"),
        )  # fmt: skip
        return [f"{n:,} {word}" for n, word in counts if n]


SyncEvent = Progress | Skipped | RootOffline | Summary


class Cancelled(Exception):
    """Inside a sync: the user asked to stop."""
