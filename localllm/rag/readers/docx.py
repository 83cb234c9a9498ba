"""Word documents: paragraphs and tables in order, with the headings of their styles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from localllm.rag.readers.archive import Archive, attribute, local
from localllm.rag.readers.builder import TextBuilder
from localllm.rag.readers.limits import Unreadable
from localllm.rag.rows import Extract

_HEADING = re.compile(r"heading ?(\d)", re.IGNORECASE)


def read(path: Path) -> Extract:
    """The body's text."""
    with Archive(path) as archive:
        root = archive.xml("word/document.xml")
        if root is None:
            raise Unreadable("damaged: it holds no document", skipped=False)
        levels = _heading_levels(archive.xml("word/styles.xml"))
        title = core_title(archive)
    builder = TextBuilder()
    body = next((e for e in root if local(e.tag) == "body"), root)
    for element in body:
        _add(builder, element, levels)
    return builder.extract("docx", title=title)


def core_title(archive: Archive) -> str:
    """The title in an office document's properties."""
    core = archive.xml("docProps/core.xml")
    found = next((e.text for e in core if local(e.tag) == "title"), None) if core is not None else None
    return (found or "").strip()[:200]


def _heading_levels(styles: Any) -> dict[str, int]:
    levels: dict[str, int] = {}
    for style in styles if styles is not None else ():
        if local(style.tag) != "style":
            continue
        name = next((attribute(e, "val") for e in style if local(e.tag) == "name"), "")
        if match := _HEADING.match(name):
            levels[attribute(style, "styleId")] = int(match[1])
        elif name.lower() == "title":
            levels[attribute(style, "styleId")] = 1
    return levels


def _add(builder: TextBuilder, element: Any, levels: dict[str, int]) -> None:
    name = local(element.tag)
    if name == "p":
        style = next((attribute(e, "val") for e in element.iter() if local(e.tag) == "pStyle"), "")
        match = _HEADING.match(style)
        builder.paragraph(_text(element), level=levels.get(style, int(match[1]) if match else 0))
    elif name == "tbl":
        for row in (e for e in element if local(e.tag) == "tr"):
            cells = [" ".join(_text(c).split()) for c in row if local(c.tag) == "tc"]
            builder.paragraph("\t".join(cells))
    elif name in ("sdt", "sdtContent", "ins", "smartTag", "customXml"):
        for child in element:
            _add(builder, child, levels)


def _text(element: Any) -> str:
    """Text of runs; deleted text, field codes and the fallback copies of drawings are left out."""
    parts: list[str] = []

    def walk(node: Any) -> None:
        name = local(node.tag)
        if name == "t":
            parts.append(node.text or "")
        elif name in ("tab", "ptab"):
            parts.append("\t")
        elif name in ("br", "cr"):
            parts.append("\n")
        elif name == "noBreakHyphen":
            parts.append("-")
        if name in ("del", "instrText", "Fallback", "pPr", "rPr"):
            return
        for child in node:
            walk(child)
            if name == "tc" and local(child.tag) == "p":
                parts.append(" ")

    walk(element)
    return "".join(parts)
