"""vim's normal mode in the prompt."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from localllm.settings import Settings
from localllm_tui.widgets.message_view import MessageView
from localllm_tui.widgets.prompt import Prompt
from localllm_tui.widgets.vim import NormalMode
from tests.fakes import FakeEngine
from tests.tui import opened

VIM = Settings(keys="vim")
CASES = [
    # text, where the cursor stands, keys, text after them, cursor after them
    ("one two three", (0, 0), "dw", "two three", (0, 0)),
    ("one two three", (0, 0), "2dw", "three", (0, 0)),
    ("one two three", (0, 0), "d2w", "three", (0, 0)),
    ("one two three", (0, 4), "D", "one ", (0, 3)),
    ("one two three", (0, 4), "d0", "two three", (0, 0)),
    ("one two three", (0, 12), "db", "one two e", (0, 8)),
    ("one two", (0, 0), "x", "ne two", (0, 0)),
    ("one two", (0, 0), "3x", " two", (0, 0)),
    ("one two", (0, 2), "X", "oe two", (0, 1)),
    ("one two", (0, 0), "wx", "one wo", (0, 4)),
    ("one two", (0, 0), "ex", "on two", (0, 2)),
    ("one two", (0, 0), "$x", "one tw", (0, 5)),
    ("one two", (0, 6), "0rX", "Xne two", (0, 0)),
    ("one two", (0, 0), "~~", "ONe two", (0, 2)),
    ("one two", (0, 0), "ywP", "one one two", (0, 3)),
    ("one two", (0, 0), "dwp", "tone wo", (0, 4)),
    ("a\nb\nc", (0, 0), "dd", "b\nc", (0, 0)),
    ("a\nb\nc", (2, 0), "dd", "a\nb", (1, 0)),
    ("a\nb\nc", (0, 0), "2dd", "c", (0, 0)),
    ("a\nb\nc", (0, 0), "dj", "c", (0, 0)),
    ("a\nb\nc", (1, 0), "dG", "a", (0, 0)),
    ("a\nb\nc", (2, 0), "dgg", "", (0, 0)),
    ("a\nb\nc", (0, 0), "yyp", "a\na\nb\nc", (1, 0)),
    ("a\nb\nc", (0, 0), "ddp", "b\na\nc", (1, 0)),
    ("a\nb\nc", (0, 0), "YjP", "a\na\nb\nc", (1, 0)),
    ("a\n  b", (0, 0), "J", "a b", (0, 1)),
    ("a\nb\nc", (0, 0), "G", "a\nb\nc", (2, 0)),
    ("a\nb\nc", (2, 0), "gg", "a\nb\nc", (0, 0)),
    ("a\nb\nc", (0, 0), "10j", "a\nb\nc", (2, 0)),
    ("  one", (0, 4), "^", "  one", (0, 2)),
    ("one two", (0, 0), "dwuw", "one two", (0, 4)),
    ("one two", (0, 0), "Q", "one two", (0, 0)),
    ("one two", (0, 0), "dQx", "ne two", (0, 0)),
    ("", (0, 0), "xddpJ~", "", (0, 0)),
    # marked characters
    ("one two three", (0, 0), "ved", " two three", (0, 0)),
    ("one two three", (0, 0), "v2ex", " three", (0, 0)),
    ("one two three", (0, 6), "vbd", "one  three", (0, 4)),
    ("one two three", (0, 4), "veyP", "one twotwo three", (0, 6)),
    ("one two three", (0, 4), "veyy", "one two three", (0, 4)),
    ("one two three", (0, 0), "veywvep", "one one three", (0, 6)),
    ("one two", (0, 4), "vohd", "onewo", (0, 3)),
    ("one two", (0, 0), "ve~", "ONE two", (0, 0)),
    ("ONE two", (0, 0), "veu", "one two", (0, 0)),
    ("one two", (0, 0), "v$U", "ONE TWO", (0, 0)),
    ("one\ntwo\nthree", (0, 1), "vjd", "oo\nthree", (0, 1)),
    ("one two", (0, 0), "vQlx", "e two", (0, 0)),
    ("one two", (0, 0), "vevx", "on two", (0, 2)),
    ("one two", (0, 0), "ve<escape>x", "on two", (0, 2)),
    ("one two", (0, 0), "v<right><end>d", "", (0, 0)),
    ("", (0, 0), "vdVdvy", "", (0, 0)),
    # marked lines
    ("a\nb\nc", (0, 0), "Vjd", "c", (0, 0)),
    ("a\nb\nc", (2, 0), "Vkd", "a", (0, 0)),
    ("a\nb\nc", (0, 0), "VGd", "", (0, 0)),
    ("a\nb\nc", (0, 0), "V<down>yGp", "a\nb\nc\na\nb", (3, 0)),
    ("one\ntwo", (0, 1), "vVd", "two", (0, 0)),
    ("one\ntwo", (0, 1), "VvD", "two", (0, 0)),
    ("one\ntwo", (0, 1), "Vvd", "oe\ntwo", (0, 1)),
    # finding
    ("one two three", (0, 0), "/th<enter>", "one two three", (0, 8)),
    ("one two three", (0, 0), "/tw<enter>x", "one wo three", (0, 4)),
    ("tea tin top", (0, 0), "/t<enter>n", "tea tin top", (0, 8)),
    ("tea tin top", (0, 0), "/t<enter>nn", "tea tin top", (0, 0)),
    ("tea tin top", (0, 0), "/t<enter>N", "tea tin top", (0, 0)),
    ("tea tin top", (0, 4), "?t<enter>", "tea tin top", (0, 0)),
    ("tea tin top", (0, 0), "?t<enter>n", "tea tin top", (0, 4)),
    ("tea\ntin\ntop", (0, 0), "/to<enter>", "tea\ntin\ntop", (2, 0)),
    ("one Two two", (0, 0), "/Two<enter>", "one Two two", (0, 4)),
    ("one Two two", (0, 5), "/two<enter>n", "one Two two", (0, 4)),
    ("one two", (0, 2), "/tw<escape>x", "on two", (0, 2)),
    ("one two", (0, 2), "/absent<enter>x", "on two", (0, 2)),
    ("a.b axb", (0, 1), "/a.b<enter>", "a.b axb", (0, 0)),
    ("one two", (0, 0), "/tx<backspace><enter>", "one two", (0, 4)),
    ("one two", (0, 2), "/t<backspace><backspace>x", "on two", (0, 2)),
    ("one two", (0, 0), "/<enter>nNx", "ne two", (0, 0)),
    ("one two three", (0, 0), "v/th<enter>d", "hree", (0, 0)),
    # counts
    ("one two", (0, 0), "99999999ix", "ne two", (0, 0)),
]


def named(keys: str) -> list[str]:
    """The keys one by one; ``<enter>`` is one."""
    return [name or character for name, character in re.findall(r"<(\w+)>|(.)", keys)]


class Stage(App[None]):
    def compose(self) -> ComposeResult:
        yield Prompt()


@pytest.mark.parametrize(("text", "at", "keys", "after", "cursor"), CASES, ids=[case[2] for case in CASES])
async def test_commands(text: str, at: tuple[int, int], keys: str, after: str, cursor: tuple[int, int]) -> None:
    app = Stage()
    async with app.run_test():
        area = app.query_one(Prompt)
        area.put(text)
        area.move_cursor(at)
        vim = NormalMode(area, lambda: None)
        for key in named(keys):
            if not (key == "escape" and vim.cancel()):
                vim.press(key)
        assert (area.text, area.cursor_location) == (after, cursor)


@settings(max_examples=60, deadline=None)
@example(["V?", "<another>", "0"])  # what was marked stood in the text before
@example(["jjv/", "<another>", "<escape>"])
@given(
    st.lists(
        st.one_of(
            st.text("hjklwbe0^$GgiaIAoOxXrJdcypPuUDCYsS~23qzvV/?nN", max_size=6),
            st.sampled_from(["<enter>", "<escape>", "<backspace>", "<delete>", "<up>", "<end>", "<f1>", "<another>"]),
        ),
        max_size=12,
    )
)
async def test_no_row_of_keys_breaks_anything(rows: list[str]) -> None:
    app = Stage()
    async with app.run_test():
        area = app.query_one(Prompt)
        area.put("one two\n  three, four\n\nfive")
        vim = NormalMode(area, lambda: None)
        for key in named("".join(rows)):
            if key == "another":
                area.put("shorter")
            elif not (key == "escape" and vim.cancel()):
                vim.press(key)
        row, column = area.cursor_location
        assert 0 <= row < area.document.line_count and 0 <= column <= len(area.document.get_line(row))
        assert set(area.text) <= set(string.printable)


async def test_escape_goes_from_writing_to_commands_to_the_messages(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=VIM) as here:
        await here.ask("One")
        await here.pilot.press(*"helo", "escape")
        await here.until(lambda: " N " in here.text(), "the mark")
        await here.pilot.press("i", "l", "escape", "h", "x", "d")
        assert here.screen.prompt.text == "helo", "the d waits for a motion"
        await here.pilot.press("escape", "escape")
        await here.until(lambda: isinstance(here.screen.focused, MessageView), "the messages")


async def test_what_is_marked_is_seen_and_esc_unmarks_it(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=VIM) as here:
        prompt = here.screen.prompt
        await here.pilot.press(*"one two", "escape", "0", "v", "e")
        await here.until(lambda: " v " in here.text(), "the mark")
        assert prompt.selected_text == "one"
        await here.pilot.press("V")
        await here.until(lambda: " V " in here.text(), "the other mark")
        assert prompt.selected_text == "one two"
        await here.pilot.press("escape")
        await here.until(lambda: " N " in here.text(), "nothing marked")
        assert prompt.selected_text == "" and prompt.normal
        await here.pilot.press("v", "b", "c", *"2 ", "escape")
        assert prompt.text == "2  two"


async def test_what_is_searched_for_stands_before_the_prompt(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=VIM) as here:
        prompt = here.screen.prompt
        await here.pilot.press(*"one two", "escape", "0", "slash", *"tw")
        await here.until(lambda: " /tw " in here.text(), "the words")
        await here.pilot.press("enter")
        await here.until(lambda: " N " in here.text(), "the end of the search")
        assert prompt.cursor_location == (0, 4) and prompt.text == "one two", "Enter ended the search and sent nothing"


async def test_another_text_ends_what_is_marked(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=VIM) as here:
        prompt = here.screen.prompt
        prompt.put("one\ntwo\nthree")
        await here.pilot.press("escape", "V")
        prompt.put("short")
        await here.pilot.press("d", "escape", "0", "x")
        assert prompt.text == "hort"


async def test_enter_sends_from_normal_mode_and_writing_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=VIM) as here:
        await here.pilot.press(*"Hi", "escape")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn is None and len(here.history.path(1)) == 2, "the answer")
        assert not here.screen.prompt.normal and here.history.path(1)[0].content == "Hi"


async def test_escape_stops_an_answer_where_the_prompt_is_empty(tmp_path: Path) -> None:
    engine = FakeEngine(["A long answer. " * 60], seconds_per_token=0.004, hold=40)
    async with opened(tmp_path, engine, settings=VIM) as here:
        await here.pilot.press(*"Go", "enter")
        await here.until(lambda: here.screen.turn and here.screen.turn.n_tokens > 20, "some text")
        await here.pilot.press("escape")
        await here.until(lambda: here.screen.turn is None, "the end")
        assert "Stopped. The text is kept." in here.text()


async def test_the_default_keys_write_everything(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.pilot.press(*"dd", "escape", *"x")
        assert here.screen.prompt.text == "ddx"
