"""Files that are broken, protected or meant to harm cost one reason and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.rag.reader_process import ReaderProcess
from localllm.rag.readers import format_of, read
from localllm.rag.readers.limits import LIMITS, Unreadable
from localllm.rag.readers.text import decoded
from tests import documents


def refused(path: Path, format: str) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read(path, format)
    return caught.value


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    error = refused(documents.zip_bomb(tmp_path / "a.docx"), "docx")
    assert "times its size" in str(error)


def test_a_zip_bomb_whose_directory_lies_is_stopped_while_it_unpacks(tmp_path: Path) -> None:
    path = documents.lying_zip_bomb(tmp_path / "a.docx")
    with ReaderProcess() as reader, pytest.raises(Unreadable, match=r"damaged|unpacks"):
        reader.read(path, "docx")


def test_entities_that_expand_are_refused(tmp_path: Path) -> None:
    assert "entities" in str(refused(documents.entity_bomb(tmp_path / "a.docx"), "docx"))


def test_an_archive_of_very_many_members_is_refused(tmp_path: Path) -> None:
    path = documents.archive(tmp_path / "a.epub", {f"m{i}": b"" for i in range(10_001)})
    assert "10,001 members" in str(refused(path, "epub"))


def test_a_pdf_with_a_password_is_skipped_and_says_so(tmp_path: Path) -> None:
    error = refused(documents.pdf(tmp_path / "a.pdf", password=b"secret"), "pdf")
    assert "password" in str(error)
    assert error.skipped


def test_a_pdf_without_a_text_layer_says_what_is_needed(tmp_path: Path) -> None:
    error = refused(documents.pdf(tmp_path / "a.pdf", pages=("", "")), "pdf")
    assert "text recognition" in str(error)


def test_a_pdf_of_which_most_pages_are_pictures_is_partial(tmp_path: Path) -> None:
    extract = read(documents.pdf(tmp_path / "a.pdf", pages=("", "", documents.SENTENCE)), "pdf")
    assert extract.partial == "2 of 3 pages are pictures without text"


@pytest.mark.parametrize("format", ["pdf", "docx", "pptx", "xlsx", "odt", "epub", "notebook"])
def test_noise_is_damaged_or_skipped_in_every_format(tmp_path: Path, format: str) -> None:
    path = tmp_path / "noise"
    path.write_bytes(bytes(range(256)) * 40)
    assert str(refused(path, format))


@pytest.mark.parametrize("format", ["docx", "pptx", "xlsx", "odt", "epub"])
def test_an_archive_without_the_document_is_damaged(tmp_path: Path, format: str) -> None:
    assert str(refused(documents.archive(tmp_path / "x", {"other": b"x"}), format))


def test_an_old_word_file_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
    assert "password, or an old binary format" in str(refused(tmp_path / "a.docx", "docx"))


def test_a_binary_file_posing_as_text_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x7fELF\0\1\2\3" * 100)
    assert str(refused(tmp_path / "a.txt", "text")) == "binary, not text"


def test_minified_code_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("var a=1;" * 5000)
    assert "minified" in str(refused(tmp_path / "a.js", "code"))


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        ("naïve Größe".encode(), "utf-8", "naïve Größe"),
        (b"\xef\xbb\xbfhello", "utf-8", "hello"),
        ("hello wörld".encode("utf-16"), "utf-16-le", "hello wörld"),
        ("hello world".encode("utf-16-be"), "utf-16-be?", "hello world"),
        ("Die Größe der Tür überrascht den müden Gärtner.".encode("cp1252"), None, "Größe"),
        (b"one\r\ntwo\r\n", "utf-8", "one\r\ntwo\r\n"),
    ],
)
def test_bytes_become_the_text_they_mean(data: bytes, encoding: str | None, text: str) -> None:
    got, name, _ = decoded(data)
    assert text in got
    assert name == encoding or (encoding is None and name.endswith("?"))


fifo = pytest.mark.skipif(sys.platform == "win32", reason="needs a named pipe")


@fifo
def test_a_file_that_takes_too_long_is_given_up_and_the_next_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "slow.txt")  # opening it waits for a writer that never comes
    (tmp_path / "good.txt").write_text("hello")
    with ReaderProcess(seconds=0.4) as reader:
        with pytest.raises(Unreadable, match=r"more than 0.4 s"):
            reader.read(tmp_path / "slow.txt", "text")
        reader._seconds = 30
        assert reader.read(tmp_path / "good.txt", "text").text == "hello"


@fifo
def test_a_reader_that_crashes_costs_one_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "crash.txt")
    (tmp_path / "good.txt").write_text("hello")
    with ReaderProcess() as reader:
        assert reader.read(tmp_path / "good.txt", "text").text == "hello"
        assert reader._process is not None
        pid = reader._process.pid

        def kill() -> None:
            time.sleep(0.3)
            os.kill(pid, signal.SIGSEGV)

        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises(Unreadable, match="crashed"):
            reader.read(tmp_path / "crash.txt", "text")
        thread.join()
        assert reader.read(tmp_path / "good.txt", "text").text == "hello"


@fifo
def test_waiting_for_a_reader_can_be_given_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "slow.txt")
    looks = []

    class Stop(Exception):
        pass

    def check() -> None:
        looks.append(1)
        if len(looks) == 3:
            raise Stop

    with ReaderProcess() as reader:
        with pytest.raises(Stop):
            reader.read(tmp_path / "slow.txt", "text", check)
        assert reader._process is None  # it was ended, not left behind


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits hold on Linux")
def test_a_file_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_bytes(b"words and words\n" * 6_000_000)
    (tmp_path / "good.txt").write_text("hello")
    with ReaderProcess(memory_bytes=160_000_000) as reader:
        with pytest.raises(Unreadable, match=r"memory|crashed"):
            reader.read(tmp_path / "big.txt", "text")
        assert reader.read(tmp_path / "good.txt", "text").text == "hello"


def test_what_a_parser_prints_does_not_disturb_the_answers(tmp_path: Path) -> None:
    with ReaderProcess() as reader:
        (tmp_path / "a.txt").write_text("one")
        assert [reader.read(tmp_path / "a.txt", "text").text for _ in range(3)] == ["one"] * 3


def test_half_a_character_becomes_a_question_mark(tmp_path: Path) -> None:
    """JSON may hold lone surrogates, which neither a file nor the database takes."""
    cell = '{"cell_type": "markdown", "source": "# The \\ud800 pump\\nseal \\udc00"}'
    (tmp_path / "n.ipynb").write_text(f'{{"cells": [{cell}]}}')
    found = read(tmp_path / "n.ipynb", "notebook")
    assert found.text.startswith("The ? pump\nseal ?")
    assert (found.title, found.layout.headings[0].title) == ("The ? pump", "The ? pump")


def test_a_page_whose_head_has_no_end_is_read(tmp_path: Path) -> None:
    """HTML allows to leave it out."""
    (tmp_path / "p.html").write_text("<html><head><title>Pump</title><style>p{}</style><body><p>The seal.")
    found = read(tmp_path / "p.html", "html")
    assert (found.title, found.text) == ("Pump", "The seal.\n")


@pytest.mark.parametrize("charset", ["utf-8", "nonsense"])
def test_mail_with_raw_bytes_in_its_headers_is_read_as_text(tmp_path: Path, charset: str) -> None:
    """Programs write headers in UTF-8 as they are, and name encodings that do not exist."""
    head = f"Subject: Größe\nContent-Type: text/plain; charset={charset}\n\n".encode()
    (tmp_path / "m.eml").write_bytes(head + "Dichtung für die Pumpe.\n".encode() + b"\xff\n")
    found = read(tmp_path / "m.eml", "mail")
    assert found.text.encode()
    assert found.title == "Größe"
    assert "die Pumpe." in found.text


def test_a_reason_is_one_line_that_any_file_takes() -> None:
    error = Unreadable("not well-formed:\nline 3, \ud800 column 1", skipped=False)
    assert str(error) == "not well-formed: line 3, ? column 1"


def test_text_that_follows_a_head_without_an_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.html").write_text(
        "<head><title>Pump</title><meta charset=utf-8><script>x</script>Bare words.<br><title>No</title>"
        "<svg><title>icon</title></svg> More."
    )
    found = read(tmp_path / "p.html", "html")
    assert (found.title, found.text) == ("Pump", "Bare words.\nMore.\n")


def test_hidden_parts_of_a_head_stay_hidden(tmp_path: Path) -> None:
    (tmp_path / "p.html").write_text(
        "<html><head>\n<style>p{}</style>\n<noscript>turn it on</noscript>\n<template>t</template></head>\n<p>The seal."
    )
    assert read(tmp_path / "p.html", "html").text == "The seal.\n"


LIMITED = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from localllm.rag.readers import read
read(Path(sys.argv[1]), sys.argv[2])  # imports are not counted
used = resource.getrusage(resource.RUSAGE_SELF).ru_utime
resource.setrlimit(resource.RLIMIT_CPU, (int(used) + 21, int(used) + 22))
read(Path(sys.argv[3]), sys.argv[2])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
@pytest.mark.parametrize(
    ("name", "format", "line", "n"),
    [
        ("words.c", "code", "one word more\n", 25_000),
        ("open.js", "code", "const x = (\n", 60_000),
        ("open.rs", "code", "pub(in one\n", 60_000),
        ("box.mbox", "mail", "From a Tue Sep  1 10:00:00 2026\nSubject: x\n\nThe seal.\n\n", 50_000),
        ("letter.eml", "mail", "word\n\n", 200_000),
    ],
)
def test_work_grows_with_the_file_and_not_with_its_square(
    tmp_path: Path, name: str, format: str, line: str, n: int
) -> None:
    """Counted in processor time, which a busy machine does not change; the square of these takes minutes."""
    (tmp_path / "first").write_text("x")
    (tmp_path / name).write_text(line * n)
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "first"), format, str(tmp_path / name)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True)
    assert done.returncode == 0, done.stderr[-500:]


def test_a_large_file_that_is_no_archive_is_not_read_to_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.docx").write_bytes(b"noise" * 1000)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the whole file was read"))
    assert "damaged" in str(refused(tmp_path / "a.docx", "docx"))


def test_pages_beyond_the_limit_of_text_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pypdfium2

    monkeypatch.setattr("localllm.rag.readers.builder.LIMITS", replace(LIMITS, text_chars=100))
    read_pages, textpage = [], pypdfium2.PdfPage.get_textpage

    def counted(page: pypdfium2.PdfPage) -> object:
        read_pages.append(page)
        return textpage(page)

    monkeypatch.setattr(pypdfium2.PdfPage, "get_textpage", counted)
    extract = read(documents.pdf(tmp_path / "a.pdf", pages=("x" * 60,) * 9), "pdf")
    assert len(read_pages) == 2
    assert "only the first 100 characters" in extract.partial


def test_a_pdf_of_too_many_pages_is_partial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localllm.rag.readers.pdf.LIMITS", replace(LIMITS, pages=2))
    extract = read(documents.pdf(tmp_path / "a.pdf", pages=(documents.SENTENCE,) * 4), "pdf")
    assert extract.text.count(documents.SENTENCE) == 2
    assert extract.partial == "only the first 2 of 4 pages were read"


def test_a_damaged_pdf_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4\n" + b"noise " * 500)
    error = refused(tmp_path / "a.pdf", "pdf")
    assert "damaged" in str(error)
    assert not error.skipped


def test_a_file_larger_than_the_limit_is_skipped_and_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(LIMITS.file_bytes + 1)
    assert "larger than 200 MB" in str(refused(tmp_path / "a.txt", "text"))


def test_text_beyond_the_limit_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localllm.rag.readers.text.LIMITS", replace(LIMITS, text_chars=10))
    assert decoded(b"one two three four") == ("one two th", "utf-8", "only the first 10 characters were read")


def test_no_reader_ever_asks_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was asked for"), raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a name was looked up"))
    for path in documents.make_all(tmp_path / "all"):
        assert read(path, format_of(path.name) or "").text
    page = (
        '<link rel=stylesheet href="http://example.org/a.css"><script src="http://example.org/a.js"></script>'
        '<img src="http://example.org/a.png">The seal.<iframe src="http://example.org/"></iframe>'
    )
    (tmp_path / "p.html").write_text(page)
    assert read(tmp_path / "p.html", "html").text == "The seal.\n"
    head = "Content-Type: message/external-body; access-type=anon-ftp; site=example.org; name=x\n\n"
    (tmp_path / "m.eml").write_text(f"Subject: x\n{head}Content-Type: text/plain\n\n")
    assert read(tmp_path / "m.eml", "mail").title == "x"
