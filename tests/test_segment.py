"""The keyword index: documents and queries are cut alike, in every script."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.rag.segment import TOKENIZE, fts_text, query_terms, words
from localllm.rag.stem import content_stems, stem


@pytest.fixture
def index() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.execute(f'CREATE VIRTUAL TABLE f USING fts5(x, tokenize="{TOKENIZE}")')
    return db


def found(db: sqlite3.Connection, text: str, query: str) -> bool:
    db.execute("DELETE FROM f")
    db.execute("INSERT INTO f VALUES (?)", (fts_text(text),))
    match = query_terms(query).match()
    return bool(match) and bool(db.execute("SELECT 1 FROM f WHERE f MATCH ?", (match,)).fetchall())


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("The pumps were replaced.", "replacing a pump"),
        ("def readFile(path):", "read_file"),
        ("def read_file(path):", "readFile"),
        ("def readHTTPHeader(): ...", "header"),
        ("Part QX-2291 fits.", "qx2291 QX-2291"),
        ("黑豹队的防守只丢了 308分", "防守"),
        ("東京タワーは高い", "タワー"),
        ("대한민국의 수도는 서울이다", "수도는"),
        ("สวัสดีครับคุณครู", "คุณครู"),
        ("यह किताब हिन्दी में है", "हिन्दी"),
        ("A café in Zürich", "cafe zurich"),
        ("an inter-\nnational treaty", "international"),
        ("the ofﬁce", "office"),
        ("co\u00adoperation", "cooperation"),
        ("version 3.5 is out", "3.5"),
    ],
)
def test_each_way_of_writing_finds_the_other(index: sqlite3.Connection, text: str, query: str) -> None:
    assert found(index, text, query)


@pytest.mark.parametrize(
    ("text", "query"),
    [("all RNAs and DCs", "rn"), ("MicroRNA", '"rna micro"'), ("黑豹队", "队黑"), ("3 and 5", '"3.5"')],
)
def test_what_is_not_there_is_not_found(index: sqlite3.Connection, text: str, query: str) -> None:
    assert not found(index, text, query)


def test_plural_acronyms_stay_whole() -> None:
    assert fts_text("RNAs DCs iPhone mRNA") == "RNAs DCs iPhone mRNA"
    assert fts_text("getUserName") == "getUserName get User Name"


def test_stop_words_are_dropped_unless_there_is_nothing_else() -> None:
    assert query_terms("what is the pump").terms == ("pump",)
    assert query_terms("the who").terms == ("the", "who")


def test_may_that_asks_for_leave_is_no_word_of_the_question() -> None:
    assert query_terms("May I have a dog?").terms == ("dog",)
    assert query_terms("may the tenant keep dogs").terms == ("tenant", "keep", "dogs")
    assert query_terms("May 2019 minutes").terms == ("may", "2019", "minutes")
    assert query_terms("What may I keep?").terms == ("may", "keep")


def test_quoted_phrases_must_occur(index: sqlite3.Connection) -> None:
    assert query_terms('seal "every 400 hours"').phrases == ("every 400 hours",)
    assert found(index, "Replace it every 400 hours.", 'seal "every 400 hours"')
    assert not found(index, "Every seal lasts 400 hours.", 'seal "every 400 hours"')


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_and_no_query_breaks_the_index(text: str, query: str) -> None:
    db = sqlite3.connect(":memory:")
    db.execute(f'CREATE VIRTUAL TABLE f USING fts5(x, tokenize="{TOKENIZE}")')
    db.execute("INSERT INTO f VALUES (?)", (fts_text(text).encode("utf-8", "replace").decode(),))
    match = query_terms(query).match().encode("utf-8", "replace").decode().replace("\0", "")
    if match:
        db.execute("SELECT 1 FROM f WHERE f MATCH ?", (match,)).fetchall()


@given(st.lists(st.sampled_from("alpha beta readFile 黑豹队 สวัสดี हिन्दी 42".split()), min_size=1, max_size=6))
def test_a_text_is_found_by_its_own_words(parts: list[str]) -> None:
    db = sqlite3.connect(":memory:")
    db.execute(f'CREATE VIRTUAL TABLE f USING fts5(x, tokenize="{TOKENIZE}")')
    text = " ".join(parts)
    db.execute("INSERT INTO f VALUES (?)", (fts_text(text),))
    for part in parts:
        assert db.execute("SELECT 1 FROM f WHERE f MATCH ?", (query_terms(part).match(),)).fetchall()


def test_stems_are_those_of_sqlite() -> None:
    text = (
        "relational conditional rationalization hopping caresses ponies agreed plastered motoring happy sky falling"
        " adjustable triplicate formative electricity goodness revival allowance controlling rolled probate rate"
        " cease generalizations oscillators effective sensibilities running flies dying tries studies"
    )
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE f USING fts5(x, tokenize='porter unicode61')")
    db.execute("CREATE VIRTUAL TABLE v USING fts5vocab(f, 'instance')")
    listed = text.split()
    db.executemany("INSERT INTO f(rowid, x) VALUES (?, ?)", enumerate(listed, 1))
    for term, row in db.execute("SELECT term, doc FROM v").fetchall():
        assert stem(listed[row - 1]) == term


def test_content_stems_leave_small_words_out() -> None:
    assert content_stems("The pumps are being replaced") == ["pump", "replac"]
    assert words("a1 हिन्दी-b") == ["a1", "हिन्दी", "b"]
