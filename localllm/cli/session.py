"""What every command shares: paths, settings, and where messages go."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from localllm.settings import Paths, Settings, find_paths, load_settings

if TYPE_CHECKING:
    from localllm.history import History

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Session:
    """One run of the command line."""

    offline: bool = False
    quiet: bool = False
    verbose: bool = False

    @cached_property
    def paths(self) -> Paths:
        """Where files are kept."""
        return find_paths()

    @cached_property
    def settings(self) -> Settings:
        """Settings of the file and the environment, with ``--offline`` of the command line on top."""
        return load_settings(self.paths).with_changes(offline=self.offline or None)

    @cached_property
    def history(self) -> History:
        """The user's chats."""
        from localllm.history import History

        history = History(self.paths.history)
        if context := click.get_current_context(silent=True):
            context.call_on_close(history.close)
        return history

    def say(self, text: str) -> None:
        """A remark for people, on standard error; silent with ``-q``."""
        if not self.quiet:
            click.echo(text, err=True)

    @property
    def progress(self) -> bool:
        """Whether progress may be drawn: standard error is a terminal and ``-q`` was not given."""
        return not self.quiet and sys.stderr.isatty()


def confirm(question: str) -> None:
    """Ask before something is removed; the command ends here where the answer is no.

    Raises:
        UsageError: Nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise click.UsageError("This asks first: it needs -y where nobody can be asked.")
    click.confirm(question, abort=True, err=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output; dataclasses become objects."""
    click.echo(json.dumps(value, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)


def common_options(function: F) -> F:
    """The flags that every command takes: ``--json``, ``--offline``, ``-q``, ``-v``."""

    def keep(name: str) -> Callable[[click.Context, click.Parameter, bool], bool]:
        def callback(ctx: click.Context, param: click.Parameter, value: bool) -> bool:
            session = ctx.ensure_object(Session)
            if value:
                setattr(session, name, True)
            return value

        return callback

    for decorator in (
        click.option(
            "--json", "as_json", is_flag=True, help="One JSON document on standard output, nothing else there."
        ),
        click.option(
            "--offline", is_flag=True, expose_value=False, callback=keep("offline"), help="No network at all."
        ),
        click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=keep("quiet"), help="No remarks."),
        click.option("-v", "--verbose", is_flag=True, expose_value=False, callback=keep("verbose"), help="Say more."),
    ):
        function = decorator(function)
    return function


def one_line(text: str, width: int = 240) -> str:
    """A text as one line of a terminal, of at most `width` characters and without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= width else line[: width - 1] + "…"
