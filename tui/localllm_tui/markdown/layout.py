"""Rows of cells: a block laid out at one width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from rich.cells import cell_len
from textual.content import Content
from textual.style import Style

from localllm_tui.markdown.blocks import EMPTY, MUTED, Block, Break, Code, Item, Line, Margin, Table
from localllm_tui.markdown.wrap import chop, wrap

_HIGHLIGHT_LIMIT = 20_000
"""Characters; longer code is shown plain, because a lexer may need seconds for it."""
_CODE_FILL = "on $md-block"


@dataclass(frozen=True, slots=True)
class Row:
    """One row on the screen."""

    content: Content
    start: int = 0
    """Characters before this index are margin, not text."""
    joins: str | None = None
    """The row continues the one above; this is the white space that was cut between them."""
    fill: str = ""
    """Style of the row from its margin to the right edge."""
    code: int | None = None
    """Which code block of the message this row belongs to, counted from 0."""
    fill_start: int = 0
    """First character of the fill."""


def rows_of(block: Block, width: int, *, ansi: bool = False, first_code: int = 0) -> list[Row]:
    """Lay out one block.

    Args:
        block: The block.
        width: Cells per row, at least 1.
        ansi: Use the terminal's own 16 colours for highlighting.
        first_code: Number of the block's first code block within its message.
    """
    rows: list[Row] = []
    n_code = first_code
    for item in block.items:
        if item.gap is not None:
            rows.append(Row(item.gap, len(item.gap)))
        rows.extend(_item_rows(item, width, ansi, n_code))
        n_code += isinstance(item, Code)
    return rows


def count_code(block: Block) -> int:
    """Code blocks in this block."""
    return sum(isinstance(item, Code) for item in block.items)


def _item_rows(item: Item, width: int, ansi: bool, n_code: int) -> Iterator[Row]:
    match item:
        case Line():
            yield from _wrapped(item.margin, item.body, width)
        case Code():
            yield from _code_rows(item, width, ansi, n_code)
        case Table():
            yield from _table_rows(item, width)
        case Break():
            left = item.margin.first
            yield Row(left + Content.styled("─" * max(1, width - left.cell_length), MUTED), len(left))


def _fitting(margin: Margin, width: int) -> Margin:
    """A margin that leaves at least a third of the row for text."""
    if margin.rest.cell_length <= width * 2 // 3:
        return margin
    keep = max(0, width // 3)
    return Margin(margin.first.truncate(keep), margin.rest.truncate(keep))


def _wrapped(margin: Margin, body: Content, width: int) -> Iterator[Row]:
    margin = _fitting(margin, width)
    plain = body.plain
    spans = wrap(plain, width - margin.rest.cell_length)
    before = 0
    for n, (start, end) in enumerate(spans):
        left = margin.rest if n else margin.first
        piece = body if (start, end) == (0, len(plain)) else body[start:end]
        yield Row(left + piece, len(left), plain[before:start] if n else None)
        before = end


# ---- code -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _highlighted(text: str, language: str, ansi: bool) -> Content:
    from textual.highlight import ANSIDarkHighlightTheme, HighlightTheme, highlight

    try:
        return highlight(text, language=language, theme=ANSIDarkHighlightTheme if ansi else HighlightTheme)
    except Exception:  # a lexer's own mistake must not hide the code
        return Content(text, strip_control_codes=False)


def _code_rows(code: Code, width: int, ansi: bool, n_code: int) -> Iterator[Row]:
    margin = _fitting(code.margin, width)
    room = max(1, width - margin.rest.cell_length - 2)
    label = code.language or "text"
    head = Content.styled(" " + label, MUTED)
    if code.closed:
        button = Content.styled("copy", MUTED).stylize(Style.from_meta({"@click": f"copy_code({n_code})"}))
        pad = max(1, width - margin.rest.cell_length - head.cell_length - 5)
        head = head + Content(" " * pad) + button + Content(" ")
    yield Row(margin.first + head, len(margin.first) + len(head), None, _CODE_FILL, n_code, len(margin.first))
    body: Content
    if code.closed and code.language and len(code.text) <= _HIGHLIGHT_LIMIT:
        body = _highlighted(code.text, code.language, ansi)
    else:
        body = Content(code.text, strip_control_codes=False)
    left = margin.rest + Content("  ")
    for line in body.split("\n", allow_blank=True):
        for n, (start, end) in enumerate(_folded(line.plain, room)):
            piece = line if (start, end) == (0, len(line.plain)) else line[start:end]
            yield Row(left + piece, len(left), "" if n else None, _CODE_FILL, n_code, len(margin.rest))


def _folded(text: str, width: int) -> list[tuple[int, int]]:
    """Code is cut at the cell, so that nothing of it is lost or moved."""
    if cell_len(text) <= width:
        return [(0, len(text))]
    return [(a, b) for a, b, _ in chop(text, width)]


# ---- tables ---------------------------------------------------------------------------------------------------------


def column_widths(natural: list[int], smallest: list[int], room: int) -> list[int] | None:
    """Cells per column, or None when the columns can't stand side by side.

    Wide columns give way first, down to their longest word (at most 12 cells), so that narrow ones stay whole.
    """
    if sum(natural) <= room:
        return natural
    if sum(smallest) > room:
        return None
    widths = list(natural)
    while (excess := sum(widths) - room) > 0:
        shrinkable = [i for i, w in enumerate(widths) if w > smallest[i]]
        widest = max(widths[i] for i in shrinkable)
        top = [i for i in shrinkable if widths[i] == widest]
        floor = max([widths[i] for i in shrinkable if widths[i] < widest] + [smallest[i] for i in top])
        cut = max(1, min(widest - floor, excess // len(top)))
        for i in top[: max(1, min(len(top), excess // cut))]:
            widths[i] -= min(cut, widths[i] - smallest[i])
    return widths


def _table_rows(table: Table, width: int) -> Iterator[Row]:
    margin = _fitting(table.margin, width)
    n = len(table.header)
    room = width - margin.rest.cell_length - 3 * (n - 1)
    columns = [[table.header[i], *(row[i] for row in table.rows)] for i in range(n)]
    natural = [max(1, *(cell.cell_length for cell in column)) for column in columns]
    smallest = [max(1, min(12, *[max(_longest_word(c.plain) for c in column)])) for column in columns]
    widths = column_widths(natural, smallest, room)
    if widths is None:
        yield from _record_rows(table, margin, width)
        return
    rule = Content.styled("─┼─".join("─" * w for w in widths), MUTED)
    first = margin.first
    header = tuple(cell.stylize("bold") for cell in table.header)
    for row in _grid(header, widths, table.aligns):
        yield Row(first + row, len(first))
        first = margin.rest
    yield Row(margin.rest + rule, len(margin.rest))
    tall = any(c.cell_length > w for row in table.rows for c, w in zip(row, widths, strict=True))
    for i, cells in enumerate(table.rows):
        if tall and i:
            yield Row(margin.rest + Content.styled("─┼─".join("─" * w for w in widths), "$md-faint"), len(margin.rest))
        for row in _grid(cells, widths, table.aligns):
            yield Row(margin.rest + row, len(margin.rest))


def _longest_word(text: str) -> int:
    return max((cell_len(word) for word in text.split()), default=1)


def _grid(cells: tuple[Content, ...], widths: list[int], aligns: tuple[str, ...]) -> Iterator[Content]:
    """The rows of one table row: cells wrapped, padded and set side by side."""
    wrapped = [[cell[a:b] for a, b in wrap(cell.plain, w)] for cell, w in zip(cells, widths, strict=True)]
    bar = Content.styled(" │ ", "$md-faint")
    for k in range(max(len(lines) for lines in wrapped)):
        parts = [
            _aligned(lines[k] if k < len(lines) else EMPTY, w, align)
            for lines, w, align in zip(wrapped, widths, aligns, strict=True)
        ]
        yield bar.join(parts)


def _aligned(cell: Content, width: int, align: str) -> Content:
    space = max(0, width - cell.cell_length)
    left = space if align == "right" else space // 2 if align == "center" else 0
    return cell.pad(left, space - left)


def _record_rows(table: Table, margin: Margin, width: int) -> Iterator[Row]:
    """A table too wide for the screen: one block per row, one line per cell, named by its column."""
    left = margin.first
    for k, cells in enumerate(table.rows or ((EMPTY,) * len(table.header),)):
        if k:
            yield Row(margin.rest + Content.styled("─" * min(8, width), "$md-faint"), len(margin.rest))
        for name, cell in zip(table.header, cells, strict=True):
            hang = Margin(left, margin.rest + Content("  "))
            yield from _wrapped(hang, name.stylize("bold") + Content.styled(": ", MUTED) + cell, width)
            left = margin.rest
