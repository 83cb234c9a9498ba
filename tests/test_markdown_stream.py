"""Markdown that arrives in pieces: the blocks equal those of the whole text, and nothing is parsed twice for ever."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it.token import Token

from localllm_tui.markdown import parser
from localllm_tui.markdown.blocks import Block, Code, Line, Table
from localllm_tui.markdown.layout import rows_of
from localllm_tui.markdown.stream import Document

PIECES = [
    "# ", "## Title\n", "- ", "* item\n", "1. one\n", "2. two\n", "   deeper\n", "  - nested\n",
    "> quote\n", "```python\n", "```\n", "~~~\n", "| a | b |\n", "|---|:-:|\n", "| 1 | 2 |\n",
    "---\n", "***\n", "\n", "\n\n", "plain words ", "**bold**", "*it", "`code`", "``",
    "[link](https://x.example)", "[1]", "$x^2$", "$$\n\\frac{a}{b}\n$$\n", "\\(y\\)", "\\[",
    "\\]\n", "你好，世界", "👩‍👩‍👧 family", "مرحبا", "\t", "    indented\n", "<b>", "&amp;",
    "![img](a.png)", "\r\n", "\r", "\x1b[31mred\x1b[0m", "\u202e", "  \n", "line one\nline two\n",
    "=====\n", "[ref]: https://y.example\n", "```", "$", "|", "\x1b]0;title\x07", "a\u0301",
    "1) x\n", "+ y\n",
]  # fmt: skip
documents = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.text(max_size=120),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), max_size=30).map("".join),
)


def whole(text: str) -> list[Block]:
    document = Document()
    document.feed(text)
    document.finish()
    return document.blocks


def drawn(blocks: list[Block], width: int = 40) -> list[tuple[str, str]]:
    rows = [row.content for block in blocks for row in rows_of(block, width)]
    return [(row.plain, repr(sorted(row.spans, key=lambda s: (s.start, s.end, str(s.style))))) for row in rows]


def cut(text: str, seed: int) -> list[str]:
    rng, pieces, at = random.Random(seed), [], 0
    while at < len(text):
        size = rng.choice((1, 1, 2, 3, 5, 8, 20))
        pieces.append(text[at : at + size])
        at += size
    return pieces


@settings(max_examples=300, deadline=None)
@given(documents, st.integers(0, 1 << 30))
def test_random_pieces_draw_what_the_whole_text_draws(text: str, seed: int) -> None:
    document = Document()
    rng = random.Random(seed)
    for piece in cut(text, seed):
        document.feed(piece)
        if rng.random() < 0.5:  # a screen looks at it now and then
            assert isinstance(document.blocks, list)
    document.finish()
    assert drawn(document.blocks) == drawn(whole(text))


@settings(max_examples=150, deadline=None)
@given(documents, st.integers(0, 200), st.integers(0, 1 << 30))
def test_a_text_that_goes_on_behind_a_prefix_draws_what_the_whole_text_draws(text: str, at: int, seed: int) -> None:
    document = Document(text[:at])
    document.finish()
    assert isinstance(document.blocks, list)
    for piece in cut(text[at:], seed):
        document.feed(piece)
        assert isinstance(document.tail, list)
    document.finish()
    assert drawn(document.blocks) == drawn(whole(text))


@settings(max_examples=100, deadline=None)
@given(documents, st.integers(0, 1 << 30))
def test_frozen_blocks_never_change(text: str, seed: int) -> None:
    document = Document()
    before: list[Block] = []
    for piece in cut(text, seed):
        document.feed(piece)
        frozen = list(document.frozen)
        assert [id(block) for block in frozen[: len(before)]] == [id(block) for block in before]
        before = frozen


def visible(text: str) -> str:
    """Letters and digits of the text, to tell whether anything was lost."""
    return "".join(c for c in text if c.isalnum())


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["word", "12", "你好", "# head", "- a", "> q", "\n", "\n\n", " ", "*", "|", "x_y"])).map(
        "".join
    )
)
def test_no_letter_is_lost_at_any_width(text: str) -> None:
    blocks = whole(text)
    for width in (1, 7, 40):
        shown = "".join(plain for plain, _ in drawn(blocks, width))
        # Numbers of lists and the heads of tables are drawn anew; letters of the source are all there.
        assert len(visible(shown)) >= len(visible(text).replace("x_y", "xy")) - text.count("12")


def test_the_work_grows_with_the_text_and_not_with_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = 0
    real = parser.tokens

    def counting(text: str) -> list[Token]:
        nonlocal counted
        counted += len(text)
        return real(text)

    monkeypatch.setattr(parser, "tokens", counting)
    document, total = Document(), 0
    for n in range(1000):
        piece = f"Paragraph {n} with a few words.\n\n"
        document.feed(piece)
        assert document.blocks
        total += len(piece)
    assert counted < 12 * total


def test_an_open_fence_is_plain_and_a_closed_one_is_coloured() -> None:
    document = Document("```python\nx = 1\n")
    assert isinstance(document.tail[0].items[0], Code)
    assert not document.tail[0].items[0].closed
    document.feed("```\n")
    item = document.blocks[0].items[0]
    assert isinstance(item, Code) and item.closed and item.language == "python"


def test_a_table_keeps_its_columns_with_wide_characters() -> None:
    (block,) = whole("| a | b |\n|---|---|\n| 你好 | x |\n| 👍 | yy |\n")
    assert isinstance(block.items[0], Table)
    rows = [row.content for row in rows_of(block, 40)]
    bars = {row[: row.plain.index("│")].cell_length for row in rows if "│" in row.plain}
    assert len(bars) == 1


def test_lists_hang() -> None:
    (block,) = whole("- " + "word " * 20)
    rows = [row.content.plain for row in rows_of(block, 30)]
    assert rows[0].startswith("• word") and all(row.startswith("  word") for row in rows[1:])
    assert all(isinstance(item, Line) for item in block.items)
