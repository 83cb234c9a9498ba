"""The Textual app: opens settings, history and assistant; what is seen is in `screens` and `widgets`."""

from __future__ import annotations

import os
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events
from textual.app import App
from textual.binding import BindingType
from textual.widget import Widget
from textual.widgets import Input, TextArea

from localllm.assistant import Assistant
from localllm.errors import LocalLLMError
from localllm.history import History
from localllm.settings import Paths, Settings, find_paths, load_settings, private_folder
from localllm_tui.actions import Keys, keymap
from localllm_tui.own_keys import read_own_keys
from localllm_tui.screens.chat import ChatScreen
from localllm_tui.screens.palette import Everything
from localllm_tui.settle import settle
from localllm_tui.sizes import BREAKPOINTS
from localllm_tui.themes import OWN, with_markdown_colours

if TYPE_CHECKING:
    from textual.screen import Screen


class LocalLLMApp(App[int]):
    """The app.

    Args:
        settings: How it looks and answers.
        paths: Where files are kept.
        assistant: Answers; its history holds the chats.
    """

    CSS_PATH = Path(__file__).with_name("app.tcss")
    TITLE = "localllm"
    ENABLE_COMMAND_PALETTE = False  # our own binding opens it
    COMMANDS: ClassVar = {Everything}
    PAUSE_GC_ON_SCROLL = True
    BINDINGS: ClassVar[list[BindingType]] = []
    HORIZONTAL_BREAKPOINTS = BREAKPOINTS

    def __init__(self, settings: Settings, paths: Paths, assistant: Assistant) -> None:
        super().__init__()
        self.settings = settings
        self.paths = paths
        self.assistant = assistant
        self.use_command_palette = True
        for theme in OWN:
            self.register_theme(theme)
        self.theme = settings.theme if settings.theme in self.available_themes else OWN[0].name
        self.use_motion(not settings.reduced_motion)
        self.set_keymap(keymap(Keys(settings.keys, read_own_keys(paths)[0])))

    def use_motion(self, motion: bool) -> None:
        """Whether anything may move or blink by itself."""
        self.animation_level = "full" if motion else "none"
        if isinstance(self._focused_field, (Input, TextArea)):
            self._focused_field.cursor_blink = motion

    _focused_field: Widget | None = None

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """A field's cursor blinks only where things may move."""
        self._focused_field = event.widget
        if isinstance(event.widget, (Input, TextArea)):
            event.widget.cursor_blink = self.animation_level != "none"

    def on_app_focus(self) -> None:
        """Back in the window: the settings may have been edited meanwhile."""
        screen = self.screen_stack[0]
        if isinstance(screen, ChatScreen):
            screen.read_settings_again()

    def get_css_variables(self) -> dict[str, str]:
        """Theme variables, those of Markdown included, whatever the theme."""
        return with_markdown_colours(super().get_css_variables())

    def get_default_screen(self) -> Screen[None]:
        """The one screen."""
        return ChatScreen(self.assistant, self.settings, self.paths)

    async def action_quit(self) -> None:
        """Leave by the screen's own way, which keeps the draft."""
        screen = self.screen_stack[0]
        if isinstance(screen, ChatScreen):
            await screen.action_quit()
        else:
            self.exit(0)

    def _fatal_error(self) -> None:
        """A mistake of ours: one line for the user, the whole story in a log file."""
        path = self.paths.logs / "app.log"
        try:
            private_folder(path.parent)
            path.touch(mode=0o600)
            with path.open("a", encoding="utf-8") as file:
                file.write(traceback.format_exc() + "\n")
        except (OSError, LocalLLMError):
            path = Path(os.devnull)
        if not self._exit_renderables:  # what follows from the first mistake is in the file
            self.panic(Text(f"localllm: Something went wrong inside the app; your chats are kept. Details: {path}"))

    def on_mount(self) -> None:
        """What can wait until something is on the screen."""
        if not self.is_headless:
            self.call_after_refresh(threading.Thread(target=settle, name="localllm-settle", daemon=True).start)


def run() -> int:
    """Open the app; returns the exit code.

    Raises:
        LocalLLMError: Settings or history can't be opened; nothing was drawn yet.
    """
    from localllm.open import open_assistant

    paths = find_paths()
    settings = load_settings(paths)
    with History(paths.history) as history:
        assistant = open_assistant(settings, paths, history=history)
        app = LocalLLMApp(settings, paths, assistant)
        try:
            return app.run() or app.return_code or 0
        finally:
            assistant.close()
