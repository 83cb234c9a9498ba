"""Base64 in documents: it stays in the text, so that offsets hold, and no chunk, no search and no prompt holds any."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm.rag.blobs import blob_spans, inside, outside
from localllm.rag.chunks import Chunker
from localllm.rag.index import Library
from localllm.rag.passages import fitted_passages
from localllm.rag.rows import Layout, TextMap
from localllm.rag.search import search
from localllm.rag.sync import sync
from tests.fakes import FakeEmbedder

NOISE = base64.b64encode(random.Random(3).randbytes(3000)).decode()
LINES = "\n".join(NOISE[i : i + 76] for i in range(0, len(NOISE), 76))
BEFORE, AFTER = "The pump stands in the cellar.", "The seal is replaced every 400 hours."
HOLDERS = {
    "picture.md": f"# Pump\n\n{BEFORE}\n\n![a](data:image/png;base64,{NOISE})\n\n{AFTER}\n",
    "style.css": f"/* {BEFORE} */\n.a {{ src: url(data:font/woff2;charset=utf-8;base64,{NOISE}) }}\n/* {AFTER} */\n",
    "certificate.txt": f"{BEFORE}\n-----BEGIN CERTIFICATE-----\n{LINES}\n-----END CERTIFICATE-----\n{AFTER}\n",
    "part.txt": f"{BEFORE}\n\n{LINES}\n\n{AFTER}\n".replace("\n", "\r\n"),
    "state.json": json.dumps({"note": BEFORE, "image": NOISE, "lines": LINES, "end": AFTER}, indent=1),
    "mail.eml": f"Subject: Seal\n\n{BEFORE}\n\n--x\nContent-Transfer-Encoding: base64\n\n{LINES}\n--x--\n\n{AFTER}\n",
}


@pytest.mark.parametrize("name", HOLDERS)
@pytest.mark.parametrize("embedder", [None, FakeEmbedder()], ids=["words", "tokens"])
def test_the_words_around_a_blob_are_found_and_the_blob_is_in_no_chunk(
    name: str, embedder: FakeEmbedder | None, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / name).write_bytes(HOLDERS[name].encode())
    with Library(tmp_path / "l.db", create=True) as library:
        library.add_root((tmp_path / "docs").resolve(), "folder")
        list(sync(library, embedder))
        (document,) = library.documents()
        assert document.content is not None
        text = library.text(document.content).text
        chunks = [text[c.start : c.end] for c in library.chunks_of(document.id)]
        assert NOISE[:60] in text.replace("\r", "").replace("\n", "")  # offsets are those of the file
        assert all(any(sentence in chunk for chunk in chunks) for sentence in (BEFORE, AFTER))
        assert not any(NOISE[i : i + 30] in chunk for chunk in chunks for i in range(0, 3000, 30))
        hits = search(library, "seal replaced pump cellar", embedder, 5).hits
        passages = fitted_passages(library, hits, 300, lambda t: len(t) // 3)
        assert passages and not any(NOISE[:30] in p.text for p in passages)


def test_a_file_of_nothing_else_is_listed_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "key.txt").write_text(LINES)
    with Library(tmp_path / "l.db", create=True) as library:
        library.add_root((tmp_path / "docs").resolve(), "folder")
        list(sync(library, None))
        assert [(d.status, d.reason) for d in library.documents()] == [("skipped", "nothing but encoded data in it")]


@pytest.mark.parametrize(
    "text",
    [
        "supercalifragilisticexpialidocious" * 10, "ACGT" * 500, "deadbeef0123" * 50,
        "\n".join(["d41d8cd98f00b204e9800998ecf8427e0a1b2c3d"] * 40), "=" * 500 + "\n" + "-" * 500,
        "/usr/share/lib/python/site-packages/" * 20, "def " + "very_long_name_of_a_function_" * 20 + "():\n    pass",
        f"integrity: sha512-{NOISE[:88]}\n" * 20, "data:text/plain,hello", "一" * 500,
    ],
)  # fmt: skip
def test_what_only_looks_long_is_no_blob(text: str) -> None:
    assert blob_spans(text) == []


def test_an_ordinary_word_on_the_line_below_is_kept() -> None:
    (span,) = blob_spans(f"{LINES[: 77 * 8 - 1]}\nRegards\nAda\n")
    assert span == (0, 77 * 8 - 1)
    (whole,) = blob_spans(f"{LINES}\n\nRegards")
    assert whole == (0, len(LINES))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["A sentence. ", "\n\n", "x", LINES + "\n", f"({NOISE})"]), st.booleans())))
def test_parts_and_blobs_together_are_the_whole_text(parts: list[tuple[str, bool]]) -> None:
    text = "".join(part for part, _ in parts)
    blobs = blob_spans(text)
    spans = sorted(blobs + outside(blobs, len(text)))
    assert "".join(text[a:b] for a, b in spans) == text
    assert all(inside(i, blobs) == any(a <= i < b for a, b in blobs) for i in range(0, len(text), 97))
    for chunk in Chunker().cut(TextMap(text, Layout())):
        assert not any(chunk.start < b and chunk.end > a for a, b in blobs)


def test_work_on_long_texts_grows_with_them() -> None:
    """Quadratic work on two megabytes would not end; this is a second at most."""
    for text in ("a" * 2_000_000, "ab " * 700_000, (NOISE[:39] + " ") * 50_000, (NOISE[:60] + "\n") * 33_000):
        assert all(0 <= a < b <= len(text) for a, b in blob_spans(text))
