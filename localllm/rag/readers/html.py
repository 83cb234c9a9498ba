"""HTML: the visible text by blocks, with headings; scripts and styles are dropped and nothing is ever loaded."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from localllm.rag.readers.builder import TextBuilder
from localllm.rag.readers.text import decoded
from localllm.rag.rows import Extract

_HIDDEN = {"script", "style", "noscript", "template", "svg", "head", "iframe", "object"}
_BLOCKS = {
    "p", "div", "section", "article", "main", "aside", "header", "footer", "nav", "ul", "ol", "li", "dl", "dt", "dd",
    "table", "tr", "caption", "blockquote", "pre", "figure", "figcaption", "form", "fieldset", "address", "hr", "br",
    "h1", "h2", "h3", "h4", "h5", "h6", "body", "html", "thead", "tbody", "summary", "details",
}  # fmt: skip
_HEAD = {"head", "title", "base", "link", "meta", "script", "style", "noscript", "template"}
"""What a head may hold; anything else ends it, also where its end tag is left out, as HTML allows."""
_VOID = {"br", "hr", "img", "input", "meta", "link", "area", "base", "col", "embed", "source", "track", "wbr"}


def read(path: Path) -> Extract:
    """The visible text."""
    source, encoding, _ = decoded(path.read_bytes())
    builder = TextBuilder()
    title = add_html(builder, source, lines=True)
    return builder.extract("html", title=title, encoding=encoding)


def add_html(builder: TextBuilder, source: str, *, lines: bool = False) -> str:
    """Append the visible text of a page; returns its title.

    Args:
        builder: Takes the text.
        source: HTML of any quality.
        lines: Note the source line of every block.
    """
    parser = _Blocks(builder, lines)
    parser.feed(source)
    parser.close()
    parser.flush()
    return parser.title


class _Blocks(HTMLParser):
    def __init__(self, builder: TextBuilder, lines: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._builder, self._note_lines = builder, lines
        self._hidden: list[str] = []
        self._in_title = self._titled = False
        self._level = 0
        self._pre = 0
        self._parts: list[str] = []
        self._line = 1

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title" and "svg" not in self._hidden
        if tag not in _HEAD:
            self._end_head()
        if tag in _HIDDEN and tag not in _VOID:
            self._hidden.append(tag)
        if tag in _BLOCKS:
            self.flush()
            self._line = self.getpos()[0]
            if tag == "pre":
                self._pre += 1
            if len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
                self._level = int(tag[1])
        elif tag in ("td", "th") and self._parts:
            self._parts.append("\t")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title" and self._in_title:
            self._in_title, self._titled = False, bool(self.title)
        if tag in self._hidden:
            del self._hidden[self._hidden.index(tag) :]
        if tag in _BLOCKS:
            self.flush()
            if tag == "pre":
                self._pre = max(0, self._pre - 1)
            self._level = 0

    def handle_data(self, data: str) -> None:
        if self._in_title:
            if not self._titled:
                self.title = (self.title + " ".join(data.split()))[:200]
            return
        if data.strip():
            self._end_head()
        if not self._hidden:
            if not self._parts:
                leading = len(data) - len(data.lstrip())
                self._line = self.getpos()[0] + data.count("\n", 0, leading)
            self._parts.append(data)

    def _end_head(self) -> None:
        if set(self._hidden) == {"head"}:
            self._hidden.clear()

    def flush(self) -> None:
        """The block is complete."""
        text = "".join(self._parts)
        self._parts = []
        if not self._pre:
            text = "\t".join(" ".join(cell.split()) for cell in text.replace("\t", "\0").split("\0"))
            text = " ".join(text.split(" "))
        if text.strip():
            if self._note_lines:
                self._builder.line(self._line)
            self._builder.paragraph(text, level=self._level)
