"""The Markdown grammar: CommonMark with tables, strikethrough and formulas, without HTML and reference definitions.

Reference definitions are off because one at the end of an answer would change its finished blocks.
"""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

_BLOCK_MARKS = {"$$": "$$", "\\[": "\\]"}
_INLINE_MARKS = {"$$": "$$", "\\(": "\\)", "\\[": "\\]"}


def tokens(text: str) -> list[Token]:
    """Block tokens of the whole text; of its inline text the source alone, for `inline_tokens`."""
    return _parser(inline=False).parse(text)


def inline_tokens(source: str) -> list[Token]:
    """Tokens of the text of one paragraph, heading or cell. It depends on nothing else: there are no references."""
    return _parser(inline=True).parseInline(source)[0].children or []


@cache
def _parser(*, inline: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable(["table", "strikethrough"])
    parser.disable(["reference", "html_block", "html_inline"])
    if not inline:
        parser.disable(["inline", "text_join"])
    parser.block.ruler.before("fence", "math_block", _math_block, {"alt": ["paragraph", "blockquote", "list"]})
    parser.inline.ruler.before("escape", "math_inline", _math_inline)
    return parser


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """`$$` or `\\[` at the start of a line, up to its closing mark; a blank line before it: no formula."""
    if state.is_code_block(start):
        return False
    begin, limit = state.bMarks[start] + state.tShift[start], state.eMarks[start]
    close = _BLOCK_MARKS.get(state.src[begin : begin + 2])
    if close is None:
        return False
    parts, line, closed = [], start, False
    position = begin + 2
    while line < end:
        content = state.src[position:limit]
        found = content.find(close)
        if found >= 0:
            if content[found + 2 :].strip(" .,;"):
                return False
            parts.append(content[:found])
            closed = True
            line += 1
            break
        if line > start and not content.strip():
            return False
        parts.append(content)
        line += 1
        if line < end:
            if state.sCount[line] < min(state.blkIndent, state.sCount[start]):
                break
            position, limit = state.bMarks[line] + state.tShift[line], state.eMarks[line]
    if not closed and line < state.lineMax:
        return False
    if silent:
        return True
    token = state.push("math_block", "", 0)
    token.content, token.map = "\n".join(parts).strip(), [start, line]
    token.info, token.markup = "closed" if closed else "", state.src[begin : begin + 2]
    state.line = line
    return True


def _math_inline(state: StateInline, silent: bool) -> bool:
    """`$x$` as Pandoc reads it (no space inside the dollars, no digit behind them), `$$x$$`, `\\(x\\)`, `\\[x\\]`."""
    src, begin = state.src, state.pos
    two = src[begin : begin + 2]
    if close := _INLINE_MARKS.get(two):
        opening = two
    elif src[begin] == "$":
        opening = close = "$"
    else:
        return False
    content_start = begin + len(opening)
    stop = src.find(close, content_start)
    if stop < 0 or stop == content_start or stop > state.posMax:
        return False
    content = src[content_start:stop]
    if opening == "$":
        after = src[stop + 1 : stop + 2]
        if content[0].isspace() or content[-1].isspace() or content[-1] == "\\" or after.isdigit() or "\n" in content:
            return False
    if not silent:
        token = state.push("math_inline", "", 0)
        token.content, token.markup = content, opening
    state.pos = stop + len(close)
    return True
