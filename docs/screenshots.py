"""Draws the picture of the README and of docs/: the real app on the starter model, exported as SVG.

    python docs/screenshots.py [FOLDER]

Nothing in them is made up: the chats are asked in a folder of their own that is deleted at the end.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from textual.pilot import Pilot

from localllm.history import History
from localllm.open import open_assistant
from localllm.settings import Paths, Settings
from localllm_tui.app import LocalLLMApp
from localllm_tui.screens.chat import ChatScreen

ROOT = Path(__file__).resolve().parent.parent
SIZE = (120, 34)
QUESTIONS = (
    "Explain in three sentences why the sky is blue.",
    "Write a Python function that says whether a number is prime.",
)
PATIENCE = 180.0
"""Seconds to wait for a load or an answer."""


async def until(pilot: Pilot[int], true: Callable[[], object], what: str) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain for {what}")
        await pilot.pause(0.05)


def answered(screen: ChatScreen, n_messages: int) -> bool:
    """So many messages are shown, and no answer is being written."""
    return len(screen.transcript.views) >= n_messages and screen.turn is None


async def draw(folder: Path) -> list[Path]:
    """Ask the questions and write the picture; returns its file."""
    written = []
    with tempfile.TemporaryDirectory() as home:
        paths = Paths(Path(home), Path(home) / "config.toml", ROOT)
        settings = Settings(temperature=0.0, max_tokens=220, reduced_motion=True)
        with History(paths.history) as history, open_assistant(settings, paths, history=history) as assistant:
            app = LocalLLMApp(settings, paths, assistant)
            async with app.run_test(size=SIZE) as pilot:
                screen = app.screen_stack[0]
                assert isinstance(screen, ChatScreen)
                await until(pilot, lambda: screen.status.status.info, "the model")
                for n, question in enumerate(QUESTIONS, 1):
                    screen.prompt.put(question)
                    await pilot.press("enter")
                    await until(pilot, partial(answered, screen, 2 * n), "the answer")
                await pilot.pause(0.5)
                written.append(save(app, folder / "chat.svg"))
    return written


def save(app: LocalLLMApp, path: Path) -> Path:
    """Export what is on the screen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(app.export_screenshot(title="localllm"), "utf-8")
    return path


if __name__ == "__main__":
    for file in asyncio.run(draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")):
        sys.stdout.write(f"{file}\n")
