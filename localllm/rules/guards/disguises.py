"""Other readings of a text: what it says under a simple code. Nothing here needs a key or a model."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}(?:\s+[A-Za-z0-9+/_-]{16,}={0,2})*")
_HEX = re.compile(r"(?:0x)?(?:[0-9A-Fa-f]{2}[\s:,]{0,2}(?:0x|\\x)?){12,}")
_BINARY = re.compile(r"(?:[01]{8}\s*){8,}")
_NUMBERS = re.compile(r"(?:\b\d{2,3}\b[\s,;.-]{1,2}){11,}\b\d{2,3}\b")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2}[\w.-]{0,40}){4,}")
_SPACED = re.compile(r"(?<!\w)(?:\w[ ._*-]{1,6}){11,}\w(?!\w)")
_WORD, _LETTER = re.compile(r"\w[\w@$]*"), re.compile(r"[A-Za-z]")
LOOK_ALIKES = str.maketrans("013457@$", "oieastas")
"""Digits and signs that are written for letters."""
_LEAST = 8
"""Characters that a piece must say."""
_MAX = 20_000
"""Characters of a piece that are decoded."""

_LOWER, _UPPER = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def shifted(text: str, by: int) -> str:
    """Latin letters moved along the alphabet; 13 is rot13."""
    moved = (_LOWER[by:] + _LOWER[:by]) + (_UPPER[by:] + _UPPER[:by])
    return text.translate(str.maketrans(_LOWER + _UPPER, moved))


def with_letters(text: str) -> str:
    """Digits and signs inside words read as the letters that they resemble: ``pr0mpt``."""
    return _WORD.sub(lambda m: m[0].translate(LOOK_ALIKES) if _LETTER.search(m[0]) else m[0], text)


def joined(text: str) -> str:
    """Letters that stand apart joined to words: ``r e p e a t``; more spaces part words."""
    return _SPACED.sub(lambda m: " ".join(re.sub(r"[ ._*-]", "", w) for w in re.split(r" {2,}", m[0])), text)


def decoded(text: str) -> Iterator[tuple[str, int, int]]:
    """What stands in a text as base64, hexadecimal, binary or decimal codes or percent signs, each with its span."""
    for pattern, decode in (
        (_BASE64, _from_base64), (_HEX, _from_hex), (_BINARY, _from_binary), (_NUMBERS, _from_numbers),
        (_PERCENT, _from_percent),
    ):  # fmt: skip
        for match in pattern.finditer(text):
            plain = decode(match[0][:_MAX])
            if len(plain) >= _LEAST and sum(map(_is_text, plain)) > 0.9 * len(plain):
                yield plain, *match.span()


def _is_text(c: str) -> bool:
    return (c.isprintable() or c.isspace()) and c != "\ufffd"


def _from_base64(piece: str) -> str:
    data = re.sub(r"\s", "", piece).rstrip("=").replace("-", "+").replace("_", "/")
    data = data[: len(data) - (len(data) % 4 == 1)]
    try:
        return base64.b64decode(data + "=" * (-len(data) % 4)).decode("utf-8", "replace")
    except (ValueError, binascii.Error):
        return ""


def _from_hex(piece: str) -> str:
    digits = re.sub(r"0x|\\x|[^0-9A-Fa-f]", "", piece)
    return bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("utf-8", "replace")


def _from_binary(piece: str) -> str:
    return bytes(int(byte, 2) for byte in re.findall(r"[01]{8}", piece)).decode("utf-8", "replace")


def _from_numbers(piece: str) -> str:
    return "".join(map(chr, map(int, re.findall(r"\d+", piece))))


def _from_percent(piece: str) -> str:
    data = re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes.fromhex(m[1].decode()), piece.encode())
    return data.decode("utf-8", "replace")
