"""The palette and its like: actions, chats, models, libraries, presets and earlier prompts by a few letters."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from textual.command import CommandPalette
from textual.widgets import Input, OptionList

from localllm.events import Role
from localllm.models.shelf import Model
from localllm.presets import Preset, save_preset
from localllm_tui.screens.text_dialog import TextDialog
from tests.fakes import FakeEngine
from tests.tui import Opened, opened

CHATGPT = [
    {
        "title": "Bread \x1b[31mand\x07 butter",
        "create_time": 1700000000.0,
        "current_node": "b",
        "mapping": {
            "a": {"id": "a", "parent": None, "children": ["b"],
                  "message": {"author": {"role": "user"}, "create_time": 1700000000.0,
                              "content": {"content_type": "text", "parts": ["How is rye bread made?"]}}},
            "b": {"id": "b", "parent": "a", "children": [],
                  "message": {"author": {"role": "assistant"}, "create_time": 1700000001.0,
                              "content": {"content_type": "text", "parts": ["With sourdough."]}}},
        },
    }
]  # fmt: skip


async def find(here: Opened, letters: str, shown: str) -> None:
    """Open the palette, type, and choose the first hit once it is there."""
    await here.pilot.press("ctrl+k")
    await here.until(lambda: isinstance(here.app.screen, CommandPalette), "the palette")
    await here.pilot.press(*letters)
    await here.until(lambda: shown in here.text(), shown)
    await here.pilot.press("enter")
    await here.pilot.pause()
    if isinstance(here.app.screen, CommandPalette):
        await here.pilot.press("enter")
    await here.until(lambda: here.app.screen is here.screen, "the chat screen")


async def test_chats_are_found_by_letters_of_their_titles(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["About pumps.", "About bread."])) as here:
        await here.ask("Which pump is the best?")
        await here.pilot.press("ctrl+n")
        await here.ask("Bread?")
        await find(here, "whpump", "Which pump is the best?")
        await here.until(lambda: "About pumps." in here.text(), "the chat")


async def test_models_libraries_and_presets_are_found_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model("Tiny\x1b[2J-1B.Q4_0", "/models/Tiny-1B.gguf", "localllm", 1, purpose="chat")
    monkeypatch.setattr("localllm.models.shelf.list_models", lambda paths: [model])
    async with opened(tmp_path) as here:
        used: list[object] = []
        monkeypatch.setattr(here.screen, "use_model", used.append)
        (tmp_path / "libraries").mkdir()
        (tmp_path / "libraries" / "manuals.db").touch()
        save_preset(Preset("brief", {"temperature": 0.0}), here.screen.paths)
        await find(here, "tiny1b", "Tiny-1B.Q4_0")
        assert used == ["/models/Tiny-1B.gguf"]
        await find(here, "manuals", "ask this library")
        await here.until(lambda: here.history.chat(1).options.docs == "manuals", "the library")
        await find(here, "brief", "use this preset")
        await here.until(lambda: here.history.chat(1).options.preset == "brief", "the preset")


async def test_an_earlier_prompt_of_another_chat_is_found_and_stands_in_the_prompt(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await here.ask("Explain the tides in simple words")
        await here.ask("Something else")
    async with opened(tmp_path) as here:
        await here.pilot.press("ctrl+n")
        here.screen.prompt.put("typed before")
        await here.pilot.press("alt+h")
        await here.until(lambda: "Something else" in here.text(), "the newest")
        await here.pilot.press(*"tides")
        await here.until(lambda: here.text().count("Explain the tides") >= 1 and "Something else" not in here.text())
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.prompt.text == "Explain the tides in simple words", "the prompt")
        await here.pilot.press("ctrl+z")
        assert here.screen.prompt.text == "typed before"


async def test_prompts_of_all_chats_are_listed_newest_first_and_escape_leaves_the_prompt(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        for n in range(30):
            chat = here.history.create_chat(f"Chat {n}").id
            here.history.add_message(chat, Role.USER, f"Question {n} about pumps", created=1000.0 + n)
        here.screen.prompt.put("typed before")
        await here.pilot.press("ctrl+r")
        await here.until(lambda: "Question 20 about" in here.text(), "the list")
        lines = here.text().split("\n")
        rows = [next(y for y, line in enumerate(lines) if f"Question {n} about" in line) for n in range(29, 20, -1)]
        assert rows == sorted(rows)
        await here.pilot.press(*"0 pumps")
        await here.until(lambda: "Question 0 about" in here.text() and "Question 29" not in here.text(), "the oldest")
        await here.pilot.press("escape")
        await here.until(lambda: here.app.screen is here.screen, "the chat screen")
        assert here.screen.prompt.text == "typed before"


async def test_brackets_in_earlier_prompts_and_titles_are_shown_as_they_are(tmp_path: Path) -> None:
    text = "[/b] and [red]x[/] close nothing"
    async with opened(tmp_path) as here:
        await here.ask(text)
        for key, word in (("ctrl+r", ""), ("ctrl+r", "close"), ("ctrl+k", "close nothing")):
            await here.pilot.press(key)
            await here.until(lambda: isinstance(here.app.screen, CommandPalette), "the palette")
            await here.pilot.press(*word)
            listing = here.app.screen.query_one(OptionList)
            await here.until(partial(_is_alone, listing, text), f"the entry for {word!r}")
            await here.pilot.press("escape")
            await here.until(lambda: here.app.screen is here.screen, "the chat screen")
        await here.pilot.press("ctrl+r")
        await here.until(lambda: here.app.screen.query(OptionList), "the list")
        await here.until(partial(_is_alone, here.app.screen.query_one(OptionList), text), "the prompt")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.prompt.text == text, "the prompt as it was")


def _is_alone(listing: OptionList, text: str) -> bool:
    return listing.option_count == 1 and text in str(listing.get_option_at_index(0).prompt)


async def test_chats_of_another_application_are_imported_by_a_path(tmp_path: Path) -> None:
    (tmp_path / "conversations.json").write_text(json.dumps(CHATGPT))
    async with opened(tmp_path / "home") as here:
        here.screen.run_by_id("import_chats")
        await here.until(lambda: isinstance(here.app.screen, TextDialog), "the question for a path")
        here.app.screen.query_one(Input).value = str(tmp_path / "conversations.json")
        await here.pilot.press("enter")
        await here.until(lambda: "Imported 1 chat with 2 messages." in notes(here), "the import")
        await here.until(lambda: "Bread and butter" in here.text(), "the chat in the list")
        assert "\x1b" not in here.text() and "\x07" not in here.text()
        here.screen.prompt.put(f"/import {tmp_path / 'nothing.json'}")
        await here.pilot.press("enter")
        await here.until(lambda: "can't be read as chats" in notes(here), "the reason")
        assert len(here.history.chats()) == 1


def notes(here: Opened) -> str:
    return "\n".join(n.message for n in here.app._notifications)
