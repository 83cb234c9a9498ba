"""emacs's keys in the prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.settings import Settings
from tests.tui import opened

EMACS = Settings(keys="emacs")
CASES = [
    # text, keys from the end of it, text after them
    ("one two", ["ctrl+a", "ctrl+k"], ""),
    ("one two", ["ctrl+a", "ctrl+k", "ctrl+y"], "one two"),
    ("one two", ["ctrl+a", "ctrl+f", "ctrl+d"], "oe two"),
    ("one two", ["alt+b", "alt+d"], "one "),
    ("one two", ["alt+b", "alt+d", "ctrl+a", "ctrl+y"], "twoone "),
    ("one two", ["ctrl+b", "x"], "one twxo"),
    ("one two", ["ctrl+w"], "one "),
    ("one two", ["alt+b", "ctrl+@", "ctrl+e", "ctrl+w"], "one "),
    ("one two", ["alt+b", "ctrl+@", "ctrl+e", "alt+w", "ctrl+y"], "one twotwo"),
    ("one two", ["ctrl+t"], "one tow"),
    ("a\nb", ["alt+less_than_sign", "ctrl+k", "ctrl+k"], "b"),
    ("a\nb", ["ctrl+p", "x"], "ax\nb"),
    ("a\nb", ["alt+less_than_sign", "ctrl+n", "x"], "a\nxb"),
    ("one two", ["alt+b", "alt+d", "ctrl+underscore"], "one two"),
]


@pytest.mark.parametrize(("text", "keys", "after"), CASES, ids=[" ".join(case[1]) for case in CASES])
async def test_keys(text: str, keys: list[str], after: str, tmp_path: Path) -> None:
    async with opened(tmp_path, settings=EMACS, loaded=False) as here:
        here.screen.prompt.put(text)
        await here.pilot.press(*keys)
        assert here.screen.prompt.text == after


async def test_control_p_and_n_bring_earlier_prompts_at_the_edges(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=EMACS) as here:
        await here.ask("One")
        await here.pilot.press("ctrl+p")
        assert here.screen.prompt.text == "One"
        await here.pilot.press("ctrl+n")
        assert here.screen.prompt.text == ""


async def test_cutting_a_word_deletes_no_chat(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=EMACS) as here:
        await here.ask("One")
        await here.pilot.press("alt+d")
        assert len(here.history.chats()) == 1
        await here.pilot.press("alt+k")
        await here.until(lambda: not here.history.chats(), "the chat going")
