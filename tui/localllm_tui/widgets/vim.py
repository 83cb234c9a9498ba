"""vim's normal mode for a text area: motions, operators, counts. Whatever is not here leaves the text alone."""

from __future__ import annotations

import re
from collections.abc import Callable

from textual.widgets import TextArea
from textual.widgets.text_area import Location

NORMAL_KEYS = (
    ("h j k l", "left, down, up, right"),
    ("w b e", "by words"),
    ("0 ^ $", "start, first letter and end of the line"),
    ("gg G", "first and last line"),
    ("i a I A o O", "write: here, behind, at the start or end of the line, on a new line"),
    ("x X r ~ J", "delete, replace, change case, join lines"),
    ("d c y", "delete, change, copy: with a motion, or doubled for the line; D and C to its end"),
    ("p P", "put back behind, before"),
    ("u U", "undo, redo"),
    ("3 …", "a number repeats what follows"),
)
"""What normal mode knows, for the docs."""
_WORD = re.compile(r"\w+|[^\w\s]+")
_FORWARD = {"e", "$"}
"""Motions that include the character they end on."""
_LINES = {"j", "k", "G", "gg"}
"""Motions that an operator applies to whole lines."""


class NormalMode:
    """Takes keys while its text area is not written in.

    Args:
        area: The text area.
        insert: Called when the user goes on writing.
    """

    def __init__(self, area: TextArea, insert: Callable[[], None]) -> None:
        self._area = area
        self._insert = insert
        self._pending = ""
        self._register = ""
        self._by_lines = False
        """The register holds whole lines."""

    def begin(self) -> None:
        """From writing to commands: the cursor goes onto the last character written, as in vim."""
        self._pending = ""
        row, column = self._area.cursor_location
        self._go((row, max(0, column - 1)))

    def cancel(self) -> bool:
        """Forget a command that was begun; False where there is none."""
        begun, self._pending = bool(self._pending), ""
        return begun

    def press(self, character: str) -> None:
        """One key that writes a character elsewhere."""
        self._pending += character
        count, operator, twice, rest = _parts(self._pending)
        if not rest or rest == "g" or (rest == "r" and not operator):
            return
        self._pending = ""
        times = count * twice
        if operator:
            self._operate(operator, rest, times)
        elif rest in MOTIONS:
            self._go(self._moved(rest, times), clamp=True)
        else:
            self._command(rest, times)

    # ---- places -----------------------------------------------------------------------------------------------------

    @property
    def _at(self) -> Location:
        return self._area.cursor_location

    def _line(self, row: int) -> str:
        return str(self._area.document.get_line(row))

    @property
    def _last_row(self) -> int:
        return self._area.document.line_count - 1

    def _go(self, place: Location, clamp: bool = False) -> None:
        row, column = place
        if clamp:
            column = min(column, max(0, len(self._line(row)) - 1))
        self._area.move_cursor((row, column))

    def _moved(self, motion: str, times: int) -> Location:
        place = self._at
        if motion in ("G", "gg"):
            row = self._last_row if motion == "G" else 0
            return row, 0
        for _ in range(min(times, 10_000)):
            place = MOTIONS[motion](self, place)
        return place

    def _left(self, place: Location) -> Location:
        return place[0], max(0, place[1] - 1)

    def _right(self, place: Location) -> Location:
        return place[0], min(len(self._line(place[0])), place[1] + 1)

    def _up(self, place: Location) -> Location:
        return max(0, place[0] - 1), place[1]

    def _down(self, place: Location) -> Location:
        return min(self._last_row, place[0] + 1), place[1]

    def _start(self, place: Location) -> Location:
        return place[0], 0

    def _first(self, place: Location) -> Location:
        line = self._line(place[0])
        return place[0], len(line) - len(line.lstrip())

    def _end(self, place: Location) -> Location:
        return place[0], max(0, len(self._line(place[0])) - 1)

    def _next_word(self, place: Location) -> Location:
        row, column = place
        for start, _ in self._words(row):
            if start > column:
                return row, start
        if row == self._last_row:
            return row, len(self._line(row))
        return self._first((row + 1, 0))

    def _word_before(self, place: Location) -> Location:
        row, column = place
        before = [start for start, _ in self._words(row) if start < column]
        if before:
            return row, before[-1]
        words = self._words(row - 1) if row else []
        return (row - 1, words[-1][0]) if words else (max(0, row - 1), 0)

    def _word_end(self, place: Location) -> Location:
        row, column = place
        for _, end in self._words(row):
            if end - 1 > column:
                return row, end - 1
        for lower in range(row + 1, self._last_row + 1):
            if words := self._words(lower):
                return lower, words[0][1] - 1
        return self._end(place)

    def _words(self, row: int) -> list[tuple[int, int]]:
        return [match.span() for match in _WORD.finditer(self._line(row))]

    # ---- what changes the text --------------------------------------------------------------------------------------

    def _operate(self, operator: str, motion: str, times: int) -> None:
        if motion == operator or motion in _LINES:
            top = bottom = self._at[0]
            if motion == operator:
                bottom = min(self._last_row, top + times - 1)
            else:
                top, bottom = sorted((top, self._moved(motion, times)[0]))
            self._on_lines(operator, top, bottom)
        elif motion in MOTIONS:
            if operator == "c" and motion == "w":
                motion = "e"  # as in vim: a changed word keeps the space behind it
            there = self._moved(motion, times)
            if motion in _FORWARD:
                there = self._right(there)
            elif motion == "w" and there[0] > self._at[0]:
                there = self._at[0], len(self._line(self._at[0]))
            self._on_text(operator, *sorted((self._at, there)))

    def _on_text(self, operator: str, start: Location, end: Location) -> None:
        self._register, self._by_lines = self._area.get_text_range(start, end), False
        if operator != "y":
            self._area.replace("", start, end, maintain_selection_offset=False)
        self._go(start, clamp=operator != "c")
        if operator == "c":
            self._insert()

    def _on_lines(self, operator: str, top: int, bottom: int) -> None:
        self._register = "\n".join(self._line(row) for row in range(top, bottom + 1))
        self._by_lines = True
        if operator == "c":
            self._area.replace("", (top, 0), (bottom, len(self._line(bottom))), maintain_selection_offset=False)
            self._go((top, 0))
            self._insert()
        elif operator == "d":
            start, end = (top, 0), (bottom + 1, 0)
            if bottom == self._last_row:  # the line break before the lines goes with them
                start = (top - 1, len(self._line(top - 1))) if top else (0, 0)
                end = (bottom, len(self._line(bottom)))
            self._area.replace("", start, end, maintain_selection_offset=False)
            self._go(self._first((min(top, self._last_row), 0)))

    def _put(self, behind: bool, times: int) -> None:
        row, column = self._at
        text = self._register
        if not text:
            return
        if self._by_lines:
            text = "\n".join([text] * times)
            place = (row, len(self._line(row))) if behind else (row, 0)
            self._area.insert(f"\n{text}" if behind else f"{text}\n", place, maintain_selection_offset=False)
            self._go(self._first((row + 1 if behind else row, 0)))
        else:
            place = self._right(self._at) if behind else (row, column)
            done = self._area.insert(text * times, place, maintain_selection_offset=False)
            self._go(self._left(done.end_location))

    def _command(self, key: str, times: int) -> None:
        row, column = self._at
        end = len(self._line(row))
        match key:
            case "x" | "X":
                start, stop = (column, min(end, column + times)) if key == "x" else (max(0, column - times), column)
                self._on_text("d", (row, start), (row, stop))
            case "D" | "C":
                self._on_text(key.lower(), (row, column), (row, end))
            case "s":
                self._on_text("c", (row, column), (row, min(end, column + times)))
            case "S":
                self._on_lines("c", row, row)
            case "Y":
                self._on_lines("y", row, min(self._last_row, row + times - 1))
            case "p" | "P":
                self._put(key == "p", times)
            case "u" | "U":
                for _ in range(times):
                    self._area.undo() if key == "u" else self._area.redo()
            case "~":
                piece = self._line(row)[column : column + times]
                self._area.replace(piece.swapcase(), (row, column), (row, column + len(piece)))
                self._go((row, column + len(piece)), clamp=True)
            case "J" if row < self._last_row:
                gap = " " if self._line(row).strip() else ""
                self._area.replace(gap, (row, end), self._first((row + 1, 0)), maintain_selection_offset=False)
                self._go((row, end))
            case "i" | "a" | "I" | "A":
                places = {"i": (row, column), "a": self._right(self._at), "I": self._first(self._at), "A": (row, end)}
                self._go(places[key])
                self._insert()
            case "o" | "O":
                self._area.insert("\n", (row, end) if key == "o" else (row, 0), maintain_selection_offset=False)
                self._go((row + 1, 0) if key == "o" else (row, 0))
                self._insert()
            case _ if key[0] == "r" and len(key) == 2 and column + times <= end:
                self._area.replace(key[1] * times, (row, column), (row, column + times))
                self._go((row, column + times - 1))
            case _:
                pass


MOTIONS: dict[str, Callable[[NormalMode, Location], Location]] = {
    "h": NormalMode._left,
    "l": NormalMode._right,
    "k": NormalMode._up,
    "j": NormalMode._down,
    "0": NormalMode._start,
    "^": NormalMode._first,
    "$": NormalMode._end,
    "w": NormalMode._next_word,
    "b": NormalMode._word_before,
    "e": NormalMode._word_end,
    "G": NormalMode._start,
    "gg": NormalMode._start,
}


def _parts(keys: str) -> tuple[int, str, int, str]:
    """``2d3w`` is 2, d, 3, w: a count, an operator, its count, and the motion or command; ``0`` alone is a motion."""
    found = re.fullmatch(r"([1-9]\d*)?(?:([dcy])([1-9]\d*)?)?(.*)", keys, re.DOTALL)
    assert found is not None
    count, operator, twice, rest = found.groups()
    return int(count or 1), operator or "", int(twice or 1), rest
