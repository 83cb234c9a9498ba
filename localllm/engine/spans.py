"""SpanFinder: which characters of a text each token of an embedder stands for.

WordPiece vocabularies cut words apart that were lowered and stripped of accents before, and put one token for unknown
words, so the tokens' own bytes don't add up to the text. Here a text is cut into words by llama.cpp's rules, each word
is tokenized by llama.cpp itself, and the lengths of its pieces are laid over its characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from localllm.llama._api import C
from localllm.llama.vocab import Vocab

_WORDS_KEPT = 100_000
_SPACE = "▁"


class SpanFinder:
    """Finds token spans for one vocabulary."""

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        self._is_wordpiece = vocab.type == C.LLAMA_VOCAB_TYPE_WPM
        self._pieces: dict[str, tuple[int, ...]] = {}

    def find(self, text: str) -> list[tuple[int, int]]:
        """Half-open character spans, ascending and inside the text, one per token that `tokenize(text)` gives."""
        if not self._is_wordpiece:
            return self._find_by_bytes(text)
        spans: list[tuple[int, int]] = []
        for start, end in _words(text):
            lengths = self._lengths(text[start:end])
            if len(lengths) == 1:
                spans.append((start, end))
            else:
                spans += _lay(lengths, start, text[start:end])
        return spans

    # ---- word pieces ----

    def _lengths(self, word: str) -> tuple[int, ...]:
        """Characters of each piece of a word after normalization; (0,) for one token of any kind, () for none."""
        lengths = self._pieces.get(word)
        if lengths is None:
            ids = self._vocab.tokenize(word)
            if len(ids) == 1:
                lengths = (0,)
            else:
                lengths = tuple(len(self._vocab.raw_text(t).removeprefix(_SPACE)) for t in ids)
            if len(self._pieces) >= _WORDS_KEPT:
                self._pieces.clear()
            self._pieces[word] = lengths
        return lengths

    # ---- other vocabularies ----

    def _find_by_bytes(self, text: str) -> list[tuple[int, int]]:
        """Tokens whose bytes add up to the text, as in byte-level vocabularies; shared out in proportion elsewhere."""
        ids = self._vocab.tokenize(text)
        pieces = [self._vocab.piece(t) for t in ids]
        data = text.encode("utf-8", "replace")
        joined = b"".join(pieces)
        lead = len(joined) - len(data)
        if lead not in (0, 1) or joined[lead:] != data:
            n = max(1, len(ids))
            return [(i * len(text) // n, (i + 1) * len(text) // n) for i in range(len(ids))]
        char_of = [0] * (len(data) + 1)  # the character that each byte belongs to
        at = 0
        for i, c in enumerate(text):
            width = len(c.encode("utf-8", "replace"))
            char_of[at : at + width] = [i] * width
            at += width
        char_of[at] = len(text)
        spans = []
        byte = -lead
        for piece in pieces:
            start, byte = max(0, byte), byte + len(piece)
            end = char_of[max(0, byte - 1)] + 1 if byte > start else char_of[start]
            spans.append((char_of[start], min(end, len(text))))
        return spans


def _lay(lengths: tuple[int, ...], start: int, word: str) -> Iterator[tuple[int, int]]:
    """Spans of pieces with these lengths in normalized characters; accents belong to the character before them."""
    kept = [i for i, c in enumerate(word) if not _is_dropped(c)]
    total = sum(lengths)
    if total != len(kept):  # normalized in a way not foreseen here: share the characters out
        kept = [i * len(word) // total for i in range(total)] if total else []
    at = 0
    for i, length in enumerate(lengths):
        first = kept[at] if at < len(kept) else len(word)
        at += length
        last = kept[at] if at < len(kept) and i < len(lengths) - 1 else len(word)
        yield start + (0 if i == 0 else first), start + last


_CHUNK = re.compile(r"(?:\S|[\x1c-\x1f])+")
_SPACES = re.compile(r"[^\S\x1c-\x1f]")
"""White space as llama.cpp has it: four separators that Python counts are controls there."""


def _words(text: str) -> Iterator[tuple[int, int]]:
    """Spans of the words that llama.cpp's WordPiece tokenizer cuts a text into."""
    for chunk in _CHUNK.finditer(text):
        word = chunk[0]
        start = chunk.start()
        if word.isascii() and word.isalnum():
            yield start, chunk.end()
            continue
        first = -1  # of the word that is being read
        for i, c in enumerate(word, start):
            kind = _kind(c)
            if kind == "word":
                first = i if first < 0 else first
            elif kind != "nothing":
                if first >= 0:
                    yield first, i
                first = -1
                if kind == "alone":
                    yield i, i + 1
        if first >= 0:
            yield first, chunk.end()


@lru_cache(1 << 16)
def _kind(c: str) -> str:
    """How a character that is no white space is treated: part of a word, alone, or nothing at all."""
    code, category = ord(c), unicodedata.category(c)
    if _is_dropped(c):
        return "nothing"
    if category == "Cs":  # half a character of UTF-16: it is replaced by a question mark
        return "alone"
    is_symbol = code < 0x7F and category[0] == "S"
    return "alone" if category[0] == "P" or is_symbol or _is_chinese(code) else "word"


@lru_cache(1 << 16)
def _is_dropped(c: str) -> bool:
    return c in "\0�" or (unicodedata.category(c) in ("Cc", "Cf", "Co", "Mn") and not _SPACES.fullmatch(c))


_CHINESE = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def _is_chinese(code: int) -> bool:
    return any(first <= code <= last for first, last in _CHINESE)
