"""vim's normal mode for a text area: motions, operators, counts, marking, search. What is not here changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from textual.widgets import TextArea
from textual.widgets.text_area import DocumentBase, Location, Selection

from localllm_tui.widgets.vim_edits import Edits
from localllm_tui.widgets.vim_motions import BY_LINES, INCLUSIVE, MOTIONS, first_letter, left, moved, occurrence, right

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
    ("v V", "mark characters, lines: motions move one end, o takes the other; then d c y p ~ u U"),
    ("/ ? n N", "find forwards, backwards; again, the other way"),
    ("3 …", "a number repeats what follows"),
)
"""What normal mode knows, for the docs."""
_COMMAND = re.compile(r"([1-9]\d{0,4})?(?:([dcy])([1-9]\d{0,4})?)?(.*)", re.DOTALL)
_COMMAND_ON_MARKED = re.compile(r"([1-9]\d{0,4})?()()(.*)", re.DOTALL)
_NAMED = {"backspace": "h", "delete": "x"}
_NAMED_MARKING = {"left": "h", "right": "l", "up": "k", "down": "j", "home": "0", "end": "$"}
"""Keys that move in the text area itself, where they would end the marking."""
_ON_MARKED = {"d": "d", "x": "d", "y": "y", "c": "c", "s": "c"}
_ON_MARKED_LINES = {"D": "d", "X": "d", "Y": "y", "C": "c", "S": "c", "R": "c"}
_CASES: dict[str, Callable[[str], str]] = {"~": str.swapcase, "u": str.lower, "U": str.upper}
_MOST_TIMES = 10_000


class NormalMode:
    """Takes keys while its text area is not written in.

    Args:
        area: The text area.
        insert: Called when the user goes on writing.
    """

    def __init__(self, area: TextArea, insert: Callable[[], None]) -> None:
        self._area = area
        self._insert = insert
        self._edits = Edits(area, insert)
        self._pending = ""
        """Keys of a command that is not complete."""
        self._marking: Literal["", "v", "V"] = ""
        """What is being marked: nothing, characters, lines."""
        self._anchor: Location = (0, 0)
        self._head: Location = (0, 0)
        """The ends of what is marked, each a character that belongs to it; motions move the head."""
        self._shown = Selection()
        """What is marked, as the text area shows it."""
        self._typed: str | None = None
        """What is searched for, while it is typed."""
        self._sought = ""
        self._forward = True
        self._left_off: Location = (0, 0)
        """Where the search began."""

    @property
    def mark(self) -> str:
        """What stands before the prompt: what keys mean now."""
        if self._typed is not None:
            return ("/" if self._forward else "?") + self._typed
        return self._marking or "N"

    def begin(self) -> None:
        """From writing to commands: the cursor goes onto the last character written, as in vim."""
        self._pending, self._marking, self._typed = "", "", None
        self._go(left(self._text, self._area.cursor_location))

    def cancel(self) -> bool:
        """Forget a search, a command that was begun, or what is marked; False where there is none of them."""
        if self._typed is not None:
            self._look()
            self._typed = None
            self._go(self._left_off)
            return True
        if self._pending:
            self._pending = ""
            return True
        return self._unmark()

    def press(self, key: str) -> bool:
        """One key: a character, or the name of a key. Whether it had a meaning here, which has happened then."""
        self._look()
        if self._typed is not None:
            return self._type(key)
        key = (_NAMED | _NAMED_MARKING if self._marking else _NAMED).get(key, key)
        if len(key) > 1:
            return False
        self._pending += key
        count, operator, twice, rest = _parts(self._pending, _COMMAND_ON_MARKED if self._marking else _COMMAND)
        if not rest or rest == "g" or (rest == "r" and not operator and not self._marking):
            return True
        self._pending = ""
        times = min(count * twice, _MOST_TIMES)
        if operator:
            self._operate(operator, rest, times)
        elif rest in MOTIONS:
            self._go(moved(self._text, self._at, rest, times))
        elif rest in ("/", "?"):
            self._typed, self._forward, self._left_off = "", rest == "/", self._at
        elif rest in ("n", "N"):
            self._seek(self._at, self._sought, self._forward == (rest == "n"))
        elif self._marking:
            self._on_marked(rest)
        else:
            self._command(rest, times)
        return True

    def _look(self) -> None:
        """Nothing is marked any more where the mouse has been, or where there is another text."""
        if self._area.selection != self._shown:
            self._marking = ""

    @property
    def _text(self) -> DocumentBase:
        return self._area.document

    @property
    def _at(self) -> Location:
        return self._head if self._marking else self._area.cursor_location

    def _go(self, place: Location) -> None:
        """The cursor, or the head of what is marked, goes onto a character."""
        if self._marking:
            self._head = self._edits.on_character(place)
            self._area.selection = self._shown = self._marked()
        else:
            self._edits.go(self._edits.on_character(place))

    # ---- finding ----------------------------------------------------------------------------------------------------

    def _type(self, key: str) -> bool:
        """A key while the words to find are typed: the cursor goes along with them."""
        typed = self._typed or ""
        if key == "enter":
            self._sought, self._typed = typed or self._sought, None
            self._seek(self._left_off, self._sought, self._forward)
        elif len(key) == 1 or (key == "backspace" and typed):
            self._typed = typed + key if len(key) == 1 else typed[:-1]
            self._seek(self._left_off, self._typed, self._forward)
        else:
            self.cancel()
            return key == "backspace"
        return True

    def _seek(self, place: Location, text: str, forward: bool) -> None:
        self._go((occurrence(self._text, place, text, forward) if text else None) or place)

    # ---- marking ----------------------------------------------------------------------------------------------------

    def _marked(self) -> Selection:
        """What is marked; the cursor stands at the side of the head."""
        start, end = sorted((self._anchor, self._head))
        if self._marking == "V":
            start, end = (start[0], 0), (end[0], len(self._edits.line(end[0])))
        else:
            end = right(self._text, end)
        return Selection(end, start) if self._head < self._anchor else Selection(start, end)

    def _mark(self, what: Literal["v", "V"]) -> None:
        """Begin to mark, or mark the other kind, or end it where this kind is marked."""
        if self._marking == what:
            self._unmark()
            return
        if not self._marking:
            self._anchor = self._head = self._at
        self._marking = what
        self._go(self._head)

    def _unmark(self) -> bool:
        """Mark nothing any more; False where nothing was marked."""
        was, self._marking = self._marking, ""
        if was:
            self._go(self._head)
        return bool(was)

    def _on_marked(self, key: str) -> None:
        """A command while something is marked."""
        start, end = sorted(self._marked())
        first, by_lines = min(self._anchor, self._head), self._marking == "V"
        if key in ("v", "V"):
            self._mark("v" if key == "v" else "V")
            return
        if key == "o":
            self._anchor, self._head = self._head, self._anchor
            self._go(self._head)
            return
        if key not in {*_ON_MARKED, *_ON_MARKED_LINES, *_CASES, "p", "P"}:
            return
        self._marking = ""
        self._go(first)
        if key in _CASES:
            self._edits.change(_CASES[key](self._area.get_text_range(start, end)), start, end)
            self._go(first)
        elif key in ("p", "P"):
            self._edits.put_over(start, end)
        elif by_lines or key in _ON_MARKED_LINES:
            self._edits.on_lines((_ON_MARKED | _ON_MARKED_LINES)[key], start[0], end[0])
        else:
            self._edits.on_text(_ON_MARKED[key], start, end)

    # ---- commands ---------------------------------------------------------------------------------------------------

    def _operate(self, operator: str, motion: str, times: int) -> None:
        if motion == operator or motion in BY_LINES:
            top = bottom = self._at[0]
            if motion == operator:
                bottom = min(self._edits.last_row, top + times - 1)
            else:
                top, bottom = sorted((top, moved(self._text, self._at, motion, times)[0]))
            self._edits.on_lines(operator, top, bottom)
        elif motion in MOTIONS:
            if operator == "c" and motion == "w":
                motion = "e"  # as in vim: a changed word keeps the space behind it
            there = moved(self._text, self._at, motion, times)
            if motion in INCLUSIVE:
                there = right(self._text, there)
            elif motion == "w" and there[0] > self._at[0]:
                there = self._at[0], len(self._edits.line(self._at[0]))
            self._edits.on_text(operator, *sorted((self._at, there)))

    def _command(self, key: str, times: int) -> None:
        edits, (row, column) = self._edits, self._at
        end = len(edits.line(row))
        match key:
            case "x":
                edits.on_text("d", (row, column), (row, min(end, column + times)))
            case "X":
                edits.on_text("d", (row, max(0, column - times)), (row, column))
            case "D" | "C":
                edits.on_text(key.lower(), (row, column), (row, end))
            case "s":
                edits.on_text("c", (row, column), (row, min(end, column + times)))
            case "S":
                edits.on_lines("c", row, row)
            case "Y":
                edits.on_lines("y", row, min(edits.last_row, row + times - 1))
            case "p" | "P":
                edits.put(key == "p", times)
            case "u" | "U":
                for _ in range(times):
                    self._area.undo() if key == "u" else self._area.redo()
            case "~":
                piece = edits.line(row)[column : column + times]
                edits.change(piece.swapcase(), (row, column), (row, column + len(piece)))
                self._go((row, column + len(piece)))
            case "J" if row < edits.last_row:
                gap = " " if edits.line(row).strip() else ""
                edits.change(gap, (row, end), first_letter(self._text, (row + 1, 0)))
                edits.go((row, end))
            case "i" | "a" | "I" | "A":
                places = {
                    "i": (row, column), "a": right(self._text, (row, column)),
                    "I": first_letter(self._text, (row, column)), "A": (row, end),
                }  # fmt: skip
                edits.go(places[key])
                self._insert()
            case "o" | "O":
                place = (row, end) if key == "o" else (row, 0)
                edits.change("\n", place, place)
                edits.go((row + 1, 0) if key == "o" else (row, 0))
                self._insert()
            case "v" | "V":
                self._mark("v" if key == "v" else "V")
            case _ if key[0] == "r" and len(key) == 2 and column + times <= end:
                edits.change(key[1] * times, (row, column), (row, column + times))
                self._go((row, column + times - 1))
            case _:
                pass


def _parts(keys: str, form: re.Pattern[str]) -> tuple[int, str, int, str]:
    """``2d3w`` is 2, d, 3, w: a count, an operator, its count, and the motion or command; ``0`` alone is a motion."""
    found = form.fullmatch(keys)
    assert found is not None
    count, operator, twice, rest = found.groups()
    return int(count or 1), operator or "", int(twice or 1), rest
