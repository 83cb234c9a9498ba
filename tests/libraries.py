"""Small libraries made in a test, without reading files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from localllm.engine.protocol import Embedder
from localllm.rag.chunks import Chunker
from localllm.rag.index import Extract, FileFacts, Library
from localllm.rag.rows import Heading, Layout, TextMap

HANDBOOK = {
    "pump.md": "# Pump\n\n## Service\n\nReplace the seal every 400 hours of operation. Use part QX-2291.\n\n"
    "## Storage\n\nKeep the pump dry. Drain it before winter.\n",
    "holidays.txt": "The office is closed on 24 December. In summer it closes at noon on Fridays.\n",
    "bridge.md": "# The bridge\n\nThe bridge was opened in 1932 by Anna Keller. It is 503 metres long.\n",
    "code.py": "def readFile(path):\n    return open(path).read()\n",
}


def make_library(path: Path, files: Mapping[str, str], embedder: Embedder | None = None) -> Library:
    """A library of these texts; Markdown headings are headings; with an embedder it has vectors."""
    library = Library(path, create=True)
    root = library.add_root(Path("/docs"), "folder")
    chunker = Chunker(embedder)
    for i, (name, text) in enumerate(files.items()):
        headings, at = [], 0
        for line in text.splitlines(keepends=True):
            if name.endswith(".md") and line.startswith("#"):
                headings.append(Heading(at, at + len(line), len(line) - len(line.lstrip("#")), line.strip("# \n")))
            at += len(line)
        layout = Layout(headings=tuple(headings))
        format = {"md": "markdown", "txt": "text", "py": "code"}[name.rsplit(".", 1)[1]]
        extract = Extract(text, layout, format, headings[0].title if headings else "")
        library.store(
            root.id,
            name,
            FileFacts(len(text), (i + 1) * 10**9, i),
            extract,
            chunker.cut(TextMap(text, layout)),
            chunker.name,
        )
    if embedder is not None:
        model = library.model(embedder.fingerprint, name="fake", dim=embedder.dim, max_tokens=embedder.max_tokens)
        missing = library.missing_vectors(model.id, 10_000)[0]
        rows = embedder.embed([text for _, text in missing]).astype("<f2")
        library.put_vectors(model.id, [(key, row.tobytes()) for (key, _), row in zip(missing, rows, strict=True)])
        library.activate(model.id)
    return library
