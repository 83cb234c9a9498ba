"""`localllm docs status`: what a library follows, how much is in it, how it can be searched, and why not better."""

from __future__ import annotations

from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING

import click

from localllm.cli.session import Session, print_json
from localllm.counted import counted

if TYPE_CHECKING:
    from localllm.engine.embedder_process import EmbedderProcess
    from localllm.rag.index import Library
    from localllm.rag.rows import ModelRow, Root


def show_status(
    session: Session, library: Library, embedder: EmbedderProcess | None, present: EmbedderProcess | None, *,
    as_json: bool,
) -> None:  # fmt: skip
    """Print it.

    Args:
        session: Says where files are.
        library: Which.
        embedder: The one that would search it.
        present: That of the settings, which may be newer.
        as_json: Print one JSON document.
    """
    from localllm.rag.lease import indexer

    documents, roots, active = library.documents(), library.roots(), library.active_model
    counts = {s: sum(d.status == s for d in documents) for s in ("ok", "partial", "pending", "skipped", "error")}
    chunks, pid, name = library.count_chunks(), indexer(library), library.name
    missing = library.count_missing_vectors(active.id) if active else chunks
    why = _why_not_better(active, embedder)
    newer = present.name if not why and present and active and present.fingerprint != active.fingerprint else ""
    size = sum(p.stat().st_size for p in session.paths.libraries.glob(f"{name}.db*"))
    if as_json:
        print_json(
            {
                "library": name, "bytes": size, "search": "keyword" if why else "hybrid", "why": why,
                "roots": [
                    {"path": str(r.path), "kind": r.kind, "offline": r.offline, "synced": r.synced_at} for r in roots
                ],
                "documents": counts, "chunks": chunks, "chunks_without_vector": missing,
                "embedder": active.name if active else None, "newer_embedder": newer or None, "indexing_process": pid,
            }
        )  # fmt: skip
        return
    read = counted(counts["ok"] + counts["partial"], "document")
    click.echo(f"{name}: {read}, {counted(chunks, 'chunk')}, {size / 1e6:,.1f} MB")
    click.echo(f"Search by keywords alone ({why})" if why else "Search by keywords and meaning")
    if newer and active:
        click.echo(f"Its vectors are by {active.name}; `localllm docs reembed` makes them anew by {newer}")
    if active and missing:
        click.echo(f"{counted(missing, 'chunk has', 'chunks have')} no vector yet; the next sync makes them")
    for root in roots:
        click.echo(f"  {root.path}  ({_state(root)})")
    if not roots:
        click.echo(f"It follows no folder: `localllm docs add FOLDER -d {quote(name)}` adds one")
    left_out = counts["skipped"] + counts["error"] + counts["pending"]
    if left_out:
        click.echo(
            f"{counted(left_out, 'file has', 'files have')} no text here: `localllm docs list --skipped` says why"
        )
    if pid:
        click.echo(f"Process {pid} is indexing now")


def _why_not_better(active: ModelRow | None, embedder: EmbedderProcess | None) -> str:
    """Why the library is searched by keywords alone; empty where it is not."""
    if embedder is None:
        return "there is no embedding model here: `localllm models pull starter` gets one"
    if active is None:
        return "no vectors were made yet: `localllm docs sync`"
    if active.fingerprint != embedder.fingerprint:
        made_by = active.name or "another embedder"
        return f"the vectors were made by {made_by}, which is not here: `localllm docs reembed`"
    return ""


def _state(root: Root) -> str:
    if root.offline:
        return "not there now; its documents are kept"
    if root.synced_at is None:
        return "not read to its end yet"
    return f"last changed {datetime.fromtimestamp(root.synced_at).strftime('%Y-%m-%d %H:%M')}"
