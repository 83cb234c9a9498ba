"""Books: the chapters of an EPUB in reading order, each beginning a chunk."""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import unquote

from localllm.rag.readers.archive import Archive, attribute, local
from localllm.rag.readers.builder import TextBuilder
from localllm.rag.readers.html import add_html
from localllm.rag.readers.limits import Unreadable
from localllm.rag.readers.text import decoded
from localllm.rag.rows import Extract


def read(path: Path) -> Extract:
    """The text of the spine."""
    builder = TextBuilder()
    with Archive(path) as archive:
        if "META-INF/encryption.xml" in archive.names and "META-INF/rights.xml" in archive.names:
            raise Unreadable("protected against copying")
        container = archive.xml("META-INF/container.xml")
        places = [e for e in container.iter() if local(e.tag) == "rootfile"] if container is not None else []
        package = attribute(places[0], "full-path") if places else ""
        root = archive.xml(package) if package else None
        if root is None:
            raise Unreadable("damaged: it holds no book", skipped=False)
        folder = posixpath.dirname(package)
        items = {attribute(e, "id"): attribute(e, "href") for e in root.iter() if local(e.tag) == "item"}
        title = next((e.text or "" for e in root.iter() if local(e.tag) == "title"), "")
        for reference in (e for e in root.iter() if local(e.tag) == "itemref"):
            href = items.get(attribute(reference, "idref"), "")
            if href and not builder.full:
                data = archive.read(posixpath.normpath(posixpath.join(folder, unquote(href.split("#")[0]))))
                builder.chapter()
                add_html(builder, decoded(data)[0])
    return builder.extract("epub", title=title.strip()[:200])
