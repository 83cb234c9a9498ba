"""Verification: a library checked against what it says of itself.

`verify` is a method of `Library`; it stands here because it is a noun of its own.
"""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from localllm.errors import LibraryDamaged, RetrievalError
from localllm.rag import opening
from localllm.rag.rows import Document, chunk_sha256

if TYPE_CHECKING:
    from localllm.rag.index import Library


def verify(library: Library) -> list[str]:
    """Check the file, the keyword index, and every chunk against the text it claims; returns the faults.

    Documents that are at fault are read again by the next sync; a file that is damaged is set aside when it is opened
    next.
    """
    with library._lock:
        try:
            faults = opening.page_faults(library._db)
            if not faults:
                faults = opening.row_faults(library._db, repair=not library.read_only)
                return faults + _content_faults(library)
        except sqlite3.OperationalError as error:  # busy, or a full disk: that says nothing of the file
            raise opening.translate(error, library.path) from error
        except (sqlite3.DatabaseError, LibraryDamaged) as error:
            faults = [str(error)]
        with suppress(RetrievalError):  # too damaged even for that: opening it finds out
            library.mark_open(True)
    return faults


def _content_faults(library: Library) -> list[str]:
    faults: list[str] = []
    bad: list[int] = []
    with library.snapshot():
        for document in library.documents():
            if found := _document_faults(library, document):
                faults += [f"{document.source}: {fault}" for fault in found]
                bad.append(document.id)
        faults += _leftovers(library)
    if bad and not library.read_only:
        library.read_again(bad)
    return faults


def _document_faults(library: Library, document: Document) -> list[str]:
    if document.status not in ("ok", "partial"):
        return []
    if document.content is None:
        return ["no text"]
    try:
        mapped = library.text(document.content)
    except (KeyError, TypeError, ValueError, zlib.error):
        return ["its text is damaged or missing"]
    return [
        f"chunk {chunk.ord} is not the text it claims"
        for chunk in library.chunks_of(document.id)
        if chunk.start >= chunk.end or chunk_sha256(chunk.heading, mapped.text[chunk.start : chunk.end]) != chunk.sha256
    ]


def _leftovers(library: Library) -> list[str]:
    faults = []
    texts = library.query(
        "SELECT count(*) FROM texts WHERE sha256 NOT IN (SELECT content FROM documents WHERE content IS NOT NULL)"
    )[0][0]
    if texts:
        faults.append(f"{texts} texts belong to no document")
    vectors = library.query(
        "SELECT count(*) FROM embeddings e LEFT JOIN models m ON m.id = e.model_id "
        "WHERE m.id IS NULL OR length(e.vec) != 2 * m.dim"
    )[0][0]
    if vectors:
        faults.append(f"{vectors} vectors are not of their model's size")
    return faults
