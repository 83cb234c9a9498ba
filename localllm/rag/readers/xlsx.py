"""Spreadsheets: each sheet's rows as lines of tab-separated values; a sheet is a heading and begins a chunk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from localllm.rag.readers.archive import Archive, attribute, local
from localllm.rag.readers.builder import TextBuilder
from localllm.rag.readers.docx import core_title
from localllm.rag.readers.limits import Unreadable
from localllm.rag.readers.pptx import relations
from localllm.rag.rows import Extract


def read(path: Path) -> Extract:
    """The values of all sheets; formulas give the values that were stored with them."""
    builder = TextBuilder()
    with Archive(path) as archive:
        workbook = archive.xml("xl/workbook.xml")
        if workbook is None:
            raise Unreadable("damaged: it holds no workbook", skipped=False)
        strings = _strings(archive.xml("xl/sharedStrings.xml"))
        related = relations(archive, "xl/workbook.xml")
        for sheet in (e for e in workbook.iter() if local(e.tag) == "sheet"):
            target = next((related.get(str(v), "") for k, v in sheet.attrib.items() if k.endswith("}id")), "")
            root = archive.xml(target) if target else None
            if root is None:
                continue
            builder.chapter()
            builder.paragraph(attribute(sheet, "name"), level=1)
            for row in (e for e in root.iter() if local(e.tag) == "row"):
                number = attribute(row, "r")
                builder.line(int(number) if number.isdigit() else 1)
                builder.paragraph(_row(row, strings))
        title = core_title(archive)
    return builder.extract("xlsx", kind="table", title=title)


def _strings(root: Any) -> list[str]:
    if root is None:
        return []
    return [
        "".join(e.text or "" for e in item.iter() if local(e.tag) == "t") for item in root if local(item.tag) == "si"
    ]


def _row(row: Any, strings: list[str]) -> str:
    cells: list[str] = []
    for cell in (e for e in row if local(e.tag) == "c"):
        column = _column(attribute(cell, "r"))
        if column is not None and column < 1000:
            cells += [""] * (column - len(cells))
        kind = attribute(cell, "t")
        if kind == "inlineStr":
            value = "".join(e.text or "" for e in cell.iter() if local(e.tag) == "t")
        else:
            value = next((e.text or "" for e in cell if local(e.tag) == "v"), "")
            if kind == "s" and value.isdigit() and int(value) < len(strings):
                value = strings[int(value)]
            elif kind == "b":
                value = "TRUE" if value == "1" else "FALSE"
        cells.append(" ".join(value.split()))
    return "\t".join(cells).rstrip("\t")


def _column(reference: str) -> int | None:
    """``C7`` is column 2."""
    match = re.match(r"[A-Z]+", reference)
    if not match:
        return None
    number = 0
    for letter in match[0]:
        number = number * 26 + ord(letter) - 64
    return number - 1
