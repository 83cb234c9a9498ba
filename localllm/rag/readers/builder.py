"""TextBuilder: text put together from pieces, while headings, pages, lines and breaks are noted."""

from __future__ import annotations

from localllm.rag.readers.limits import LIMITS
from localllm.rag.rows import Extract, Heading, Kind, Layout


class TextBuilder:
    """Collects the text of a document whose file is not plain text."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._headings: list[Heading] = []
        self._pages: list[tuple[int, int]] = []
        self._page_labels: list[str] = []
        self._lines: list[tuple[int, int]] = []
        self._breaks: list[int] = []

    @property
    def full(self) -> bool:
        """No more text is taken."""
        return self._length >= LIMITS.text_chars

    def add(self, text: str) -> None:
        """Append text as it is."""
        text = text[: LIMITS.text_chars - self._length]
        if text:
            self._parts.append(text)
            self._length += len(text)

    def paragraph(self, text: str, *, level: int = 0) -> None:
        """Append a paragraph, or a heading of this level, and the line break behind it."""
        text = text.strip()
        if not text or self.full:
            return
        start = self._length
        self.add(text + "\n")
        if level:
            title = " ".join(text.split())
            self._headings.append(Heading(start, self._length, level, title[:200]))

    def page(self, number: int, label: str = "") -> None:
        """What follows is on this page, which the document may call otherwise; lines count anew."""
        self._pages.append((self._length, number))
        self._page_labels.append(label or str(number))
        self._lines.append((self._length, 1))
        self._breaks.append(self._length)

    def line(self, number: int) -> None:
        """What follows stands on this line of the file."""
        if self._lines and self._lines[-1][0] == self._length:
            self._lines[-1] = (self._length, number)
        else:
            self._lines.append((self._length, number))

    def chapter(self) -> None:
        """What follows begins a new chunk."""
        self._breaks.append(self._length)

    def extract(
        self, format: str, *, kind: Kind = "prose", title: str = "", n_pages: int = 0, encoding: str = ""
    ) -> Extract:
        """The document."""
        lines = tuple(self._lines)
        if not lines or lines[0][0] > 0:
            lines = ((0, 1), *lines)
        named = any(label != str(number) for label, (_, number) in zip(self._page_labels, self._pages, strict=True))
        layout = Layout(
            kind, "", tuple(self._headings), tuple(self._pages), tuple(self._page_labels) if named else (), lines,
            tuple(sorted(set(self._breaks))),
        )  # fmt: skip
        partial = f"only the first {LIMITS.text_chars:,} characters were read" if self.full else ""
        return Extract("".join(self._parts), layout, format, title, encoding, n_pages, "", partial)
