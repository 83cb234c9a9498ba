"""readers: one file per format, each gives the text of a document and the way back to its pages and lines.

A reader is a function ``read(path) -> Extract``. Readers run in a limited process (`localllm.rag.reader_process`) and
may raise `Unreadable` with a reason for the user; whatever else they raise becomes the reason of an error.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from localllm.rag.readers.limits import LIMITS, Unreadable
from localllm.rag.rows import Extract, Heading

_VERSIONS = {"html": 2, "epub": 2, "mail": 2, "notebook": 2, "pdf": 2}
"""Of those that are not 1. Raised when a reader gives other text or more facts, so that documents are read again."""

_BY_SUFFIX = {
    "text": ".txt .text .log .rst .adoc .asciidoc .org .tex .srt .vtt",
    "markdown": ".md .markdown .mdown .mkd .mdx",
    "html": ".html .htm .xhtml",
    "pdf": ".pdf",
    "docx": ".docx .docm .dotx",
    "pptx": ".pptx .pptm .ppsx",
    "xlsx": ".xlsx .xlsm",
    "odt": ".odt .odp .ott",
    "epub": ".epub",
    "table": ".csv .tsv .jsonl .ndjson",
    "mail": ".eml .mbox",
    "notebook": ".ipynb",
    "code": (
        ".py .pyi .js .mjs .cjs .ts .tsx .jsx .java .kt .kts .scala .go .rs .c .h .cc .cpp .cxx .hpp .hh .cs .swift .m "
        ".rb .php .pl .pm .lua .r .jl .dart .sh .bash .zsh .fish .ps1 .sql .vue .svelte .ex .exs .erl .hs .ml .clj .el "
        ".json .json5 .yaml .yml .toml .ini .cfg .conf .xml .css .scss .less .proto .graphql .tf .gradle .cmake .nix"
    ),
}
FORMATS = {suffix: name for name, suffixes in _BY_SUFFIX.items() for suffix in suffixes.split()}
"""Reader of each suffix."""
_BY_NAME = {"readme": "text", "license": "text", "changelog": "text", "makefile": "code", "dockerfile": "code"}


def format_of(name: str) -> str | None:
    """The reader for a file by its name; None when there is none."""
    stem, dot, suffix = name.lower().rpartition(".")
    return FORMATS.get(dot + suffix) if stem else _BY_NAME.get(suffix)


def reader_name(format: str) -> str:
    """Names a reader with its version: stored with each document."""
    return f"{format}-{_VERSIONS.get(format, 1)}"


def read(path: Path, format: str) -> Extract:
    """Read a file with the reader `format`.

    Raises:
        Unreadable: With a reason for the user.
    """
    if path.stat().st_size > LIMITS.file_bytes:
        size = path.stat().st_size / 1e6
        raise Unreadable(f"larger than {LIMITS.file_bytes / 1e6:,.0f} MB ({size:,.0f} MB)")
    extract = import_module(f"localllm.rag.readers.{format}").read(path)
    assert isinstance(extract, Extract)
    return _without_surrogates(extract)


def _without_surrogates(extract: Extract) -> Extract:
    """Halves of characters, as JSON and mail headers may hold, become question marks: no file or database takes them.

    One character stays one, so that offsets stay true.
    """
    layout = extract.layout
    try:
        for text in (extract.text, extract.title, *(h.title for h in layout.headings)):
            text.encode()
    except UnicodeEncodeError:
        headings = tuple(Heading(h.start, h.end, h.level, _sound(h.title)) for h in layout.headings)
        layout = replace(layout, headings=headings)
        return replace(extract, text=_sound(extract.text), title=_sound(extract.title), layout=layout)
    return extract


def _sound(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
