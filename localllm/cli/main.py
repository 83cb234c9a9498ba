"""The root command: finds the command's file, and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import click

from localllm import __version__
from localllm.errors import LocalLLMError

# name: (module in localllm.cli, one-line help). Kept here so that --help imports no command.
COMMANDS: dict[str, tuple[str, str]] = {
    "ask": ("ask", "Answer one question."),
    "docs": ("docs", "Index your documents and search them."),
    "models": ("models", "The models on this computer."),
    "rules": ("rules", "Check texts against rule sets."),
    "chats": ("chats", "Your chats."),
    "bench": ("bench", "Measure this machine with a model."),
    "doctor": ("doctor", "What works here, what is missing, and how to get it."),
}

FAILED, USAGE, BROKEN_RULE, NOT_IN_DOCUMENTS, INTERRUPTED = 1, 2, 3, 4, 130
"""Exit codes; 0 is done."""


COMPLETION = "_LOCALLLM_COMPLETE"
"""The variable through which a shell asks for what may follow."""


class LazyGroup(click.Group):
    """A group whose commands are modules ``localllm.cli.<name>`` with an attribute ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, without importing anything."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the file of one command."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"localllm.cli.{COMMANDS[cmd_name][0]}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--offline", is_flag=True, help="Refuse every network connection.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks on standard error.")
@click.option("-v", "--verbose", is_flag=True, help="Show tracebacks and what goes on inside.")
@click.version_option(__version__, prog_name="localllm")
@click.pass_context
def cli(ctx: click.Context, offline: bool, quiet: bool, verbose: bool) -> None:
    """A private assistant in your terminal. Without a command it opens the app."""
    from localllm.cli.session import Session

    ctx.obj = Session(offline=offline, quiet=quiet, verbose=verbose)


def main(open_app: Callable[[], int] | None = None, args: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        open_app: Opens the screen; called when no command is given and standard output is a terminal.
        args: The arguments, by default those of the process.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    try:
        _speak_utf8()
        if not arguments and COMPLETION not in os.environ:
            if open_app is not None and sys.stdin.isatty() and sys.stdout.isatty():
                return open_app()
            click.echo(cli.get_help(click.Context(cli, info_name="localllm")), err=True)
            return USAGE
        if COMPLETION in os.environ:
            from localllm.cli.bash import register

            register()
        result = cli.main(arguments, prog_name="localllm", complete_var=COMPLETION, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        if "--json" in arguments:
            _print_json_error("usage", error.format_message(), "See --help.")
        else:
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return FAILED
    except LocalLLMError as error:
        _report(error.kind, error.message, error.hint, arguments)
        return FAILED
    except OSError as error:
        if error.filename is None:  # perhaps standard output itself, on a full disk: nothing more can be said there
            _forget_stdout()
            _report("os_error", f"{error.strerror or error}.", "", [a for a in arguments if a != "--json"])
        else:
            _report("os_error", f"{error.filename}: {error.strerror or error}.", "", arguments)
        return FAILED
    except Exception as error:
        # A mistake of ours: still one line for the user, and the whole story with -v.
        text = " ".join(f"{type(error).__name__}: {error}".split())
        _report("internal_error", f"Something went wrong inside localllm ({text}).", "-v shows where.", arguments)
        return FAILED


def _report(kind: str, message: str, hint: str, arguments: Sequence[str]) -> None:
    """One line on standard error, or the error as JSON; the traceback of what is being handled with ``-v``."""
    if "-v" in arguments or "--verbose" in arguments:
        import traceback

        traceback.print_exc()
    if "--json" in arguments:
        _print_json_error(kind, message, hint)
    else:
        click.echo(f"localllm: {message} {hint}".rstrip(), err=True)


def _forget_stdout() -> None:
    """The reader of our output has gone: point the descriptor elsewhere, or Python complains again at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def _speak_utf8() -> None:
    """Answers hold any character: a pipe gets UTF-8, and no terminal is an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and (stream.encoding or "").lower().replace("-", "") != "utf8":
            reconfigure(errors="replace") if stream.isatty() else reconfigure(encoding="utf-8", errors="replace")


def _print_json_error(kind: str, message: str, hint: str) -> None:
    import json

    click.echo(json.dumps({"error": {"kind": kind, "message": message, "hint": hint}}, ensure_ascii=False))
