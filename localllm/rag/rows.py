"""The values of a library: files, documents, chunks, and the map from characters back to lines and pages."""

from __future__ import annotations

import json
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["prose", "code", "table"]
Status = Literal["ok", "partial", "pending", "skipped", "error", "ignored"]

HEADING_SEPARATOR = " › "


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading line of a document."""

    start: int
    """Character offset of the line that holds it."""
    end: int
    """Offset behind the line, its line break included: where the section's body starts."""
    level: int
    """1 is the top."""
    title: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How a document's extracted text is built, and where each part of it comes from."""

    kind: Kind = "prose"
    language: str = ""
    """Programming language for ``code``; empty elsewhere."""
    headings: tuple[Heading, ...] = ()
    pages: tuple[tuple[int, int], ...] = ()
    """(character offset, page number from 1), ascending; empty for formats without pages."""
    page_labels: tuple[str, ...] = ()
    """What the document itself calls each of `pages`; empty where all have their numbers for names."""
    lines: tuple[tuple[int, int], ...] = ((0, 1),)
    """(character offset, line number there), ascending. Line breaks after an anchor count on from it."""
    breaks: tuple[int, ...] = ()
    """Offsets where a chunk should start anew: slides, sheets, messages, cells."""

    def pack(self) -> bytes:
        """The layout as stored in the file."""
        value = {
            "kind": self.kind,
            "language": self.language,
            "headings": [[h.start, h.end, h.level, h.title] for h in self.headings],
            "pages": self.pages,
            "page_labels": self.page_labels,
            "lines": self.lines,
            "breaks": self.breaks,
        }
        return zlib.compress(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), 6)

    @classmethod
    def unpack(cls, blob: bytes) -> Layout:
        """The inverse of `pack`."""
        value = json.loads(zlib.decompress(blob))
        return cls(
            value["kind"],
            value["language"],
            tuple(Heading(*h) for h in value["headings"]),
            tuple((a, b) for a, b in value["pages"]),
            tuple(value.get("page_labels", ())),  # libraries of before have none
            tuple((a, b) for a, b in value["lines"]),
            tuple(value["breaks"]),
        )


class TextMap:
    """A document's text with the way back from a character to its line, page and headings."""

    def __init__(self, text: str, layout: Layout) -> None:
        self.text = text
        self.layout = layout

    @cached_property
    def _newlines(self) -> list[int]:
        found, at = [], self.text.find("\n")
        while at >= 0:
            found.append(at)
            at = self.text.find("\n", at + 1)
        return found

    @cached_property
    def _line_anchors(self) -> list[int]:
        return [offset for offset, _ in self.layout.lines]

    @cached_property
    def _page_anchors(self) -> list[int]:
        return [offset for offset, _ in self.layout.pages]

    def line(self, offset: int) -> int:
        """Line number, from 1, of the character at `offset`: in the file, or on its page for paged formats."""
        anchor = bisect_right(self._line_anchors, offset) - 1
        if anchor < 0:
            return 1
        start, line = self.layout.lines[anchor]
        return line + bisect_right(self._newlines, offset - 1) - bisect_right(self._newlines, start - 1)

    def page(self, offset: int) -> int | None:
        """Page number, from 1, of the character at `offset`; None for formats without pages."""
        return self.layout.pages[self._page_at(offset)][1] if self.layout.pages else None

    def page_label(self, offset: int) -> str:
        """What the document calls the page of the character at `offset`; empty where that is its number."""
        if not self.layout.page_labels:
            return ""
        at = self._page_at(offset)
        label = self.layout.page_labels[at]
        return label if label != str(self.layout.pages[at][1]) else ""

    def _page_at(self, offset: int) -> int:
        return max(0, bisect_right(self._page_anchors, offset) - 1)

    @cached_property
    def _paths(self) -> list[tuple[str, ...]]:
        """Of each heading: its titles from the outermost down to itself."""
        stack: list[Heading] = []
        paths: list[tuple[str, ...]] = []
        for heading in self.layout.headings:
            while stack and stack[-1].level >= heading.level:
                stack.pop()
            stack.append(heading)
            paths.append(tuple(h.title for h in stack))
        return paths

    @cached_property
    def _heading_anchors(self) -> list[int]:
        return [h.start for h in self.layout.headings]

    def path(self, offset: int) -> tuple[str, ...]:
        """Titles of the headings that the character at `offset` stands under, outermost first."""
        above = bisect_right(self._heading_anchors, offset)
        return self._paths[above - 1] if above else ()

    def heading(self, offset: int) -> str:
        """Heading path above `offset`, parts joined by ``›``."""
        return HEADING_SEPARATOR.join(self.path(offset))


@dataclass(frozen=True, slots=True)
class Root:
    """A folder or a single file that a library follows."""

    id: int
    path: Path
    kind: Literal["folder", "file"]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    offline: bool = False
    """The folder was missing, or empty when it was not before, at the last sync; its documents stay."""
    synced_at: float | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """One file of a library."""

    id: int
    root_id: int
    path: Path
    """Where the file lies."""
    relpath: str
    """Inside its root, with forward slashes; ends in ``/`` for an ignored folder."""
    format: str
    """Name of the reader: ``pdf``, ``markdown``, ..."""
    size: int
    mtime: float
    """Seconds since 1970."""
    title: str
    n_chars: int
    n_pages: int
    encoding: str
    """Encoding of a text file; ends in ``?`` when it was guessed."""
    status: Status
    reason: str
    """Why the status is not ``ok``, in one line."""
    content: bytes | None
    """Key of its text; None when there is none."""
    n_chunks: int = 0

    @property
    def source(self) -> str:
        """The path as the user knows it."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: ``text[start:end]`` of the document's text, exactly."""

    id: int
    """Never given to another chunk once it was used."""
    document_id: int
    ord: int
    """Its number in the document, from 0."""
    start: int
    end: int
    line: int
    line_end: int
    page: int | None
    page_end: int | None
    heading: str
    """Heading path, parts joined by ``›``."""
    n_tokens: int
    """Of the embedded text (heading and text) in the embedder's tokens; words where chunks were cut without one."""
    sha256: bytes
    """Of the embedded text: the key of its vector."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """An embedder that vectors of this library were made with."""

    id: int
    fingerprint: str
    name: str
    dim: int
    max_tokens: int


class FileRow(NamedTuple):
    """What a library knows of a file."""

    relpath: str
    id: int
    size: int
    mtime_ns: int
    """0 when the file may have changed within the resolution of its clock: it is hashed at the next look."""
    inode: int
    sha256: bytes | None
    status: Status
    reader: str
    chunker: str
    format: str
    reason: str


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of a file without reading it, and the hash of its bytes once it was read."""

    size: int
    mtime_ns: int
    inode: int
    sha256: bytes | None = None


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be stored; line, page and heading follow from the text map."""

    start: int
    end: int
    heading: str
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Extract:
    """What a reader made of a file."""

    text: str
    layout: Layout
    format: str
    title: str = ""
    encoding: str = ""
    n_pages: int = 0
    reader: str = ""
    """Name and version of the reader: another version reads the file again."""
    partial: str = ""
    """Why only a part was read; empty when all was."""


def embedded_text(heading: str, text: str) -> str:
    """What is embedded for a chunk: its heading path, then its text. File names stay out, so renames cost nothing."""
    return f"{heading}\n{text}" if heading else text


def chunk_sha256(heading: str, text: str) -> bytes:
    """The key of a chunk's vector: the hash of what is embedded."""
    return sha256(embedded_text(heading, text).encode("utf-8", "surrogatepass")).digest()
