"""The chat without a screen, line by line: for screen readers, simple terminals and slow lines.

Nothing here moves the cursor, colours anything or overwrites a line: what was said stays said, in order. It is the same
history and the same stream of events as in the app.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from localllm.cli.ask import stop_on_interrupt
from localllm.cli.plain_commands import COMMANDS, HELP, Commands
from localllm.cli.plain_reply import PlainReply
from localllm.cli.session import Session
from localllm.errors import LocalLLMError

if TYPE_CHECKING:
    from collections.abc import Generator

    from localllm.assistant import Assistant
    from localllm.events import Event
    from localllm.settings import Paths, Settings

ReadLine = Callable[[str], str | None]
"""Shows a prompt and returns the line that was typed, None at the end of input."""


def plain_wanted(settings: Settings, environ: Mapping[str, str] = os.environ) -> bool:
    """The user asked for no screen, or the terminal can't draw one."""
    return settings.plain or environ.get("TERM", "") in ("dumb", "unknown")


def run_plain(session: Session | None = None) -> int:
    """Chat until the user leaves; returns the exit code.

    Raises:
        LocalLLMError: Settings or history can't be opened.
    """
    from localllm.history import History
    from localllm.open import open_assistant

    session = session or Session()
    paths, settings = session.paths, session.settings
    with History(paths.history) as history, open_assistant(settings, paths, history=history) as assistant:
        return PlainChat(assistant, settings, paths, session=session).run()


def read_line(prompt: str) -> str | None:
    """A line of standard input; the terminal's own line editing, so that no control sequence is ever sent."""
    sys.stdout.write(prompt)
    sys.stdout.flush()
    data = sys.stdin.buffer.readline()
    return data.decode(sys.stdin.encoding or "utf-8", "replace").rstrip("\r\n") if data else None


class PlainChat(Commands):
    """One conversation in lines.

    Args:
        assistant: Answers; its history holds the chats.
        settings: How it answers, where a chat says nothing else.
        paths: Where presets, models and rule sets are.
        read: Where lines come from.
        session: Where remarks go.
    """

    def __init__(
        self,
        assistant: Assistant,
        settings: Settings,
        paths: Paths,
        *,
        read: ReadLine = read_line,
        session: Session | None = None,
    ) -> None:
        super().__init__(assistant, settings, paths)
        self.read = read
        self.session = session or Session()

    def run(self) -> int:
        """Read and answer until ``/quit`` or the end of input."""
        self.say("localllm, line by line. Type a question. /help lists the commands, /quit leaves, Ctrl-C stops.")
        self.greet()
        while not self.leaving:
            try:
                line = self.read("You: ")
                if line is None:
                    self.say("")
                    return 0
                self.take(line)
            except KeyboardInterrupt:
                self.say("\nType /quit to leave.")
        return 0

    def greet(self) -> None:
        """Load the model in advance, and say what is here; a missing model is no reason not to read old chats."""
        from localllm.open import engine_spec

        try:
            engine_spec(self.settings, self.paths, documents=False)
        except LocalLLMError as error:
            self.say(f"Error: {error}")
        else:
            threading.Thread(target=self._load, name="localllm-loading", daemon=True).start()
        last = self.history.last_chat()
        if last is not None:
            self.say(f"Your last chat is number {last.id} ({last.title or 'untitled'}); /open {last.id} goes on there.")

    def _load(self) -> None:
        with suppress(LocalLLMError):  # the first question meets it again, and says it
            for _ in self.assistant.load():
                pass

    def take(self, line: str) -> None:
        """One line: a command or a question. What fails is said in one line, and the chat goes on."""
        line = line.strip()
        try:
            if line.startswith("/"):
                self.obey(line)
            elif line:
                self.send(line)
        except LocalLLMError as error:
            self.say(f"Error: {error}")

    def obey(self, line: str) -> None:
        """Do what a command says."""
        name, _, argument = line[1:].partition(" ")
        method = COMMANDS.get(name.lower())
        if method is None:
            self.say(f"There is no command /{name}. /help lists them.")
            return
        getattr(self, method)(argument.strip())

    # ---- what starts an answer --------------------------------------------------------------------------------------

    def send(self, text: str) -> None:
        """Ask a question."""
        chat = self.ensure_chat()
        self.follow(lambda cancel: self.assistant.send(chat.id, text, cancel=cancel))

    def lines(self, argument: str) -> None:
        """Ask a question of several lines."""
        self.say("Write your lines; a line with only a dot sends them.")
        lines = [argument] if argument else []
        while (line := self.read("")) is not None and line.strip() != ".":
            lines.append(line)
        if text := "\n".join(lines).strip():
            self.send(text)

    def regenerate(self, argument: str) -> None:
        """Answer again, beside the last answer."""
        if (last := self.last_message()) is not None:
            self.follow(lambda cancel: self.assistant.regenerate(last.id, cancel=cancel))

    def continue_(self, argument: str) -> None:
        """Go on behind the last answer."""
        if (last := self.last_message()) is not None:
            self.follow(lambda cancel: self.assistant.continue_(last.id, cancel=cancel), prefix=last.content)

    def follow(self, start: Callable[[threading.Event], Generator[Event, None, None]], *, prefix: str = "") -> None:
        """Say what happens in a turn; the first Ctrl-C stops it and keeps the text."""
        reply = PlainReply(self.session, prefix)
        try:
            with stop_on_interrupt() as cancel, closing(start(cancel)) as turn:
                for event in turn:
                    reply.follow(event)
        finally:
            reply.end_line()

    def help(self, argument: str) -> None:
        """List the commands."""
        self.say(HELP)

    def quit(self, argument: str) -> None:
        """Leave."""
        self.leaving = True
