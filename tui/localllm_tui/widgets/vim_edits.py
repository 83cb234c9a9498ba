"""What vim's commands change in a text area, and the register they cut into."""

from __future__ import annotations

from collections.abc import Callable

from textual.widgets import TextArea
from textual.widgets.text_area import Location

from localllm_tui.widgets.vim_motions import first_letter, left, right


class Edits:
    """Changes of one text area, and where its cursor stands after them.

    Args:
        area: The text area.
        insert: Called when the user goes on writing.
    """

    def __init__(self, area: TextArea, insert: Callable[[], None]) -> None:
        self._area = area
        self._insert = insert
        self._register = ""
        self._by_lines = False
        """The register holds whole lines."""

    def line(self, row: int) -> str:
        """The text of a line."""
        return str(self._area.document.get_line(row))

    @property
    def last_row(self) -> int:
        """The number of the last line."""
        return self._area.document.line_count - 1

    def go(self, place: Location) -> None:
        """Put the cursor there."""
        self._area.move_cursor(place)

    def on_character(self, place: Location) -> Location:
        """The place, or the last character of its line, or of the text, where it is behind that."""
        row, column = min(place[0], self.last_row), place[1]
        return row, min(column, max(0, len(self.line(row)) - 1))

    def change(self, text: str, start: Location, end: Location) -> Location:
        """Put a text in place of another; where it ends."""
        return self._area.replace(text, start, end, maintain_selection_offset=False).end_location

    def on_text(self, operator: str, start: Location, end: Location) -> None:
        """Delete (``d``), change (``c``) or copy (``y``) characters."""
        self._register, self._by_lines = self._area.get_text_range(start, end), False
        if operator != "y":
            self.change("", start, end)
        self.go(start if operator == "c" else self.on_character(start))
        if operator == "c":
            self._insert()

    def on_lines(self, operator: str, top: int, bottom: int) -> None:
        """Delete, change or copy whole lines, the last one included."""
        self._register = "\n".join(self.line(row) for row in range(top, bottom + 1))
        self._by_lines = True
        if operator == "c":
            self.change("", (top, 0), (bottom, len(self.line(bottom))))
            self.go((top, 0))
            self._insert()
        elif operator == "d":
            start, end = (top, 0), (bottom + 1, 0)
            if bottom == self.last_row:  # the line break before the lines goes with them
                start = (top - 1, len(self.line(top - 1))) if top else (0, 0)
                end = (bottom, len(self.line(bottom)))
            self.change("", start, end)
            self.go(first_letter(self._area.document, (min(top, self.last_row), 0)))

    def put(self, behind: bool, times: int) -> None:
        """What is in the register, behind the cursor or before it."""
        row, column = self._area.cursor_location
        text = self._register
        if not text:
            return
        if self._by_lines:
            text = "\n".join([text] * times)
            place = (row, len(self.line(row))) if behind else (row, 0)
            self.change(f"\n{text}" if behind else f"{text}\n", place, place)
            self.go(first_letter(self._area.document, (row + 1 if behind else row, 0)))
        else:
            place = right(self._area.document, (row, column)) if behind else (row, column)
            self.go(left(self._area.document, self.change(text * times, place, place)))

    def put_over(self, start: Location, end: Location) -> None:
        """What is in the register, in place of a text."""
        if self._register:
            self.go(left(self._area.document, self.change(self._register, start, end)))
