"""What can be typed after a slash in the chat without a screen, apart from what starts an answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from localllm.cli.reply import CONTROL
from localllm.counted import counted
from localllm.events import Role
from localllm.history import Chat, ChatOptions, StoredMessage

if TYPE_CHECKING:
    from localllm.assistant import Assistant
    from localllm.engine.protocol import Engine
    from localllm.events import Loading
    from localllm.history import History
    from localllm.settings import Paths, Settings

COMMANDS = {
    "new": "new",
    "chats": "chats",
    "open": "open_chat",
    "show": "show",
    "model": "model",
    "models": "models",
    "docs": "docs",
    "rules": "rules",
    "preset": "preset",
    "lines": "lines",
    "regenerate": "regenerate",
    "continue": "continue_",
    "help": "help",
    "quit": "quit",
    "exit": "quit",
}
"""Name of the command: name of the method."""
HELP = """\
/new               a new chat
/chats [WORDS]     list the chats, or those in which the words occur
/open CHAT         go on in a chat, by number or title
/show              read this chat from its beginning
/regenerate        answer again
/continue          go on behind an answer that was stopped or cut off
/lines             write a question of several lines
/models            list the models on this computer
/model [NAME]      which model answers, or switch to another
/docs [NAME|none]  which library of documents is asked, or another
/rules [NAME|none] which rule set answers must follow, or another
/preset [NAME]     list the presets, or start a new chat with one
/quit              leave; Ctrl-D does it, too
Ctrl-C stops an answer and keeps what was said."""


class Commands:
    """The present chat, and the commands that change it."""

    def __init__(self, assistant: Assistant, settings: Settings, paths: Paths) -> None:
        self.assistant = assistant
        self.settings = settings
        self.paths = paths
        self.chat: Chat | None = None
        """None until the first question of a new chat."""
        self.options = ChatOptions()
        """What a new chat will ask for."""
        self.system = settings.system
        self.leaving = False

    @property
    def history(self) -> History:
        """Where chats are kept."""
        return self.assistant.history

    def say(self, text: str) -> None:
        """One or more lines, without anything that a terminal would obey."""
        sys.stdout.write(text.translate(CONTROL) + "\n")
        sys.stdout.flush()

    def ensure_chat(self) -> Chat:
        """The present chat, made if need be."""
        if self.chat is None:
            self.chat = self.history.create_chat(system=self.system, options=self.options)
        return self.chat

    def last_message(self) -> StoredMessage | None:
        """The end of this chat; None, and said, where there is nothing yet."""
        path = self.history.path(self.chat.id) if self.chat else []
        if not path:
            self.say("Nothing was asked in this chat yet.")
            return None
        return path[-1]

    # ---- chats ------------------------------------------------------------------------------------------------------

    def new(self, argument: str) -> None:
        """A new chat."""
        self.chat, self.options, self.system = None, ChatOptions(), self.settings.system
        self.say("New chat.")

    def chats(self, argument: str) -> None:
        """List chats, the last used first."""
        found = self.history.chats(argument or None, limit=20)
        for chat in found:
            self.say(f"{chat.id}. {chat.title or 'Untitled'}, {counted(chat.n_messages, 'message')}")
        if not found:
            self.say(f"No chat holds {argument}." if argument else "There are no chats yet.")

    def open_chat(self, argument: str) -> None:
        """Go on in another chat."""
        if not argument:
            self.say("Which one? /chats lists them.")
            return
        self.chat = self.history.chat(argument)
        self.options = self.chat.options
        self.say(f"Chat {self.chat.id}, {self.chat.title or 'untitled'}. /show reads it.")

    def show(self, argument: str) -> None:
        """Read the chat from its beginning."""
        names = {Role.USER: "You", Role.ASSISTANT: "Answer", Role.SYSTEM: "System"}
        path = self.history.path(self.chat.id) if self.chat else []
        for message in path:
            self.say(f"{names[message.role]}: {message.content}")
        if not path:
            self.say("Nothing was asked in this chat yet.")

    # ---- what answers -----------------------------------------------------------------------------------------------

    def models(self, argument: str) -> None:
        """List the models that write text."""
        from localllm.models.shelf import list_models

        found = [m for m in list_models(self.paths) if m.usable]
        for model in found:
            self.say(f"{model.name}, {model.size_bytes / 1e9:.1f} GB, {model.source}")
        if not found:
            self.say("There is none. `localllm models pull starter` gets a small one.")

    def model(self, argument: str) -> None:
        """Which model answers, or answer with another from now on."""
        from localllm.open import engine_spec

        if not argument:
            engine = self.assistant.engine
            name = engine.info.model if engine else self.settings.model or "the starter"
            self.say(f"{name} answers{'' if engine else ', not loaded yet'}.")
            return
        settings = self.settings.with_changes(model=argument)
        engine_spec(settings, self.paths)  # a wrong name is known before the present model is let go
        self._switch(settings)
        self.say(f"{argument} answers from now on; it is loaded with the next question.")

    def _switch(self, settings: Settings) -> None:
        from localllm.open import open_engine

        paths = self.paths

        def opener(report: Callable[[Loading], None]) -> Engine:
            return open_engine(settings, paths, on_progress=report)

        self.settings = settings
        self.assistant.switch(opener)

    def docs(self, argument: str) -> None:
        """Which library is asked, or another."""
        self._option("docs", argument, "The library {} is asked.", "No documents are asked.")

    def rules(self, argument: str) -> None:
        """Which rule set answers must follow, or another."""
        self._option("rules", argument, "Answers must follow the rule set {}.", "No rules are followed.")

    def _option(self, name: str, argument: str, some: str, none: str) -> None:
        from localllm.assistant import chat_settings

        if argument:
            value = "" if argument == "none" else argument
            others = {n: v for n, v in self.options.settings.items() if n != name}
            # An empty value leaves the settings as they are, so that "none" has to be said as a setting.
            options = replace(self.options, **{name: value}, settings=others if value else {**others, name: ""})
            self.assistant.check(chat_settings(self.settings, options))
            self.options = options
            if self.chat is not None:
                self.history.set_options(self.chat.id, options)
        now = getattr(chat_settings(self.settings, self.options), name)
        self.say(some.format(now) if now else none)

    def preset(self, argument: str) -> None:
        """List the presets, or start a new chat with one."""
        from localllm.assistant import chat_settings
        from localllm.open import engine_spec
        from localllm.presets import chat_options, list_presets, load_preset

        if not argument:
            good, bad = list_presets(self.paths)
            for preset in good:
                self.say(f"{preset.name}: {preset.description or preset.summary}")
            for error in bad:
                self.say(f"Error: {error}")
            if not good and not bad:
                self.say(f"There are no presets. They are TOML files in {self.paths.presets}.")
            return
        preset = load_preset(argument, self.paths)
        options, settings = chat_options(preset), preset.apply(self.settings)
        self.assistant.check(chat_settings(self.settings, options))
        loads = ("model", "draft", "embedder", "ctx", "gpu_layers", "threads", "kv_type", "kv_type_v")
        if any(getattr(settings, name) != getattr(self.settings, name) for name in loads):
            engine_spec(settings, self.paths)
            self._switch(self.settings.with_changes(**{name: getattr(settings, name) for name in loads}))
        self.chat, self.options, self.system = None, options, settings.system
        self.say(f"New chat with the preset {preset.name}.")
