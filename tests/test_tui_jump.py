"""Jumping: one key, a letter, and the focus is there."""

from __future__ import annotations

from pathlib import Path

from localllm_tui.screens.jump import Jump
from localllm_tui.widgets.message_view import MessageView
from tests.tui import Opened, opened


async def show_letters(here: Opened) -> None:
    await here.pilot.press("alt+j")
    await here.until(lambda: isinstance(here.app.screen, Jump), "the letters")
    await here.pilot.pause()


async def test_a_letter_leads_to_its_message(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        await here.ask("Two")
        await show_letters(here)
        rows = [row for row in here.text().split("\n") if " a " in row or " d " in row]
        assert len(rows) >= 2
        await here.pilot.press("d")
        await here.until(lambda: isinstance(here.screen.focused, MessageView), "the message")
        assert here.screen.focused is here.screen.transcript.views[2]


async def test_the_last_letters_lead_to_the_chats_and_the_prompt(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        here.screen.set_focus(here.screen.transcript.views[0])
        await show_letters(here)
        await here.pilot.press("f")
        await here.until(lambda: here.screen.focused is here.screen.prompt, "the prompt")


async def test_any_other_key_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        for key in ("escape", "z", "7"):
            await show_letters(here)
            await here.pilot.press(key)
            await here.until(lambda: here.app.screen is here.screen, "the end of the letters")
            assert here.screen.prompt.has_focus and not here.screen.prompt.text


async def test_a_click_on_a_letter_leads_there_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        await show_letters(here)
        view = here.screen.transcript.views[1]
        await here.pilot.click(offset=(view.region.x + 1, view.region.y))
        await here.until(lambda: here.screen.focused is view, "the message")
