"""OpenDocument texts and slides: paragraphs, headings and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from localllm.rag.readers.archive import Archive, attribute, local
from localllm.rag.readers.builder import TextBuilder
from localllm.rag.readers.limits import Unreadable
from localllm.rag.rows import Extract


def read(path: Path) -> Extract:
    """The body's text; pages of a slide show are pages here."""
    with Archive(path) as archive:
        root = archive.xml("content.xml")
        if root is None:
            raise Unreadable("damaged: it holds no content", skipped=False)
        meta = archive.xml("meta.xml")
    builder = TextBuilder()
    body = next((e for e in root.iter() if local(e.tag) == "body"), root)
    pages = _add(builder, body, 0)
    title = next((e.text or "" for e in meta.iter() if local(e.tag) == "title"), "") if meta is not None else ""
    return builder.extract("odt", title=title.strip()[:200], n_pages=pages)


def _add(builder: TextBuilder, element: Any, pages: int) -> int:
    for child in element:
        name = local(child.tag)
        if name == "page":
            pages += 1
            builder.page(pages)
            _add(builder, child, pages)
        elif name == "h":
            level = attribute(child, "outline-level")
            builder.paragraph(_text(child), level=int(level) if level.isdigit() else 1)
        elif name == "p":
            builder.paragraph(_text(child))
        elif name == "table-row":
            cells = [" ".join(_text(c).split()) for c in child if local(c.tag) == "table-cell"]
            builder.paragraph("\t".join(cells))
        elif name not in ("tracked-changes", "forms", "sequence-decls"):
            pages = _add(builder, child, pages)
    return pages


def _text(element: Any) -> str:
    parts = [element.text or ""]
    for child in element:
        name = local(child.tag)
        if name == "s":
            count = attribute(child, "c")
            parts.append(" " * (int(count) if count.isdigit() and len(count) < 5 else 1))
        elif name == "tab":
            parts.append("\t")
        elif name == "line-break":
            parts.append("\n")
        elif name not in ("annotation", "note"):
            parts.append(_text(child))
            if name == "p":
                parts.append(" ")
        parts.append(child.tail or "")
    return "".join(parts)
