"""Slides: the text of each slide in order; a slide is a page, its title a heading, its notes stand behind it."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from localllm.rag.readers.archive import Archive, attribute, local
from localllm.rag.readers.builder import TextBuilder
from localllm.rag.readers.docx import core_title
from localllm.rag.readers.limits import Unreadable
from localllm.rag.rows import Extract


def read(path: Path) -> Extract:
    """The text of all slides."""
    builder = TextBuilder()
    with Archive(path) as archive:
        slides = _slides(archive)
        if not slides:
            raise Unreadable("it holds no slides")
        for number, name in enumerate(slides, 1):
            builder.page(number)
            for is_title, paragraph in _paragraphs(archive.xml(name)):
                builder.paragraph(paragraph, level=1 if is_title else 0)
            for target in relations(archive, name).values():
                if "notesSlide" in target:
                    for _, paragraph in _paragraphs(archive.xml(target)):
                        if not paragraph.isdigit():  # the page number stands in a field of its own
                            builder.paragraph(paragraph)
        title = core_title(archive)
    return builder.extract("pptx", title=title, n_pages=len(slides))


def relations(archive: Archive, part: str) -> dict[str, str]:
    """The parts that a part of an office document refers to, by relation id; outside links are left out."""
    folder, name = posixpath.split(part)
    root = archive.xml(f"{folder}/_rels/{name}.rels")
    found: dict[str, str] = {}
    for relation in root if root is not None else ():
        if attribute(relation, "TargetMode") != "External":
            target = attribute(relation, "Target")
            absolute = (
                target.lstrip("/") if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
            )
            found[attribute(relation, "Id")] = absolute
    return found


def _slides(archive: Archive) -> list[str]:
    presentation, related = archive.xml("ppt/presentation.xml"), relations(archive, "ppt/presentation.xml")
    order = [e for e in presentation.iter() if local(e.tag) == "sldId"] if presentation is not None else []
    found = [related.get(_relation_id(e), "") for e in order]
    if any(found):
        return [name for name in found if name]
    names = [n for n in archive.names if re.fullmatch(r"ppt/slides/slide\d+\.xml", n)]
    return sorted(names, key=lambda n: int(re.sub(r"\D", "", n)))


def _relation_id(element: Any) -> str:
    return next((str(v) for k, v in element.attrib.items() if k.endswith("}id")), "")


def _paragraphs(root: Any) -> list[tuple[bool, str]]:
    """(is it the title, text) of every paragraph of a slide."""
    found: list[tuple[bool, str]] = []
    for shape in root.iter() if root is not None else ():
        if local(shape.tag) not in ("sp", "graphicFrame"):
            continue
        kind = next((attribute(e, "type") for e in shape.iter() if local(e.tag) == "ph"), "")
        for paragraph in (e for e in shape.iter() if local(e.tag) == "p"):
            parts = [
                "\n" if local(e.tag) == "br" else e.text or "" for e in paragraph.iter() if local(e.tag) in ("t", "br")
            ]
            if text := "".join(parts).strip():
                found.append((kind in ("title", "ctrTitle"), text))
    return found
