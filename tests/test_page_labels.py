"""What a PDF itself calls its pages (iv, A-3) is kept, and shown beside the number that viewers count."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.cli.main import main
from localllm.events import Passage, place_of
from localllm.models import shelf
from localllm.rag.grounding import check
from localllm.rag.prompting import passage_block
from localllm.rag.readers import read
from localllm.rag.rows import Layout, TextMap
from tests import documents

PAGES = ("The cover of the manual.", documents.SENTENCE, "The first chapter begins.")
ROMAN_THEN_ARABIC = b"0 << /S /r >> 2 << /S /D >>"
PASSAGE = Passage(1, "pump.pdf", "Pump", "", 2, 1, 0, len(documents.SENTENCE), 0.5, documents.SENTENCE, "ii")


def labels_of(folder: Path, labels: bytes) -> list[str]:
    extract = read(documents.pdf(folder / "a.pdf", PAGES, labels=labels), "pdf")
    mapped = TextMap(extract.text, extract.layout)
    return [mapped.page_label(extract.text.index(page)) for page in PAGES]


def test_each_page_has_the_label_of_its_range(tmp_path: Path) -> None:
    assert labels_of(tmp_path, ROMAN_THEN_ARABIC) == ["i", "ii", "1"]


@pytest.mark.parametrize("labels", [b"", b"0 << /S /D >>"])
def test_pages_whose_names_are_their_numbers_have_no_labels(labels: bytes, tmp_path: Path) -> None:
    extract = read(documents.pdf(tmp_path / "a.pdf", PAGES, labels=labels), "pdf")
    assert extract.layout.page_labels == ()
    assert labels_of(tmp_path, labels) == ["", "", ""]


def test_a_page_that_is_called_by_its_own_number_needs_no_label(tmp_path: Path) -> None:
    assert labels_of(tmp_path, b"0 << /P (Cover) >> 1 << /S /D /St 2 >>") == ["Cover", "", ""]


def test_a_label_commands_no_terminal_and_fills_no_line(tmp_path: Path) -> None:
    bell_and_backwards = b"<FEFF 0041 0007 202E 002D 0031>"
    labels = b"0 << /P %s >> 1 << /P (%s) >>" % (bell_and_backwards, b"x" * 5000)
    assert labels_of(tmp_path, labels) == ["A-1", "", ""]


def test_a_layout_comes_back_from_the_file_with_its_labels() -> None:
    layout = Layout(pages=((0, 1), (10, 2)), page_labels=("i", "ii"))
    assert Layout.unpack(layout.pack()) == layout


def test_a_layout_stored_without_labels_is_read() -> None:
    value = json.loads(zlib.decompress(Layout(pages=((0, 1),)).pack()))
    del value["page_labels"]
    assert Layout.unpack(zlib.compress(json.dumps(value).encode())) == Layout(pages=((0, 1),))


def test_a_place_is_told_by_label_and_number() -> None:
    assert place_of(PASSAGE) == "page ii (2)"
    assert place_of(replace(PASSAGE, page_label="")) == "page 2"
    assert place_of(replace(PASSAGE, page_label="", page=None, line=9)) == "line 9"


def test_a_citation_and_the_model_know_the_label() -> None:
    (citation,) = check(f"{documents.SENTENCE.rstrip('.')} [1].", (PASSAGE,)).citations
    assert place_of(citation) == "page ii (2)"
    assert "[1] Pump › p. ii" in passage_block([PASSAGE])


def test_a_search_on_the_command_line_shows_the_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(shelf, "find_embedder", lambda *_: None)
    manual = documents.pdf(tmp_path / "manual.pdf", PAGES, labels=ROMAN_THEN_ARABIC)
    assert main(args=["docs", "add", str(manual)]) == 0
    capsys.readouterr()
    assert main(args=["docs", "search", '"' + documents.SENTENCE.split(".")[0] + '"']) == 0
    assert "page ii (2)" in capsys.readouterr().out
