"""Cuts one line of text into rows of cells: by words, between wide characters, never inside a grapheme."""

from __future__ import annotations

import re

from rich.cells import cell_len, split_graphemes

_WORD = re.compile(r"\s*\S+|\s+$")
# Scripts written without spaces may be cut anywhere, but no row begins with a closing mark.
_WIDE = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
_NOT_FIRST = frozenset("、。，．：；？！）］｝」』】〉》〕·…’”")


def wrap(text: str, width: int) -> list[tuple[int, int]]:
    """Spans of `text` that make up the rows, without the white space between them.

    Args:
        text: One line, without newlines and tabs.
        width: Cells per row; taken as at least 1.

    Returns:
        Half-open character spans in order. Only white space lies between them. At least one span.
    """
    width = max(width, 1)
    if len(text) <= width and text.isascii():
        return [(0, len(text))]
    if cell_len(text) <= width:
        return [(0, len(text))]
    rows: list[tuple[int, int]] = []
    start = end = used = 0
    for piece_start, piece_end in _pieces(text):
        piece = text[piece_start:piece_end]
        size = cell_len(piece)
        if used + size <= width:
            end, used = piece_end, used + size
            continue
        bare = piece.lstrip()
        bare_start, size = piece_end - len(bare), cell_len(bare)
        if end > start:
            rows.append((start, end))
        start = end = bare_start
        used = 0
        if size > width:
            for cut_start, cut_end, cut_size in chop(bare, width):
                if cut_start and end > start:
                    rows.append((start, end))
                    start = bare_start + cut_start
                end, used = bare_start + cut_end, cut_size
        else:
            end, used = piece_end, size
    if end > start or not rows:
        rows.append((start, end))
    return rows


def _pieces(text: str) -> list[tuple[int, int]]:
    """Spans that may be kept together: words with the space before them, and single wide characters."""
    pieces: list[tuple[int, int]] = []
    for match in _WORD.finditer(text):
        word = match.group()
        if not _WIDE.search(word):
            pieces.append(match.span())
            continue
        offset = start = match.start()
        for a, _, _ in split_graphemes(word)[0]:
            cut_before = a and (_WIDE.match(word[a]) or _WIDE.match(word[a - 1])) and word[a] not in _NOT_FIRST
            if cut_before and word[:a].strip():
                pieces.append((start, offset + a))
                start = offset + a
        pieces.append((start, match.end()))
    return pieces


def chop(word: str, width: int) -> list[tuple[int, int, int]]:
    """Pieces of a word too long for a row: (start, end, cells)."""
    pieces: list[tuple[int, int, int]] = []
    start = used = last = 0
    for a, b, size in split_graphemes(word)[0]:
        if used + size > width and a > start:
            pieces.append((start, a, used))
            start, used = a, 0
        used += size
        last = b
    pieces.append((start, last, used))
    return pieces
