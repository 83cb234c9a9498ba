"""Sentences with their spans, in passages and in answers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localllm.engine.protocol import Embedder

_END = re.compile(
    r"""(?:[.!?…]+(?:\s?\[\d+\])*["'”’»)\]]*(?:\s?\[\d+\])*(?=\s|$)|[。！？｡؟।॥]["'”’)\]」』]*(?:\[\d+\])*|\n\s*\n|\n(?=\s*(?:[-*•]|\d+[.)])\s))"""
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:[A-Z]|Dr|Mr|Mrs|Ms|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|cf|Fig|fig|No|Nr|Vol|pp?|al|ca|approx|Inc|Ltd|Co)\.$"
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences, without white space at either end; a mark ``[2]`` belongs to the one before it."""
    spans: list[tuple[int, int]] = []
    begin = 0
    for match in _END.finditer(text):
        end = match.end()
        if match[0] == "." and _ABBREVIATION.search(text[max(begin, match.start() - 10) : match.end()]):
            following = text[end:].lstrip()[:1]
            if following and not following.isspace():
                continue
        _add(spans, text, begin, end)
        begin = end
    _add(spans, text, begin, len(text))
    return spans


def _add(spans: list[tuple[int, int]], text: str, a: int, b: int) -> None:
    while a < b and text[a].isspace():
        a += 1
    while b > a and text[b - 1].isspace():
        b -= 1
    if a < b:
        spans.append((a, b))


def embeddable(text: str, embedder: Embedder) -> str:
    """The text, cut at what the embedder reads; room is left for the marks around it."""
    spans = embedder.token_spans(text)
    room = max(1, embedder.max_tokens - 4)
    return text if len(spans) <= room else text[: spans[room - 1][1]]
