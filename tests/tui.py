"""What the tests of the app share: the app on a fake engine, and a patient wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot

from localllm.assistant import Assistant
from localllm.engine.protocol import Engine
from localllm.history import History
from localllm.settings import Paths, Settings
from localllm_tui.app import LocalLLMApp
from localllm_tui.screens.chat import ChatScreen
from tests.fakes import FakeEngine


class Opened:
    """The running app and its parts."""

    def __init__(self, app: LocalLLMApp, pilot: Pilot[int], history: History) -> None:
        self.app, self.pilot, self.history = app, pilot, history

    @property
    def screen(self) -> ChatScreen:
        screen = self.app.screen_stack[0]
        assert isinstance(screen, ChatScreen)
        return screen

    async def until(self, true: Callable[[], object], what: str = "it") -> None:
        for _ in range(400):
            if true():
                return
            await self.pilot.pause(0.01)
        raise AssertionError(f"{what} did not happen; the screen shows:\n{self.text()}")

    async def ask(self, text: str) -> None:
        """Send a prompt and wait for the whole answer."""
        n = len(self.screen.transcript.views)
        self.screen.prompt.put(text)
        await self.pilot.press("enter")
        await self.until(lambda: self.screen.turn is None and len(self.screen.transcript.views) >= n + 1, "the answer")
        await self.pilot.pause()

    def text(self) -> str:
        """The screen as text."""
        width, height = self.app.size
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips[:height]) if width else ""


@asynccontextmanager
async def opened(
    folder: Path,
    engine: Engine | None = None,
    *,
    size: tuple[int, int] = (120, 40),
    settings: Settings | None = None,
    assistant: Assistant | None = None,
    loaded: bool = True,
) -> AsyncIterator[Opened]:
    """The app on a history in a folder."""
    paths = Paths(folder, folder / "config.toml", folder)
    settings = settings or Settings()
    with History(paths.history) as history:
        assistant = assistant or Assistant(engine or FakeEngine(), history=history, settings=settings)
        assistant.history = history
        app = LocalLLMApp(settings, paths, assistant)
        async with app.run_test(size=size) as pilot:
            here = Opened(app, pilot, history)
            if loaded:
                await here.until(lambda: here.screen.status.status.info or here.screen.no_model, "loading")
            await pilot.pause()
            yield here
            if (turn := here.screen.turn) is not None:
                turn.stop()
                turn.join(5)
