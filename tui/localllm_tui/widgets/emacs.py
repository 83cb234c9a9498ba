"""emacs's keys in a text area, as far as Textual's own don't do the same already."""

from __future__ import annotations

from collections.abc import Callable

from textual.widgets import TextArea

EMACS_KEYS = (
    ("Ctrl+F Ctrl+B Ctrl+N Ctrl+P", "right, left, down, up"),
    ("Alt+F Alt+B", "by words"),
    ("Ctrl+A Ctrl+E Alt+< Alt+>", "start and end, of the line and of the text"),
    ("Ctrl+D Alt+D Ctrl+K", "cut the character, the word, the rest of the line"),
    ("Ctrl+Space Ctrl+W Alt+W Ctrl+Y", "mark, cut and copy what is marked, put back"),
    ("Ctrl+T Ctrl+_", "swap two characters, undo"),
)
"""What the prompt knows, for the docs."""


class EmacsKeys:
    """Takes keys of a text area; what was cut last can be put back.

    Args:
        area: The text area.
    """

    def __init__(self, area: TextArea) -> None:
        self._area = area
        self._cut = ""
        self._marking = False

    def press(self, key: str) -> bool:
        """Do what the key means; False where it means nothing here."""
        act = _MEANINGS.get(key)
        if act is None:
            self._marking = False
            return False
        act(self)
        return True

    def _move(self, action: str) -> None:
        getattr(self._area, f"action_cursor_{action}")(self._marking)

    def _to(self, end: bool) -> None:
        self._area.move_cursor(self._area.document.end if end else (0, 0), select=self._marking)

    def _mark(self) -> None:
        self._marking = True
        self._area.move_cursor(self._area.cursor_location)

    def _kill(self, motion: str) -> None:
        area = self._area
        start = area.cursor_location
        end = getattr(area, f"get_cursor_{motion}_location")()
        if end == start and motion == "line_end" and start[0] < area.document.line_count - 1:
            end = (start[0] + 1, 0)
        self._take(start, end)

    def _take(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        if start != end:
            self._cut = self._area.get_text_range(*sorted((start, end)))
            self._area.replace("", start, end, maintain_selection_offset=False)
        self._marking = False

    def _region(self, keep: bool) -> None:
        area = self._area
        if area.selection.is_empty:
            if not keep:
                self._kill("word_left")
            return
        if keep:
            self._cut, self._marking = area.selected_text, False
            area.move_cursor(area.cursor_location)
        else:
            self._take(*area.selection)

    def _yank(self) -> None:
        self._marking = False
        self._area.replace(self._cut, *self._area.selection, maintain_selection_offset=False)

    def _swap(self) -> None:
        row, column = self._area.cursor_location
        line = str(self._area.document.get_line(row))
        column = min(column, len(line) - 1)
        if column >= 1:
            pair = line[column] + line[column - 1]
            self._area.replace(pair, (row, column - 1), (row, column + 1), maintain_selection_offset=False)
            self._area.move_cursor((row, column + 1))


_MEANINGS: dict[str, Callable[[EmacsKeys], None]] = {
    "ctrl+f": lambda keys: keys._move("right"),
    "ctrl+b": lambda keys: keys._move("left"),
    "ctrl+n": lambda keys: keys._move("down"),
    "ctrl+p": lambda keys: keys._move("up"),
    "alt+f": lambda keys: keys._move("word_right"),
    "alt+b": lambda keys: keys._move("word_left"),
    "ctrl+a": lambda keys: keys._move("line_start"),
    "ctrl+e": lambda keys: keys._move("line_end"),
    "alt+less_than_sign": lambda keys: keys._to(end=False),
    "alt+greater_than_sign": lambda keys: keys._to(end=True),
    "ctrl+d": lambda keys: keys._kill("right"),
    "alt+d": lambda keys: keys._kill("word_right"),
    "ctrl+k": lambda keys: keys._kill("line_end"),
    "ctrl+w": lambda keys: keys._region(keep=False),
    "alt+w": lambda keys: keys._region(keep=True),
    "ctrl+y": lambda keys: keys._yank(),
    "ctrl+@": lambda keys: keys._mark(),
    "ctrl+space": lambda keys: keys._mark(),
    "ctrl+t": lambda keys: keys._swap(),
    "ctrl+underscore": lambda keys: keys._area.undo(),
}
