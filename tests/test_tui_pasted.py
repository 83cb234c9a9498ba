"""A long pasted text: a mark in the prompt, the whole text for the model, and nothing in between is lost."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from textual.events import Paste

from localllm_tui.widgets.pasted import CHARACTERS, LINES, Pasted
from tests.fakes import FakeEngine
from tests.tui import Opened, opened

LONG = "\n".join(f"line {n} of a log" for n in range(40))
MARK = "[pasted 1: 40 lines]"


async def paste(here: Opened, text: str) -> None:
    before = here.screen.prompt.text
    here.app.post_message(Paste(text))
    await here.until(lambda: here.screen.prompt.text != before, "the paste")


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5), st.text(max_size=30))
def test_what_was_folded_comes_back(texts: list[str], between: str) -> None:
    pasted = Pasted()
    between = between.replace("[", "(")
    folded = [pasted.fold(text) for text in texts]
    whole = between.join(pasted.unfold(mark) for mark in folded)
    assert pasted.unfold(between.join(folded)) == whole
    assert all(mark.count("\n") < LINES and len(mark) <= CHARACTERS for mark in folded)


async def test_a_long_text_is_a_mark_in_the_prompt_and_itself_when_sent(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["Read."])) as here:
        here.screen.prompt.put("Sum this up: ")
        await paste(here, LONG)
        assert here.screen.prompt.text == f"Sum this up: {MARK}" and MARK in here.text()
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn is None and "Read." in here.text(), "the answer")
        assert here.history.path(1)[0].content == f"Sum this up: {LONG}"


async def test_a_short_text_is_pasted_as_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await paste(here, "two\nlines")
        assert here.screen.prompt.text == "two\nlines"


async def test_a_mark_is_deleted_as_a_whole_and_brought_back_with_its_text(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await paste(here, LONG)
        await here.pilot.press("backspace")
        assert here.screen.prompt.text == ""
        await here.pilot.press("ctrl+z")
        assert here.screen.prompt.full_text == LONG


async def test_writing_within_a_mark_goes_behind_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await paste(here, LONG)
        await here.pilot.press("left", "left", "left", "x")
        assert here.screen.prompt.text == f"{MARK}x"
        assert here.screen.prompt.full_text == f"{LONG}x"


async def test_the_draft_holds_the_whole_text(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await paste(here, LONG)
        await here.pilot.press("ctrl+n", "ctrl+n")
        assert [chat.draft_text for chat in here.history.chats()] == [LONG]
        here.screen.open_chat(1)
        await here.until(lambda: here.screen.prompt.text == MARK, "the mark, in the other chat again")
    async with opened(tmp_path) as here:
        assert here.screen.prompt.full_text == LONG


async def test_names_of_files_in_a_pasted_text_attach_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("not to be sent")
    async with opened(tmp_path, FakeEngine(["Read."])) as here:
        await paste(here, f"{LONG}\n@{tmp_path / 'secret.txt'}")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn is None and "Read." in here.text(), "the answer")
        assert "not to be sent" not in here.history.path(1)[0].content


async def test_the_line_with_a_mark_is_cut_and_put_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await paste(here, LONG)
        await here.pilot.press("ctrl+x")
        assert here.screen.prompt.text == ""
        await here.pilot.press("ctrl+v")
        assert here.screen.prompt.full_text.rstrip("\n") == LONG
