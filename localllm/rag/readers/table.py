"""Rows of text: CSV, TSV and JSON lines, as they are in the file, cut between rows only."""

from __future__ import annotations

from pathlib import Path

from localllm.rag.readers.text import decoded
from localllm.rag.rows import Extract, Layout


def read(path: Path) -> Extract:
    """The file as it is."""
    text, encoding, partial = decoded(path.read_bytes())
    return Extract(text, Layout(kind="table"), "table", "", encoding, 0, "", partial)
