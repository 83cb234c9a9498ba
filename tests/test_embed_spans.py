"""The embedder: token-exact spans for any text, unit rows, and nothing cut in silence."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from localllm.engine.embed import LlamaEmbedder
from localllm.engine.spans import SpanFinder
from localllm.errors import TextTooLong
from localllm.llama.model import Model
from tests.models import CHAT, EMBEDDER, need

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def embedder() -> Iterator[LlamaEmbedder]:
    need(EMBEDDER)
    embedder = LlamaEmbedder(EMBEDDER, max_tokens=256, n_contexts=2)
    yield embedder
    embedder.close()


def check(finder: SpanFinder, n_tokens: int, text: str) -> list[tuple[int, int]]:
    spans = finder.find(text)
    assert len(spans) == n_tokens, ascii(text)
    edge = 0
    for start, end in spans:
        assert edge <= start <= end <= len(text), ascii(text)
        edge = end
    return spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ("Schlüsselkästen", ["Sc", "hl", "üss", "el", "käs", "ten"]),
        ("Café naïve", ["Café", "naïve"]),
        ("re\u0301cepteurs", ["re\u0301c", "ept", "eurs"]),
        ("漢字 kanji", ["漢", "字", "kan", "ji"]),
        ("a\x00b c\u200bd", ["a\x00b", "c\u200bd"]),
        ("  x\t\n", ["x"]),
        ("\U000313b0word", ["\U000313b0word"]),
        ("€5+$3", ["€", "5", "+", "$", "3"]),
        ("", []),
    ],
)
def test_spans_name_the_characters_of_each_token(embedder: LlamaEmbedder, text: str, words: list[str]) -> None:
    n = len(embedder.tokenize(text)) - 2
    spans = check(embedder._spans, n, text)
    assert [text[a:b] for a, b in spans] == words


def random_text(rng: random.Random) -> str:
    ranges = [(32, 127), (0xC0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x2000, 0x2070)]
    ranges += [(0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F700), (0, 0x110000)]
    words = ["the", " running ", "Unbelievable", "\x1c", "\n\n"]
    return "".join(
        rng.choice(words) if rng.random() < 0.3 else chr(rng.randrange(*rng.choice(ranges)))
        for _ in range(rng.randrange(40))
    )


def test_spans_fit_any_text(embedder: LlamaEmbedder) -> None:
    rng = random.Random(11)
    for _ in range(4000):
        text = random_text(rng)
        check(embedder._spans, len(embedder._model.vocab.tokenize(text)), text)


def test_spans_fit_a_byte_level_vocabulary_too() -> None:
    need(CHAT)
    model = Model(CHAT, vocab_only=True)
    finder, rng = SpanFinder(model.vocab), random.Random(12)
    for _ in range(1000):
        text = random_text(rng).encode("utf-8", "replace").decode()
        ids = model.vocab.tokenize(text)
        spans = finder.find(text)
        assert len(spans) == len(ids)
        assert all(0 <= start <= end <= len(text) for start, end in spans)
        if spans:
            assert spans[0][0] == 0
            assert spans[-1][1] == len(text)
    model.close()


def test_rows_are_unit_vectors_and_do_not_depend_on_their_neighbours(embedder: LlamaEmbedder) -> None:
    texts = [f"The pump number {i} needs a new seal every {i * 100} hours." * (1 + i % 4) for i in range(17)]
    rows = embedder.embed(texts)
    assert rows.dtype == np.float32
    assert rows.shape == (17, 384) == (len(texts), embedder.dim)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for i in (0, 5, 16):
        assert np.array_equal(embedder.embed([texts[i]])[0], rows[i])


def test_near_texts_are_near(embedder: LlamaEmbedder) -> None:
    a, b, c = embedder.embed(["How often is the seal replaced?", "When to change the seal", "A recipe for soup"])
    assert a @ b > 0.5 > a @ c


def test_no_text_gives_no_rows(embedder: LlamaEmbedder) -> None:
    assert embedder.embed([]).shape == (0, 384)
    assert embedder.embed([""]).shape == (1, 384)


def test_a_long_text_is_an_error_before_anything_is_evaluated(embedder: LlamaEmbedder) -> None:
    fits = "a " * 254
    assert embedder.embed([fits]).shape == (1, 384)
    with pytest.raises(TextTooLong, match=r"257 tokens .* 256"):
        embedder.embed(["fine", fits + "a"])


def test_the_fingerprint_names_the_vectors(embedder: LlamaEmbedder) -> None:
    other = LlamaEmbedder(EMBEDDER, max_tokens=128)
    assert other.fingerprint != embedder.fingerprint
    assert len(embedder.fingerprint) == 64
    other.close()
    other.close()
