"""The guides are true to the command line: every command in them exists and takes the options that are shown."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from localllm.cli.main import cli
from localllm.cli.plain_commands import COMMANDS
from localllm.presets import PRESET_SETTINGS
from localllm_tui.actions import ACTIONS, key_names

DOCS = Path(__file__).parent.parent / "docs"
GUIDES = ("guide.md", "cli.md")


def commands(page: str) -> list[str]:
    """Commands in blocks of the shell and in backticks, without comments."""
    text = (DOCS / page).read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.partition("  #")[0] for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(localllm [^`]+)`", text)
    found = [line.split("|")[-1].strip() for line in lines if "localllm " in line and "_COMPLETE" not in line]
    return sorted({line for line in found if line.startswith("localllm ")})


def unknown(line: str) -> str:
    """What of a command does not exist; empty when all of it does."""
    words = shlex.split(line)[1:]
    command: click.Command = cli
    ctx = click.Context(cli, info_name="localllm")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        child = command.get_command(ctx, words[0])
        if child is None:
            return words[0]
        command = child
        words = words[1:]
    options = {o for p in command.params if isinstance(p, click.Option) for o in (*p.opts, *p.secondary_opts)}
    return next((w for w in words if re.fullmatch(r"--?[a-z][a-z-]*", w) and w not in {*options, "--help"}), "")


@pytest.mark.parametrize(("page", "line"), [(page, line) for page in GUIDES for line in commands(page)])
def test_every_command_exists_with_its_options(page: str, line: str) -> None:
    assert unknown(line) == ""


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert unknown("localllm asks x") == "asks" and unknown("localllm ask x --temprature 1") == "--temprature"
    assert len(commands("guide.md")) > 20


def test_the_keys_in_the_guide_are_those_of_the_app() -> None:
    text = (DOCS / "guide.md").read_text("utf-8")
    keys = {name for action in ACTIONS for name in key_names(action).split(", ") if name}
    shown = set(re.findall(r"\b(?:Ctrl|Alt)\+[A-Z]\b|\bF\d+\b", text))
    assert shown and shown - keys == set()


def test_the_example_of_a_preset_can_be_used_and_the_line_commands_are_all_there() -> None:
    text = (DOCS / "cli.md").read_text("utf-8")
    example = re.search(r"^```toml\n(description.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert example is not None and set(tomllib.loads(example[1])) - {"description"} <= set(PRESET_SETTINGS)
    assert [name for name in COMMANDS if f"`/{name}" not in text] == ["exit"]


@pytest.mark.parametrize("page", GUIDES)
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (DOCS / page).read_text("utf-8"))
    assert [link for link in links if not (DOCS / link).exists()] == []
