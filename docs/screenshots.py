"""Screenshots of the app, from a real run on the starter model: ``python docs/screenshots.py``.

Writes docs/images/chat.svg and docs/images/chat-light.svg.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from localllm.history import History
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
PATIENCE = 300.0
"""Seconds for one step; the starter model answers within a few."""


async def shoot() -> None:
    """Open the app on an empty history, ask, and export what is on the screen."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Path(folder), Path(folder) / "config.toml", ROOT)
        settings = Settings(temperature=0.0, max_tokens=220)
        with History(paths.history) as history:
            assistant = open_assistant(settings, paths, history=history)
            for question in EARLIER:
                assistant.ask(question)
            history.create_chat()
            app = LocalLLMApp(settings, paths, assistant)
            try:
                async with app.run_test(size=(120, 36)) as pilot:
                    screen = app.screen
                    assert isinstance(screen, ChatScreen)
                    await until(lambda: screen.status.status.info is not None)
                    for question in QUESTIONS:
                        n = len(screen.transcript.views)
                        screen.prompt.put(question)
                        await pilot.press("enter")
                        await until(lambda n=n: len(screen.transcript.views) == n + 2 and screen.turn is None)
                    await pilot.pause()
                    (IMAGES / "chat.svg").write_text(app.export_screenshot(title="localllm"), "utf-8")
                    app.theme = "localllm-light"
                    await pilot.pause()
                    (IMAGES / "chat-light.svg").write_text(app.export_screenshot(title="localllm"), "utf-8")
            finally:
                assistant.close()


async def until(true: object) -> None:
    """Wait until `true()` holds."""
    assert callable(true)
    for _ in range(int(PATIENCE / 0.05)):
        if true():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("the app did not get there")


if __name__ == "__main__":
    asyncio.run(shoot())
