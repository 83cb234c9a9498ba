"""Blobs: pictures, certificates and attachments that stand in a text as Base64. Nobody asks for them by a word.

They stay in the document's text, so that every offset holds, and are left out of its chunks.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

_LEAST = 200
"""Characters; a shorter run may be a key or a checksum that somebody looks for."""
_BITS = 5.0
"""Entropy per character. Base64 has up to 6, words run together about 4.2, hexadecimal 4, sequences of DNA 2."""
_LETTERS = "A-Za-z0-9+/_-"
_DATA_URI = re.compile(
    rf"data:[\w.+-]{{1,60}}/[\w.+-]{{1,100}}(?:;[\w=.+-]{{1,100}}){{0,5}};base64,[=%{_LETTERS}]{{64,}}"
)
_GAP = r"={0,2}(?:\s{1,8}|\\r|\\n){1,4}"
"""Between two lines of a blob; in JSON a line break is written out."""
_RUN = re.compile(
    rf"(?<![{_LETTERS}])[{_LETTERS}]{{40,}}(?:{_GAP}[{_LETTERS}]{{40,}})*(?P<tail>{_GAP}[{_LETTERS}]{{4,}})?=*"
)
_CODED = re.compile(r"[0-9+/=]|[a-z][A-Z]")


def blob_spans(text: str) -> list[tuple[int, int]]:
    """Spans of Base64 in a text, ascending and apart."""
    found = [match.span() for match in _DATA_URI.finditer(text)]
    for match in _RUN.finditer(text):
        start, end = match.span()
        if match["tail"] and not _CODED.search(match["tail"] + text[match.end("tail") : end]):
            end = match.start("tail")  # an ordinary word on the line below
        if end - start >= _LEAST and entropy(text[start:end]) >= _BITS:
            found.append((start, end))
    return _merged(found)


def inside(offset: int, blobs: Sequence[tuple[int, int]]) -> bool:
    """Whether a place in the text is in one of its blobs."""
    i = bisect_right(blobs, (offset, math.inf)) - 1
    return i >= 0 and offset < blobs[i][1]


def outside(blobs: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """What is left of a text of `length` characters, in order."""
    edges = [0, *(i for blob in blobs for i in blob), length]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]


def entropy(text: str) -> float:
    """Bits per character, by how often each occurs; white space does not count."""
    counts = Counter("".join(text.split()))
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values()) if total else 0.0


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged
