"""Markdown: the text is the source itself, so that citations open at the very line; headings are noted."""

from __future__ import annotations

import re
from pathlib import Path

from localllm.rag.readers.text import decoded
from localllm.rag.rows import Extract, Heading, Layout

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_SETEXT = re.compile(r"^ {0,3}(=+|-+)[ \t]*$")
_FRONT_TITLE = re.compile(r"^title:[ \t]*[\"']?(.*?)[\"']?[ \t]*$", re.MULTILINE)


def read(path: Path) -> Extract:
    """The file as it is, with its headings."""
    text, encoding, partial = decoded(path.read_bytes())
    headings = tuple(headings_of(text))
    title = _front_title(text) or next((h.title for h in headings if h.level == 1), "")
    return Extract(text, Layout(headings=headings), "markdown", title, encoding, 0, "", partial)


def headings_of(text: str, base: int = 0) -> list[Heading]:
    """Headings outside code fences; offsets are shifted by `base`."""
    found: list[Heading] = []
    fence, offset, previous = "", 0, ("", 0)
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        start, offset = offset, offset + len(line)
        if mark := _FENCE.match(bare):
            if not fence:
                fence = mark[1]
            elif bare.lstrip().startswith(fence):
                fence = ""
            previous = ("", 0)
            continue
        if fence:
            continue
        if heading := _ATX.match(bare):
            found.append(Heading(base + start, base + offset, len(heading[1]), _plain(heading[2])))
        elif (
            (under := _SETEXT.match(bare))
            and previous[0].strip()
            and not previous[0].lstrip().startswith((">", "-", "*"))
        ):
            level = 1 if under[1][0] == "=" else 2
            found.append(Heading(base + previous[1], base + offset, level, _plain(previous[0])))
        previous = (bare, start)
    return [h for h in found if h.title]


def _plain(title: str) -> str:
    title = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[*_`]+", "", title).strip()[:200]


def _front_title(text: str) -> str:
    if not text.startswith("---\n"):
        return ""
    end = text.find("\n---", 4)
    match = _FRONT_TITLE.search(text, 4, end) if end > 0 else None
    return match[1] if match else ""
