"""`localllm ask`: one answer, for people and for scripts."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.complete import chat_names, draft_names, library_names, model_names, preset_names, rule_names
from localllm.cli.main import BROKEN_RULE, INTERRUPTED, NOT_IN_DOCUMENTS
from localllm.cli.session import Session, common_options
from localllm.errors import ChatNotFound, InputError

if TYPE_CHECKING:
    from localllm.events import Finished
    from localllm.history import Chat, History
    from localllm.settings import Settings


@click.command()
@click.argument("prompt", required=False)
@click.option(
    "-m", "--model", metavar="NAME", shell_complete=model_names, help="A name from `localllm models list`, or a path."
)
@click.option(
    "-p", "--preset", "preset_name", metavar="NAME", shell_complete=preset_names,
    help="Model, prompt, sampling, rules and documents under one name; flags win over it.",
)  # fmt: skip
@click.option(
    "--draft", metavar="auto|none|NAME", shell_complete=draft_names, help="Draft model for speculative decoding."
)
@click.option("--system", metavar="TEXT", help="System prompt.")
@click.option("-c", "--continue", "go_on", is_flag=True, help="Go on in the chat used last.")
@click.option(
    "--chat", "chat_name", metavar="CHAT", shell_complete=chat_names, help="Go on in this chat: its number or title."
)
@click.option("--temporary", is_flag=True, help="Keep neither question nor answer.")
@click.option(
    "-d", "--docs", metavar="LIBRARY", shell_complete=library_names, help="Answer from the documents of this library."
)
@click.option(
    "-r",
    "--rules",
    metavar="FILE",
    shell_complete=rule_names,
    help="Rule set that the answer must follow: a file or a name.",
)
@click.option("--schema", metavar="FILE", help="JSON Schema that the answer must follow.")
@click.option("-n", "--max-tokens", type=click.IntRange(min=0), metavar="N", help="Most tokens of the answer.")
@click.option("-t", "--temperature", type=click.FloatRange(0, 10), metavar="T", help="0: always the likeliest token.")
@click.option("--top-k", type=click.IntRange(min=0), metavar="K", help="Keep the K likeliest tokens; 0 keeps all.")
@click.option("--top-p", type=click.FloatRange(0.01, 1), metavar="P", help="Keep the likeliest up to probability P.")
@click.option("--min-p", type=click.FloatRange(0, 1), metavar="P", help="Drop tokens below this share of the best.")
@click.option("--seed", type=click.IntRange(min=-1), metavar="N", help="Seed of sampling; -1 draws a new one.")
@click.option("--ctx", type=click.IntRange(min=0), metavar="N", help="Context window in tokens.")
@click.option("--gpu-layers", metavar="auto|N", help="Layers to put on the GPU.")
@click.option("--answer", "answer_mode", type=click.Choice(["auto", "generate", "extract"]), help="With --docs.")
@click.option("--passages", "assembly", type=click.Choice(["auto", "exact", "warm", "instant"]), help="With --docs.")
@click.option("--show-prompt", is_flag=True, help="Print the prompt as the model sees it to standard error.")
@click.option("--allow-code", is_flag=True, default=None, help="Let the rule set run its own Python code.")
@click.option("--stats", is_flag=True, help="Print what the answer cost to standard error.")
@common_options
@click.pass_obj
def command(
    session: Session,
    /,
    *,
    prompt: str | None,
    go_on: bool,
    chat_name: str | None,
    temporary: bool,
    preset_name: str | None,
    schema: str | None,
    show_prompt: bool,
    stats: bool,
    as_json: bool,
    **changes: Any,
) -> int:
    """Answer PROMPT, standard input, or both: a piped text follows the prompt.

    The answer goes to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage,
    3 a rule is broken, 4 not in your documents, 130 interrupted (what was said is kept).
    """
    from localllm.assistant import chat_settings
    from localllm.cli.reply import JsonReply, Reply, TextReply
    from localllm.events import ContextUse, Finished
    from localllm.open import engine_spec, open_assistant
    from localllm.presets import chat_options, load_preset

    text = question(prompt)
    preset = load_preset(preset_name, session.paths) if preset_name is not None else None
    history = kept_history(session, temporary)
    chat = chosen_chat(history, go_on, chat_name)
    settings = chat_settings(session.settings, chat.options) if chat else session.settings
    settings = changed(preset.apply(settings) if preset else settings, changes)
    spec = engine_spec(settings, session.paths, documents=bool(settings.docs))
    with history() as kept:
        assistant = open_assistant(settings, session.paths, spec=spec, history=kept, schema=schema)
        assistant.check(settings)
        options = chat_options(preset) if preset else None
        if chat is None:
            chat = kept.create_chat(system=settings.system, options=options)
        else:
            if options is not None:
                kept.set_options(chat.id, options)
            if changes["system"] is not None or (preset and "system" in preset.values):
                kept.set_system(chat.id, settings.system)
        revisable = bool(settings.docs or settings.rules or schema)
        reply: Reply = (
            JsonReply(session, stats=stats) if as_json else TextReply(session, revisable=revisable, stats=stats)
        )
        finished: Finished | None = None
        with (
            assistant,
            stop_on_interrupt() as cancel,
            closing(assistant.send(chat.id, text, cancel=cancel, settings=settings)) as turn,
        ):
            for event in turn:
                if show_prompt and isinstance(event, ContextUse):
                    click.echo(assistant.sent_prompt(), err=True)
                reply.follow(event)
                if isinstance(event, Finished):
                    finished = event
    assert finished is not None, "a turn ends with Finished"
    return exit_code(finished)


def question(prompt: str | None) -> str:
    """The prompt, what is piped in, or both with an empty line between.

    Raises:
        InputError: Either is not UTF-8.
        UsageError: There is neither.
    """
    parts = [prompt or "", piped()]
    try:
        parts[0].encode()
    except UnicodeEncodeError as error:
        raise InputError("The prompt is not UTF-8 text.", "Check the terminal's encoding.") from error
    text = "\n\n".join(part for part in parts if part.strip())
    if not text:
        raise click.UsageError("Nothing was asked: give a prompt, or pipe a text in.")
    return text


def piped() -> str:
    """Standard input, when it is no terminal; without a byte order mark and the last line feed."""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return ""
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"Standard input is not UTF-8 text (byte {error.start:,} of {len(data):,}).",
            "Convert it first, for example with iconv.",
        ) from error


def changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """The settings with the flags of the command line on top."""
    try:
        return settings.with_changes(**changes)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def kept_history(session: Session, temporary: bool) -> Callable[[], History]:
    """Opens the user's chats when first called, or one in memory that ends with the command."""
    from localllm.history import History

    if not temporary:
        return lambda: session.history
    memory = History(None)
    return lambda: memory


def chosen_chat(history: Callable[[], History], go_on: bool, name: str | None) -> Chat | None:
    """The chat to go on in, None for a new one."""
    if name is not None:
        return history().chat(name)
    if not go_on:
        return None
    last = history().last_chat()
    if last is None:
        raise ChatNotFound("There is no chat to continue yet.", "Ask without --continue first.")
    return last


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C ends the answer and keeps it; a second one ends the program."""
    cancel = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    if threading.current_thread() is not threading.main_thread():
        yield cancel
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield cancel
    finally:
        signal.signal(signal.SIGINT, before)


def exit_code(finished: Finished) -> int:
    """What the answer means to a script."""
    from localllm.events import FinishReason

    if finished.reason is FinishReason.CANCELLED:
        return INTERRUPTED
    if finished.reason is FinishReason.RULE or (finished.verdict is not None and not finished.verdict.passed):
        return BROKEN_RULE
    return NOT_IN_DOCUMENTS if finished.reason is FinishReason.REFUSED else 0
