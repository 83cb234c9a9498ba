"""The page of the command line: every option is on it, and everything has a line of help."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from localllm.cli.main import COMMANDS

PAGE = (Path(__file__).parent.parent / "docs" / "cli.md").read_text("utf-8")
COMMON = {"--json", "--offline", "--quiet", "--verbose", "--help", "-q", "-v", "-h"}


def group(name: str) -> click.Command:
    command = import_module(f"localllm.cli.{COMMANDS[name][0]}").command
    assert isinstance(command, click.Command)
    return command


def commands(name: str, command: click.Command) -> list[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        return [pair for sub, inner in command.commands.items() for pair in commands(f"{name} {sub}", inner)]
    return [(name, command)]


OURS = ("ask", "chats", "doctor")
"""The groups that docs/cli.md describes in full; the others have pages of their own."""
THERE = [name for name in COMMANDS if find_spec(f"localllm.cli.{COMMANDS[name][0]}")]
ALL = [pair for name in THERE for pair in commands(name, group(name))]


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_command_and_option_has_help_and_takes_the_common_flags(name: str, command: click.Command) -> None:
    assert (command.help or "").strip(), name
    options = [p for p in command.params if isinstance(p, click.Option)]
    if name.split()[0] in OURS:
        assert all((option.help or "").strip() for option in options)
    flags = {flag for option in options for flag in option.opts}
    assert flags >= {"--json", "--offline", "-q", "-v"}


@pytest.mark.parametrize("name", OURS)
def test_the_page_lists_every_command_and_every_option(name: str) -> None:
    for path, command in commands(name, group(name)):
        assert f"localllm {path}" in PAGE or f"`{path.split()[-1]}`" in PAGE, path
        for option in command.params:
            if isinstance(option, click.Option) and not set(option.opts) & COMMON:
                assert any(flag in PAGE for flag in option.opts), f"{path} {option.opts}"


def test_the_exit_codes_on_the_page_are_those_of_the_program() -> None:
    from localllm.cli import main as module

    main = import_module(module.__module__)
    for code in (main.FAILED, main.USAGE, main.BROKEN_RULE, main.NOT_IN_DOCUMENTS, main.INTERRUPTED):
        assert f"| {code} |" in PAGE
