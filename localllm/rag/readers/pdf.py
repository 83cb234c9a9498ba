"""PDF by pdfium: text page by page; pages without a text layer are said, not passed over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from localllm.rag.readers.builder import TextBuilder
from localllm.rag.readers.limits import LIMITS, Unreadable
from localllm.rag.rows import Extract

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

_SCANNED_CHARS = 20
"""A page with fewer characters is taken for a picture."""
_LABEL_CHARS = 20
"""Of a page's label; longer ones are no names."""


def read(path: Path) -> Extract:
    """The text of every page.

    Raises:
        Unreadable: It needs a password, has no text layer, or is damaged.
    """
    import pypdfium2
    from pypdfium2 import PdfiumError

    try:
        document = pypdfium2.PdfDocument(path)
    except PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("protected by a password") from error
        raise Unreadable(f"damaged: {error}", skipped=False) from error
    builder, empty, failed = TextBuilder(), 0, 0
    n_pages = len(document)
    try:
        for number in range(1, min(n_pages, LIMITS.pages) + 1):
            if builder.full:
                break
            builder.page(number, _label(document, number - 1))
            try:
                page = document[number - 1]
                text = page.get_textpage().get_text_range().replace("\r\n", "\n").replace("\x02", "-\n")
                page.close()
            except PdfiumError:
                failed += 1
                continue
            empty += len(text.strip()) < _SCANNED_CHARS
            builder.add(text.rstrip() + "\n\n")
        title = document.get_metadata_value("Title").strip() if n_pages else ""
    finally:
        document.close()
    if n_pages and empty + failed == n_pages:
        raise Unreadable("no text layer: the pages are pictures (text recognition is needed)")
    extract = builder.extract("pdf", title=title[:200], n_pages=n_pages)
    notes = [extract.partial] if extract.partial else []
    if empty > n_pages // 2:
        notes.append(f"{empty} of {n_pages} pages are pictures without text")
    if failed:
        notes.append(f"{failed} of {n_pages} pages could not be read")
    if n_pages > LIMITS.pages:
        notes.append(f"only the first {LIMITS.pages:,} of {n_pages:,} pages were read")
    from dataclasses import replace

    return replace(extract, partial="; ".join(notes))


def _label(document: PdfDocument, index: int) -> str:
    """What the document calls a page; empty where it has no name that fits a line."""
    label = "".join(c for c in document.get_page_label(index) if c.isprintable()).strip()
    return label if len(label) <= _LABEL_CHARS else ""
