"""Blocks of a Markdown text: what is shown, before any width is known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from markdown_it.token import Token
from textual.content import Content, Span
from textual.style import Style

from localllm_tui.markdown import parser
from localllm_tui.markdown.latex import to_unicode

EMPTY = Content("")
MUTED = "$md-muted"
"""A colour of its own: `$text-muted` is relative to what lies below it, which text can't know."""
_BULLETS = "•◦▪"
_CITATION = re.compile(r"\[(\d{1,2})\](?!\()")
UNSUPPORTED_START, UNSUPPORTED_END = "\ue0f0", "\ue0f1"
"""Private characters around a sentence that no passage supports; the renderer takes them out."""


@dataclass(frozen=True, slots=True)
class Margin:
    """What stands before the text of a block: on its first row, and on the rows behind it."""

    first: Content = EMPTY
    rest: Content = EMPTY


@dataclass(frozen=True, slots=True)
class Line:
    """One line of prose, wrapped by words under its margin."""

    margin: Margin
    body: Content
    gap: Content | None = None
    """The margin of a blank row before it, or None for no such row."""


@dataclass(frozen=True, slots=True)
class Code:
    """A fenced or indented code block."""

    margin: Margin
    text: str
    language: str
    closed: bool
    """Highlighted only once it is closed."""
    gap: Content | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A table; every row has as many cells as the header."""

    margin: Margin
    header: tuple[Content, ...]
    rows: tuple[tuple[Content, ...], ...]
    aligns: tuple[str, ...]
    gap: Content | None = None


@dataclass(frozen=True, slots=True)
class Break:
    """A horizontal line."""

    margin: Margin
    gap: Content | None = None


Item = Line | Code | Table | Break


@dataclass(frozen=True, slots=True)
class Block:
    """One top-level block of the document."""

    items: tuple[Item, ...]
    line: int
    """First source line, counted from 0 in the text that was parsed."""
    doubtful: bool = False
    """A formula without its end: further text may show that it was none, and belonged to the block before it."""


@dataclass(slots=True)
class _Walker:
    """Builds items while walking the tokens of one top-level block."""

    finished: bool
    items: list[Item] = field(default_factory=list)
    margins: list[tuple[Content, Content]] = field(default_factory=list)
    """Open quotes and list items: what to print once, and what to print from then on."""
    lists: list[list[int]] = field(default_factory=list)
    """Open lists: [next number or -1, tight, items so far, width of the widest number]."""
    gap_depth: int = -1
    """Margins that the blank row before the next item keeps; -1 for no blank row."""

    @property
    def gap(self) -> bool:
        return self.gap_depth >= 0

    @gap.setter
    def gap(self, wanted: bool) -> None:
        self.gap_depth = len(self.margins) if wanted else -1

    def margin(self) -> Margin:
        first = rest = EMPTY
        for i, (once, always) in enumerate(self.margins):
            first, rest = first + once, rest + always
            self.margins[i] = (always, always)
        return Margin(first, rest)

    def take_gap(self) -> Content | None:
        depth, self.gap_depth = self.gap_depth, -1
        if depth < 0 or not self.items:
            return None
        return EMPTY.join([always for _, always in self.margins[:depth]])

    def walk(self, tokens: Sequence[Token]) -> None:
        i = 0
        while i < len(tokens):
            i = self.take(tokens, i)

    def take(self, tokens: Sequence[Token], i: int) -> int:
        token = tokens[i]
        match token.type:
            case "heading_open":
                style = "bold $accent" if token.tag in ("h1", "h2") else "bold"
                self.prose(tokens[i + 1], style)
                return i + 3
            case "paragraph_open":
                self.prose(tokens[i + 1], "")
                self.gap = not token.hidden
                return i + 3
            case "fence" | "code_block":
                self.code(token)
            case "math_block":
                self.formula(token)
            case "hr":
                self.items.append(Break(self.margin(), self.take_gap()))
                self.gap = True
            case "blockquote_open":
                bar = Content.styled("▎ ", MUTED)
                self.margins.append((bar, bar))
            case "blockquote_close":
                self.margins.pop()
                self.gap = True
            case "bullet_list_open" | "ordered_list_open":
                self.open_list(tokens, i)
            case "bullet_list_close" | "ordered_list_close":
                self.lists.pop()
                self.gap = not (self.lists and self.lists[-1][1])
            case "list_item_open":
                self.open_item()
            case "list_item_close":
                once, always = self.margins.pop()
                if once is not always:  # an empty item
                    self.margins.append((once, always))
                    self.items.append(Line(self.margin(), EMPTY, self.take_gap()))
                    self.margins.pop()
                self.gap = not self.lists[-1][1]
            case "table_open":
                return self.table(tokens, i)
        return i + 1

    def prose(self, inline: Token, style: str) -> None:
        body = content_of(inline.content)
        for n, line in enumerate(body.split("\n", allow_blank=True) if "\n" in body.plain else [body]):
            self.items.append(Line(self.margin(), line.stylize_before(style), self.take_gap() if n == 0 else None))
        self.gap = True

    def code(self, token: Token) -> None:
        closed = True
        if token.type == "fence" and not self.finished and token.map is not None:
            # An open fence spans the rest of the text: markdown-it counts its last line in only when it was closed.
            closed = token.meta.get("closed", True) if token.meta else True
        language = _language(token.info)
        text = token.content.removesuffix("\n").expandtabs(4)
        self.items.append(Code(self.margin(), text, language, closed, self.take_gap()))
        self.gap = True

    def formula(self, token: Token) -> None:
        shown = to_unicode(token.content) if token.info == "closed" else None
        if shown is None:
            closing = {"$$": "$$", "\\[": "\\]"}[token.markup] if token.info == "closed" else ""
            shown = f"{token.markup}\n{token.content}\n{closing}".strip() if token.content else token.markup
            style = MUTED
        else:
            style, shown = "italic", "\n".join("    " + line.strip() for line in shown.split("\n"))
        for n, line in enumerate(shown.expandtabs(4).split("\n")):
            self.items.append(Line(self.margin(), Content.styled(line, style), self.take_gap() if n == 0 else None))
        self.gap = True

    def open_list(self, tokens: Sequence[Token], i: int) -> None:
        token, level = tokens[i], tokens[i].level
        number = int(token.attrGet("start") or 1) if token.type.startswith("ordered") else -1
        count, tight = 0, 1
        for later in tokens[i + 1 :]:
            if later.level == level and later.type.endswith("_list_close"):
                break
            if later.level == level + 1 and later.type == "list_item_open":
                count += 1
            if later.level == level + 2 and later.type == "paragraph_open" and not later.hidden:
                tight = 0
        width = len(str(number + count - 1)) if number >= 0 else 0
        if self.lists:
            self.gap = self.gap and not self.lists[-1][1]
        self.lists.append([number, tight, 0, width])

    def open_item(self) -> None:
        number, _, _, width = self.lists[-1]
        if number >= 0:
            mark = f"{number:>{width}}. "
            self.lists[-1][0] += 1
        else:
            depth = sum(1 for entry in self.lists if entry[0] < 0) - 1
            mark = _BULLETS[depth % len(_BULLETS)] + " "
        self.margins.append((Content.styled(mark, MUTED), Content(" " * len(mark))))

    def table(self, tokens: Sequence[Token], i: int) -> int:
        rows: list[list[Content]] = []
        aligns: list[str] = []
        while tokens[i].type != "table_close":
            token = tokens[i]
            if token.type == "tr_open":
                rows.append([])
            elif token.type in ("th_open", "td_open"):
                content = content_of(tokens[i + 1].content)
                rows[-1].append(EMPTY.join(_with_spaces(content)))
                if token.type == "th_open":
                    style = str(token.attrGet("style") or "")
                    aligns.append(style.removeprefix("text-align:") or "left")
            i += 1
        header, *body = rows
        width = len(header)
        filled = tuple(tuple((row + [EMPTY] * width)[:width]) for row in body)
        self.items.append(Table(self.margin(), tuple(header), filled, tuple(aligns), self.take_gap()))
        self.gap = True
        return i + 1


def parse(text: str, finished: bool = True) -> list[Block]:
    """The top-level blocks of a clean Markdown text.

    Args:
        text: The source; lines end with a newline.
        finished: False while more may follow: an open fence is then shown plain.
    """
    all_tokens = parser.tokens(text)
    lines = text.split("\n")
    blocks: list[Block] = []
    for group in _top_level(all_tokens):
        for token in group:
            if token.type == "fence":
                token.meta = {"closed": _is_closed(token, lines)}
        walker = _Walker(finished)
        walker.walk(group)
        start = group[0].map[0] if group[0].map else 0
        doubtful = group[0].type == "math_block" and group[0].info != "closed"
        blocks.append(Block(tuple(walker.items), start, doubtful))
    return blocks


def _top_level(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    group: list[Token] = []
    depth = 0
    for token in tokens:
        group.append(token)
        depth += token.nesting
        if depth == 0:
            yield group
            group = []


def _is_closed(token: Token, lines: Sequence[str]) -> bool:
    if token.map is None:
        return True
    last = lines[token.map[1] - 1] if token.map[1] - 1 < len(lines) else ""
    stripped = last.strip().lstrip("> ").strip()
    return token.map[1] - token.map[0] > 1 and stripped.startswith(token.markup) and not stripped.strip(token.markup[0])


def _language(info: str) -> str:
    word = info.strip().split(maxsplit=1)[0] if info.strip() else ""
    return re.sub(r"[^\w+#.-]", "", word)[:20]


def _with_spaces(content: Content) -> list[Content]:
    """A cell holds one line: breaks in it become spaces."""
    parts: list[Content] = []
    for line in content.split("\n"):
        if parts:
            parts.append(Content(" "))
        parts.append(line)
    return parts


# ---- inline ---------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def content_of(source: str) -> Content:
    """Styled text of one paragraph, heading or cell. Remembered: a list that grows is read again with every piece."""
    return inline_content(parser.inline_tokens(source))


def inline_content(tokens: Sequence[Token]) -> Content:
    """Styled text of inline tokens; line breaks are newlines."""
    text: list[str] = []
    spans: list[Span] = []
    open_spans: list[tuple[int, str]] = []
    links: list[tuple[int, str]] = []
    position = 0

    def add(piece: str, style: str | Style = "") -> None:
        nonlocal position
        if not piece:
            return
        text.append(piece)
        if style:
            spans.append(Span(position, position + len(piece), style))
        position += len(piece)

    def close() -> None:
        start, style = open_spans.pop()
        if position > start:
            spans.append(Span(start, position, style))

    for token in tokens:
        match token.type:
            case "text":
                start = position
                add(token.content.replace("\t", "    "))
                for match in _CITATION.finditer(token.content):
                    style = Style(bold=True).from_meta({"@click": f"citation({match[1]})", "citation": int(match[1])})
                    spans.append(Span(start + match.start(), start + match.end(), "bold $accent"))
                    spans.append(Span(start + match.start(), start + match.end(), style))
            case "code_inline":
                add(token.content.replace("\t", "    "), "$md-code on $md-code-background")
            case "softbreak" | "hardbreak":
                add("\n")
            case "math_inline":
                shown = to_unicode(token.content)
                if shown is None:
                    closing = {"$": "$", "$$": "$$", "\\(": "\\)", "\\[": "\\]"}[token.markup]
                    add(f"{token.markup}{token.content}{closing}", MUTED)
                else:
                    add(shown.replace("\n", " "), "italic")
            case "strong_open":
                open_spans.append((position, "bold"))
            case "em_open":
                open_spans.append((position, "italic"))
            case "s_open":
                open_spans.append((position, "strike"))
            case "strong_close" | "em_close" | "s_close":
                close()
            case "link_open":
                links.append((position, str(token.attrGet("href") or "")))
                open_spans.append((position, "underline"))
            case "link_close":
                close()
                start, href = links.pop()
                label = "".join(text)[start:] if len(href) < 2000 else ""
                if href and href not in (label, f"mailto:{label}", f"http://{label}"):
                    add(f" ({href})", MUTED)
            case "image":
                add(f"▣ {token.content or 'image'} ({token.attrGet('src')})", MUTED)
            case _:
                add(token.content)
    return _mark_unsupported(Content("".join(text), spans, strip_control_codes=False))


def _mark_unsupported(content: Content) -> Content:
    """Turn the private marks around unsupported sentences into a style, and take them out."""
    plain = content.plain
    if UNSUPPORTED_START not in plain and UNSUPPORTED_END not in plain:
        return content
    parts = content.divide([i for at, c in enumerate(plain) if c in _MARKS for i in (at, at + 1)])
    kept: list[Content] = []
    inside = UNSUPPORTED_START not in plain
    for part in parts:
        if part.plain in _MARKS:
            inside = part.plain == UNSUPPORTED_START
            if not inside:
                kept.append(Content.styled(" ⁇", "bold $warning"))
        else:
            kept.append(part.stylize("underline") if inside else part)
    return EMPTY.join(kept)


_MARKS = (UNSUPPORTED_START, UNSUPPORTED_END)
