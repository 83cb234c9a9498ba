"""Plain text: what the bytes mean, and whether they are text at all."""

from __future__ import annotations

import codecs
from pathlib import Path

from localllm.rag.readers.limits import LIMITS, Unreadable
from localllm.rag.rows import Extract, Layout

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WESTERN = set("äöüßéèêëàâáãçñóúíìîïôõòùûýÿœæøåÄÖÜÉÈÊËÀÂÁÃÇÑÓÚÍÌÎÏÔÕÒÙÛÝŒÆØÅ«»‹›’‘“”„‚–—…°€£§·•¡¿®©™ªº´")
"""A file whose letters beyond ASCII are all among these in Windows' western code page is in that code page."""
_LIKELY = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r", "cp932", "euc_jp",
    "gb18030", "big5", "cp949",
]  # fmt: skip
"""Encodings that text files in the wild have; guessing among all of them finds exotic ones in short texts."""
_CONTROLS = bytes(set(range(32)) - {7, 8, 9, 10, 12, 13, 27})


def read(path: Path) -> Extract:
    """The file as it is; line breaks stay as they are, so that lines are those of the file."""
    text, encoding, partial = decoded(path.read_bytes())
    return Extract(text, Layout(), "text", "", encoding, 0, "", partial)


def decoded(data: bytes) -> tuple[str, str, str]:
    """Bytes as text.

    Returns:
        The text, its encoding (ending in ``?`` when it was guessed), and why only a part is given, if so.

    Raises:
        Unreadable: The bytes are not text.
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            text, name = data[len(bom) :].decode(encoding, "replace"), encoding
            break
    else:
        text, name = _without_bom(data)
    if len(text) > LIMITS.text_chars:
        return text[: LIMITS.text_chars], name, f"only the first {LIMITS.text_chars:,} characters were read"
    return text, name, ""


def _without_bom(data: bytes) -> tuple[str, str]:
    head = data[:8192]
    if guess := _utf16_without_bom(head):
        return data.decode(guess, "replace"), guess + "?"
    if b"\0" in head or (head and len(head) - len(head.translate(None, _CONTROLS)) > len(head) // 10):
        raise Unreadable("binary, not text")
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    high = set(data[:200_000].translate(None, bytes(range(128))).decode("cp1252", "replace"))
    if high and high <= _WESTERN:
        return data.decode("cp1252", "replace"), "cp1252?"
    from charset_normalizer import from_bytes

    best = from_bytes(data[:200_000], cp_isolation=_LIKELY).best()
    encoding = best.encoding if best is not None else "cp1252"
    try:
        return data.decode(encoding), encoding + "?"
    except (UnicodeDecodeError, LookupError):
        return data.decode("cp1252", "replace"), "cp1252?"


def _utf16_without_bom(head: bytes) -> str:
    """Text with a zero in every other byte: UTF-16 of a western script."""
    if len(head) < 8:
        return ""
    half = len(head) // 2
    even, odd = head[0 : 2 * half : 2].count(0), head[1 : 2 * half : 2].count(0)
    if odd > half * 0.7 and even < half * 0.05:
        return "utf-16-le"
    if even > half * 0.7 and odd < half * 0.05:
        return "utf-16-be"
    return ""
