"""Tokens as the Penn Treebank cuts English: punctuation apart, contractions in two, abbreviations and decimals whole.

For checks that must count words as a reference does; `segments.words` counts as people do.
"""

from __future__ import annotations

import re

from localllm.rules import punkt

_STEPS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), spaced)
    for pattern, spaced in (
        (r"[«“‘„]|`+", r" \g<0> "),
        (r"(?i)(')(?!re|ve|ll|[mtsdn])(\w)\b", r"\1 \2"),  # a quoted single letter
        (r"([^.])(\.)([\])}>\"'»”’ ]*)\s*$", r"\1 \2 \3 "),  # the sentence's own full stop
        (r"([:,])(\D)", r" \1 \2"),
        (r"[:,]$", r" \g<0> "),
        (r"\.{2,}|--|[;@#$%&?!*()\[\]{}<>»”’\"]|''", r" \g<0> "),
        (r"([^'])(')(?=\s|$)", r"\1 \2 "),
        (r"\s+", " "),
        (r"(?<=[^' ])('[sSmMdD])(?= )", r" \1"),
        (r"(?<=[^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T)(?= )", r" \1"),
        (r"(?i)\b(can)(not)\b|\b(d)('ye)\b|\b(gim)(me)\b|\b(gon)(na)\b|\b(got)(ta)\b|\b(lem)(me)\b|\b(more)('n)\b", r" \1\3\5\7\9\11\13 \2\4\6\8\10\12\14 "),  # noqa: E501
        (r"(?i)\b(wan)(na)(?=\s)|(?<= )('t)(is|was)\b", r" \1\3 \2\4 "),
    )
)  # fmt: skip


def tokens(text: str) -> list[str]:
    """The tokens, in order."""
    return [token for start, end in punkt.sentences(text) for token in _of_sentence(text[start:end])]


def _of_sentence(text: str) -> list[str]:
    text = f"{text} "
    for pattern, spaced in _STEPS:
        text = pattern.sub(spaced, text)
    return text.split()
