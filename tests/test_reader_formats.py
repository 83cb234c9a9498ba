"""Every format gives its text, and the way back to heading, page and line; every chunk is the text it claims."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.rag.chunks import Chunker
from localllm.rag.index import Extract
from localllm.rag.reader_process import ReaderProcess
from localllm.rag.readers import FORMATS, format_of, read
from localllm.rag.rows import TextMap, embedded_text
from tests import documents
from tests.fakes import FakeEmbedder

# name: (heading above the sentence, page, line in the file or on the page)
EXPECTED: dict[str, tuple[str, int | None, int]] = {
    "plain.txt": ("", None, 3),
    "guide.md": ("Pump › Service", None, 7),
    "page.html": ("Service", None, 4),
    "rows.csv": ("", None, 2),
    "data.json": ("", None, 2),
    "lines.jsonl": ("", None, 2),
    "letter.eml": ("Service", None, 6),
    "box.mbox": ("Service", None, 7),
    "code.py": ("def service", None, 5),
    "manual.docx": ("Service", None, 2),
    "slides.pptx": ("Service", 2, 2),
    "table.xlsx": ("Service", None, 7),
    "manual.odt": ("Service", None, 2),
    "book.epub": ("Service", None, 2),
    "manual.pdf": ("", 2, 1),
    "notes.ipynb": ("Service", None, 2),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents")
    made = documents.make_all(path)
    assert {p.name for p in made} == set(EXPECTED)
    return path


@pytest.fixture(scope="module")
def reader() -> Iterator[ReaderProcess]:
    with ReaderProcess() as process:
        yield process


def extract_of(folder: Path, name: str) -> Extract:
    format = format_of(name)
    assert format is not None
    return read(folder / name, format)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_sentence_is_found_at_its_place(folder: Path, name: str) -> None:
    extract = extract_of(folder, name)
    mapped = TextMap(extract.text, extract.layout)
    at = extract.text.find(documents.SENTENCE)
    assert at >= 0, extract.text
    heading, page, line = EXPECTED[name]
    assert mapped.heading(at) == heading
    assert mapped.page(at) == page
    assert mapped.line(at) == line


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("tokens", [True, False])
def test_every_chunk_is_the_text_it_claims(folder: Path, name: str, tokens: bool) -> None:
    extract = extract_of(folder, name)
    embedder = FakeEmbedder() if tokens else None
    mapped = TextMap(extract.text, extract.layout)
    chunks = Chunker(embedder).cut(mapped)
    assert chunks
    assert any(documents.SENTENCE in extract.text[c.start : c.end] for c in chunks)
    for chunk in chunks:
        piece = extract.text[chunk.start : chunk.end]
        assert piece
        assert piece == piece.strip()
        if embedder is not None:
            assert len(embedder.token_spans(embedded_text(chunk.heading, piece))) + 2 <= embedder.max_tokens


def test_the_reader_process_gives_what_the_reader_gives(folder: Path, reader: ReaderProcess) -> None:
    for name in EXPECTED:
        format = format_of(name)
        assert format is not None
        assert reader.read(folder / name, format) == read(folder / name, format)


def test_every_reader_named_by_a_suffix_exists_and_is_tried_here() -> None:
    assert {format_of(name) for name in EXPECTED} == set(FORMATS.values())


def test_the_second_message_of_a_mailbox_has_its_own_line_and_chunk(folder: Path) -> None:
    extract = extract_of(folder, "box.mbox")
    second = extract.text.rfind("Service\n")
    assert TextMap(extract.text, extract.layout).line(second) == 10
    assert second in extract.layout.breaks


def test_hidden_parts_do_not_become_text(folder: Path) -> None:
    assert "hidden" not in extract_of(folder, "page.html").text
    assert "belt" not in extract_of(folder, "manual.docx").text
    assert "part\tQX-2291" in extract_of(folder, "manual.docx").text


def test_a_spreadsheet_keeps_its_columns(folder: Path) -> None:
    assert "interval\t\t400" in extract_of(folder, "table.xlsx").text


def test_slides_come_in_the_order_they_are_shown(folder: Path) -> None:
    extract = extract_of(folder, "slides.pptx")
    assert extract.text.index("Cover") < extract.text.index("Service")
    assert extract.n_pages == 2


def test_titles_come_from_the_documents_themselves(folder: Path) -> None:
    for name in ("page.html", "manual.docx", "book.epub"):
        assert extract_of(folder, name).title == "Pump manual"
