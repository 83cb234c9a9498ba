"""One message of the transcript, drawn row by row in a single widget.

A widget per paragraph makes a long chat take seconds per change of focus. Here a message is one widget whatever it
holds: its rows come from `markdown.layout`, and only those on the screen are ever turned into strips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.segment import Segment
from textual.content import Content
from textual.geometry import Region, Size
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget

from localllm.assistant.thought import CLOSE, OPEN
from localllm.counted import counted
from localllm.events import FinishReason, Role
from localllm.history import MessageState, StoredMessage
from localllm_tui.markdown.blocks import EMPTY, MUTED, Code
from localllm_tui.markdown.clean import clean, clean_line
from localllm_tui.markdown.layout import Row, count_code, rows_of
from localllm_tui.markdown.wrap import wrap
from localllm_tui.widgets.message_head import actions_row, head_row, link, name_of, thought_for
from localllm_tui.widgets.reply_text import ReplyText, with_marks

if TYPE_CHECKING:
    from textual.visual import VisualType


class MessageView(Widget, can_focus=True):
    """Shows a stored message, or one that grows.

    Args:
        message: The message.
        place: Its place among its alternatives, from 1, and how many there are.
        speaker: Name over an answer whose model is not known yet.
    """

    def __init__(self, message: StoredMessage, place: tuple[int, int] = (1, 1), speaker: str = "") -> None:
        super().__init__(classes=f"message -{message.role.value}")
        self.message = message
        self.place = place
        self.speaker = speaker
        self.status = ""
        """One line below a growing answer: loading, reading, or nothing."""
        self.show_reasoning = False
        self.rows_ahead = 0
        """Rows that a growing answer takes in advance whenever it needs one: laying out the screen is dear."""
        self._reserved = 0
        self.streaming = message.state is MessageState.STREAMING
        self._load_text()
        self._width = 0
        self._ansi = False
        self._frozen: list[Row] = []
        self._n_frozen = 0
        self._n_code = 0
        self._rows: list[Row] | None = None
        self._strips: dict[int, tuple[Row, Strip]] = {}
        """What was drawn of each row."""

    def _load_text(self) -> None:
        marked = with_marks(self.message.content, self.message.unsupported)
        if self.message.role is Role.USER:
            # What a user typed is shown as typed: line breaks count, and nothing is a heading by accident.
            self._reply: ReplyText | None = None
            self._plain = clean(self.message.content).expandtabs(4)
        else:
            self._plain = ""
            self._reply = ReplyText(marked)
            if not self.streaming:
                self._reply.finish()

    # ---- what it shows ----------------------------------------------------------------------------------------------

    def show(self, message: StoredMessage, place: tuple[int, int]) -> None:
        """Another state of the message, as the history has it."""
        same = (
            self._reply is not None
            and message.id == self.message.id
            and message.content == self.message.content + self._fed
            and not message.unsupported
            and not self.message.unsupported
        )
        if message.role is not self.message.role:
            self.set_classes(f"message -{message.role.value}")
        self.streaming = message.state is MessageState.STREAMING
        self.message, self.place, self.status, self._fed = message, place, "", ""
        if same and self._reply is not None:
            if not self.streaming:
                self._reply.finish()
            self._rows = None
        else:
            self._load_text()
            self._forget_rows()
        self.draw()

    _fed = ""

    def feed(self, text: str) -> None:
        """More of a growing answer; nothing is laid out before `draw`."""
        if self._reply is not None:
            self._fed += text
            self._reply.feed(text)

    def replace_text(self, text: str) -> None:
        """The answer was taken back to this text."""
        self._reply = ReplyText(with_marks(text, ()))
        self._fed = text.removeprefix(self.message.content)
        self._forget_rows()
        self.draw()

    def draw(self) -> None:
        """Lay out what is new and show it: rows that stayed as they were are not drawn again."""
        before, width = self._rows, self._width
        self._rows = None
        if before is None or not width or not self.is_mounted:
            self.refresh(layout=True)
            return
        rows = self._lay_out(width)
        if self._height_of(rows) != self.size.height:
            self.refresh(layout=True)
            return
        both = min(len(rows), len(before))
        first = next((y for y in range(both) if not same_row(before[y], rows[y])), both)
        if n := max(len(rows), len(before)) - first:
            self.refresh(Region(0, first, self.size.width, n))

    @property
    def name_shown(self) -> str:
        """Who speaks, as it stands over the text."""
        return name_of(self.message, self.speaker)

    @property
    def text(self) -> str:
        """The answer without reasoning, or the question: what copying gives."""
        if self.message.role is Role.USER:
            return self.message.content
        text = self.message.content + self._fed
        head, mark, rest = text.partition(CLOSE)
        return rest.lstrip("\n") if mark and head.lstrip().startswith(OPEN) else text

    @property
    def code_blocks(self) -> list[Code]:
        """The code blocks of the answer, in order."""
        if self._reply is None:
            return []
        return [item for block in self._reply.answer.blocks for item in block.items if isinstance(item, Code)]

    @property
    def has_reasoning(self) -> bool:
        """The model thought aloud before it answered."""
        return self._reply is not None and bool(self._reply.reasoning or self._reply.thinking)

    # ---- layout -----------------------------------------------------------------------------------------------------

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """As wide as there is room."""
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Rows at this width."""
        return self._height_of(self._lay_out(width))

    def _height_of(self, rows: list[Row]) -> int:
        if not self.streaming:
            return len(rows)
        if len(rows) > self._reserved:
            self._reserved = len(rows) + self.rows_ahead
        return self._reserved

    def _forget_rows(self) -> None:
        self._frozen, self._n_frozen, self._n_code = [], 0, 0
        self._rows, self._reserved = None, 0
        self._strips.clear()

    def _lay_out(self, width: int) -> list[Row]:
        ansi = self.app.current_theme.ansi or self.app.current_theme.name.startswith("ansi")
        if width != self._width or ansi != self._ansi:
            self._width, self._ansi = width, ansi
            self._forget_rows()
        if self._rows is not None:
            return self._rows
        head = [head_row(self.message, self.place, width, self.speaker), *self._reasoning_rows(width)]
        body = self._plain_rows(width) if self._reply is None else self._reply_rows(self._reply, width)
        self._rows = [*head, *body, *self._foot_rows(width)]
        return self._rows

    def _reply_rows(self, reply: ReplyText, width: int) -> list[Row]:
        frozen = reply.answer.frozen
        for block in frozen[self._n_frozen :]:
            if self._n_frozen:
                self._frozen.append(Row(EMPTY))
            self._frozen += rows_of(block, width, ansi=self._ansi, first_code=self._n_code)
            self._n_code += count_code(block)
            self._n_frozen += 1
        tail: list[Row] = []
        n_code = self._n_code
        for block in reply.answer.tail:
            if tail or self._frozen:
                tail.append(Row(EMPTY))
            tail += rows_of(block, width, ansi=self._ansi, first_code=n_code)
            n_code += count_code(block)
        return self._frozen + tail

    def _plain_rows(self, width: int) -> list[Row]:
        rows: list[Row] = []
        for line in self._plain.rstrip("\n").split("\n"):
            spans, before = wrap(line, width), 0
            for n, (start, end) in enumerate(spans):
                rows.append(Row(Content(line[start:end]), 0, line[before:start] if n else None))
                before = end
        return rows

    def _reasoning_rows(self, width: int) -> list[Row]:
        if self._reply is None or not self.has_reasoning:
            return []
        thought = self._reply.shown_reasoning
        mark = "▾" if self.show_reasoning else "▸"
        seconds = self.message.stats.thinking_seconds if self.message.stats is not None else 0.0
        said = "Thinking" if self._reply.thinking else thought_for(seconds)
        label = Content.styled(f"{mark} {said}, {counted(len(thought.split()), 'word')}", MUTED)
        rows = [Row(label.stylize(Style.from_meta({"@click": "toggle_reasoning"})))]
        if self.show_reasoning:
            bar = Content.styled("▎ ", MUTED)
            for line in thought.split("\n"):
                for n, (start, end) in enumerate(wrap(line, max(1, width - 2))):
                    rows.append(Row(bar + Content.styled(line[start:end], "italic $md-muted"), 2, " " if n else None))
        rows.append(Row(EMPTY))
        return rows

    def _foot_rows(self, width: int) -> list[Row]:
        notes: list[tuple[str, str]] = []
        if self.streaming:
            if self.status:
                notes.append((f"… {self.status}", MUTED))
        elif self.message.role is Role.ASSISTANT:
            notes += _ending(self.message)
            notes += [(f"! {clean_line(note)}", "$warning") for note in self.message.notes]
        rows: list[Row] = []
        for text, style in notes:
            for start, end in wrap(text, width):
                rows.append(Row(Content.styled(text[start:end], style), len(text[start:end])))
        if rows and not self.streaming and can_go_on(self.message):
            link_row = rows[-1].content + link("   Continue", f"screen.continue_message({self.message.id})", "bold")
            if link_row.cell_length <= width:
                rows[-1] = Row(link_row, len(link_row))
        if rows and (self._plain or (self._reply is not None and self._reply.answer.blocks)):
            rows.insert(0, Row(EMPTY))
        if not self.streaming and self.has_focus and (actions := actions_row(self.message, width)) is not None:
            rows += [Row(EMPTY), Row(actions, len(actions))]
        return rows

    def watch_has_focus(self, has_focus: bool) -> None:
        """The row of actions comes and goes with the focus."""
        super().watch_has_focus(has_focus)
        self.draw()

    async def action_citation(self, n: int) -> None:
        """A mark was clicked."""
        await self.run_action(f"screen.citation({n}, {self.message.id})")

    def action_toggle_reasoning(self) -> None:
        """Show or hide what the model thought."""
        if self.has_reasoning:
            self.show_reasoning = not self.show_reasoning
            self.draw()

    # ---- drawing ----------------------------------------------------------------------------------------------------

    def notify_style_update(self) -> None:
        """Colours changed: draw the strips anew."""
        self._strips.clear()
        super().notify_style_update()

    def selection_updated(self, selection: Selection | None) -> None:
        """Mark what is selected."""
        self._strips.clear()
        self.refresh()

    def render(self) -> VisualType:
        """Rows are drawn by `render_line`."""
        return EMPTY

    def render_line(self, y: int) -> Strip:
        """One row of the message."""
        rows = self._rows if self._rows is not None else self._lay_out(self._width or self.size.width)
        width = self.size.width
        base = self.visual_style
        if y >= len(rows):
            return Strip.blank(width, base.rich_style)
        row, kept = rows[y], self._strips.get(y)
        if kept is not None and kept[1].cell_length == width and same_row(kept[0], row):
            return kept[1]
        strip = self._strip(row, y, width, base)
        self._strips[y] = row, strip
        return strip

    def _strip(self, row: Row, y: int, width: int, base: Style) -> Strip:
        content = row.content
        room = width - content.cell_length
        if row.fill:
            content = content.pad_right(max(0, room)).stylize_before(row.fill, row.fill_start)
        if (selection := self.text_selection) is not None and (span := selection.get_span(y)) is not None:
            start, end = span
            style = Style.from_styles(self.screen.get_component_styles("screen--selection"))
            content = content.stylize(style, start, len(row.content) if end < 0 else min(end, len(row.content)))
        segments: list[Segment] = []
        x = 0
        for text, style in content.render(base, end="", parse_style=self._get_style):
            segments.append(Segment(text, (base + style).rich_style_with_offset(x, y)))
            x += len(text)
        return Strip(segments).adjust_cell_length(width, base.rich_style)

    # ---- selection --------------------------------------------------------------------------------------------------

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text, with the line breaks of the source and not of the screen."""
        out: list[str] = []
        for y, row in enumerate(self._rows or []):
            if (span := selection.get_span(y)) is None:
                continue
            start, end = span
            plain = row.content.plain
            if row.start >= len(plain) and plain.strip():  # labels and buttons are no text
                continue
            if row.joins is not None or row.code is not None:
                start = max(start, row.start)
            piece = plain[start : len(plain) if end < 0 else end]
            if out:
                out.append(row.joins if row.joins is not None else "\n")
            out.append(piece if row.joins is not None else piece.rstrip())
        return "".join(out), "\n"


def same_row(one: Row, other: Row) -> bool:
    """Whether two rows look the same; contents compare equal when their texts do, whatever their styles."""
    return one is other or (one == other and one.content.spans == other.content.spans)


def can_go_on(message: StoredMessage) -> bool:
    """Whether an answer ended before its end."""
    return message.state is MessageState.STREAMING or message.reason in (FinishReason.CANCELLED, FinishReason.LENGTH)


def _ending(message: StoredMessage) -> list[tuple[str, str]]:
    """Why an answer ended, where that is worth saying."""
    if message.state is MessageState.ERROR:
        return [(f"✗ {clean_line(message.reason)}", "$error")]
    if message.reason == FinishReason.CANCELLED:
        return [("■ Stopped. The text is kept.", MUTED)]
    if message.reason == FinishReason.LENGTH:
        return [("■ Cut off: the token budget or the context window is used up.", "$warning")]
    if message.reason == FinishReason.RULE:
        return [("✗ A rule is broken.", "$error")]
    if message.reason == FinishReason.REFUSED:
        return [("■ Not answered by the model.", MUTED)]
    if message.state is MessageState.STREAMING:
        return [("■ Interrupted. The text is kept.", MUTED)]
    return []
