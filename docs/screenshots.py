"""Screenshots of the app, from a real run on the starter models: ``python docs/screenshots.py``.

Writes the pictures of docs/images: chat, chat-light, citation, verdict, palette.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from localllm.history import ChatOptions, History
from localllm.open import open_assistant
from localllm.settings import Paths, Settings
from localllm_tui.app import LocalLLMApp
from localllm_tui.screens.chat import ChatScreen

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
QUESTIONS = (
    "Why is the sky blue? Answer in two sentences.",
    "Write a Python function that returns the larger of two numbers.",
)
EARLIER = ("Name three planets.", "What is a haiku?")
MANUAL = """# Pump QX-2291

## Service

Replace the seal every 400 hours of operation, or once a year, whichever comes first. Close both valves before the
housing is opened. The seal is part number QX-2291-7.

## Storage

Drain the pump before winter and keep it dry. Turn the shaft by hand once a month.
"""
PATIENCE = 300.0
"""Seconds for one step; the starter model answers within a few."""


async def shoot() -> None:
    """Open the app, ask, and export what is on the screen."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOME"] = folder  # no path of this computer in a picture
        home = Path(folder) / "home"
        make_library(home, Path(folder) / "manuals")
        paths = Paths(home, home / "config.toml", ROOT)
        settings = Settings(temperature=0.0, max_tokens=220)
        with History(paths.history) as history:
            assistant = open_assistant(settings, paths, history=history)
            for question in EARLIER:
                chat = history.create_chat().id
                assistant.ask(question, chat=chat)
                assistant.write_title(chat)
            history.create_chat()
            app = LocalLLMApp(settings, paths, assistant)
            try:
                async with app.run_test(size=(120, 36)) as pilot:
                    await take_all(app, pilot, history)
            finally:
                assistant.close()


async def take_all(app: LocalLLMApp, pilot: Pilot[int], history: History) -> None:
    """One picture after another."""
    screen = app.screen
    assert isinstance(screen, ChatScreen)

    async def ask(question: str) -> None:
        n = len(screen.transcript.views)
        screen.prompt.put(question)
        await pilot.press("enter")
        await until(lambda: len(screen.transcript.views) == n + 2 and screen.turn is None)

    async def take(name: str) -> None:
        await pilot.pause(0.5)
        (IMAGES / f"{name}.svg").write_text(app.export_screenshot(title="localllm"), "utf-8")

    await until(lambda: screen.status.status.info is not None)
    for question in QUESTIONS:
        await ask(question)
    await pilot.pause(3.0)  # the title, which the model writes in idle time
    await take("chat")
    app.theme = "localllm-light"
    await take("chat-light")
    app.theme = "localllm-dark"

    await screen.open_new()
    screen.use_library("manuals")
    app.clear_notifications()
    await ask("How often is the seal of the pump replaced?")
    await pilot.press("shift+tab", "enter")
    await until(lambda: app.screen is not screen)
    await take("citation")
    await pilot.press("escape")

    rules = next(f.stem for f in sorted((ROOT / "localllm" / "rules" / "sets").glob("support-answer*.toml")))
    chat = history.create_chat(options=ChatOptions(rules=rules)).id
    screen.open_chat(chat)
    await until(lambda: screen.conversation.chat is not None and screen.conversation.chat.id == chat)
    await ask("Tell a customer that the pump arrives on Friday.")
    await pilot.press("shift+tab", "v")
    await until(lambda: app.screen is not screen)
    await take("verdict")
    await pilot.press("escape")

    await pilot.press("ctrl+k", *"pl")
    await until(lambda: app.screen is not screen)
    await pilot.pause(1.0)
    await take("palette")
    await pilot.press("escape")


def make_library(home: Path, folder: Path) -> None:
    """A library of one small manual, made by the command line."""
    folder.mkdir()
    (folder / "pump.md").write_text(MANUAL, "utf-8")
    command = [sys.executable, "-m", "localllm_tui", "docs", "add", str(folder), "-d", "manuals"]
    subprocess.run(command, check=True, env={**os.environ, "LOCALLLM_HOME": str(home)}, stdout=subprocess.DEVNULL)


async def until(true: Callable[[], object]) -> None:
    """Wait until `true()` holds."""
    for _ in range(int(PATIENCE / 0.05)):
        if true():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("the app did not get there")


if __name__ == "__main__":
    asyncio.run(shoot())
