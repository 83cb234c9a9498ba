"""`localllm chats`: list, read, search, export, import and remove the chats of the history."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.complete import chat_names
from localllm.cli.session import Session, common_options, confirm, print_json
from localllm.counted import counted
from localllm.errors import InputError

if TYPE_CHECKING:
    from localllm.history import Chat


@click.group()
def command() -> None:
    """Your chats: list, read, search, export, import, remove."""


@command.command("list")
@click.option("-s", "--search", metavar="TEXT", help="Only chats in which these words occur.")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="At most N chats.")
@click.option("--deleted", is_flag=True, help="The removed ones that can still be restored.")
@common_options
@click.pass_obj
def list_(session: Session, /, search: str | None, limit: int | None, deleted: bool, as_json: bool) -> None:
    """List chats, the last used first."""
    chats = session.history.chats(search, deleted=deleted, limit=-1 if limit is None else limit)
    if as_json:
        print_json({"chats": [_summary(chat) for chat in chats]})
        return
    for chat in chats:
        when = datetime.fromtimestamp(chat.updated).strftime("%Y-%m-%d %H:%M")
        _write(f"{chat.id:>5}  {when}  {counted(chat.n_messages, 'message'):>13}  {chat.title or 'Untitled'}")
    if not chats:
        session.say("There are no chats." if not search else f"No chat holds {search!r}.")


@command.command()
@click.argument("chat", shell_complete=chat_names)
@common_options
@click.pass_obj
def show(session: Session, /, chat: str, as_json: bool) -> None:
    """Print the active branch of CHAT, given by its number or title."""
    from localllm.history.export import markdown

    found = session.history.chat(chat)
    if as_json:
        messages = [
            {
                "id": m.id,
                "role": m.role.value,
                "content": m.content,
                "state": m.state.value,
                "reason": m.reason,
                "model": m.model,
                "created": m.created,
            }
            for m in session.history.path(found.id)
        ]
        print_json({**_summary(found), "system": found.system, "messages": messages})
    else:
        _write(markdown(session.history, found))


@command.command()
@click.argument("query")
@click.option("-k", "--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Hits.")
@common_options
@click.pass_obj
def search(session: Session, /, query: str, limit: int, as_json: bool) -> None:
    """Find words in titles and messages. Phrases go in double quotes; the last word may be a beginning."""
    from localllm.cli.reply import CONTROL

    hits = session.history.search(query, limit=limit)
    if as_json:
        rows = [
            {"chat": h.chat_id, "title": h.title, "message": h.message_id, "snippet": _plain(h.snippet)} for h in hits
        ]
        print_json({"hits": rows})
        return
    bold = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
    for hit in hits:
        snippet = f"{hit.title or 'Untitled'}: {' '.join(hit.snippet.split())}"
        marked = "".join(c for c in snippet if ord(c) not in CONTROL or c in "\x02\x03")
        click.echo(f"{hit.chat_id:>5}  {marked.translate({2: bold[0], 3: bold[1]})}")
    if not hits:
        session.say(f"Nothing holds {query!r}.")


@command.command()
@click.argument("chats", nargs=-1, shell_complete=chat_names)
@click.option("--all", "everything", is_flag=True, help="Every chat.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["markdown", "jsonl", "html"]),
    default="markdown",
    help="Markdown is the default.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A file to write."
)
@common_options
@click.pass_obj
def export(
    session: Session,
    /,
    chats: tuple[str, ...],
    everything: bool,
    kind: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Write CHATS as Markdown, JSON Lines (every branch, can be imported again) or HTML."""
    from localllm.history.export import FORMATS

    if bool(chats) == everything:
        raise click.UsageError("Name the chats to export, or give --all.")
    found = session.history.chats() if everything else [session.history.chat(name) for name in chats]
    if kind == "html" and len(found) != 1:
        raise click.UsageError("HTML holds one chat.")
    between = "" if kind == "jsonl" else "\n"
    text = between.join(FORMATS[kind](session.history, chat) for chat in found)
    if output is not None:
        _write_file(output, text)
        session.say(f"{counted(len(found), 'chat')} written to {output}.")
    if as_json:
        print_json({"chats": len(found), "file": None if output is None else str(output), "text": text})
    elif output is None:
        _write(text)


@command.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@common_options
@click.pass_obj
def import_(session: Session, /, path: Path, as_json: bool) -> None:
    """Read chats from PATH: our own JSON Lines, ChatGPT's conversations.json, Jan's threads folder, llm's logs.db."""
    from localllm.history.importing import load

    n_chats, n_messages = load(session.history, path)
    if as_json:
        print_json({"chats": n_chats, "messages": n_messages})
    else:
        click.echo(f"{counted(n_chats, 'chat')} with {counted(n_messages, 'message')} imported.")


@command.command()
@click.argument("chat", shell_complete=chat_names)
@click.argument("title")
@common_options
@click.pass_obj
def rename(session: Session, /, chat: str, title: str, as_json: bool) -> None:
    """Give CHAT another TITLE."""
    found = session.history.chat(chat)
    session.history.rename(found.id, title)
    if as_json:
        print_json(_summary(session.history.chat(found.id)))


@command.command()
@click.argument("chats", nargs=-1, required=True, shell_complete=chat_names)
@click.option("--purge", is_flag=True, help="For good: they can't be restored.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@common_options
@click.pass_obj
def remove(session: Session, /, chats: tuple[str, ...], purge: bool, yes: bool, as_json: bool) -> None:
    """Remove CHATS. They can be restored with `localllm chats restore`, except with --purge."""
    from localllm.open import purge_chat

    found = [session.history.chat(name) for name in chats]
    if purge and not yes:
        confirm(f"Remove {counted(len(found), 'chat')} for good?")
    for chat in found:
        if purge:
            purge_chat(session.history, session.paths, chat.id)
        else:
            session.history.delete(chat.id)
    if as_json:
        print_json({"removed": [chat.id for chat in found], "purged": purge})
    else:
        again = "" if purge else " `localllm chats restore NUMBER` brings one back."
        session.say(f"{counted(len(found), 'chat')} removed.{again}")


@command.command()
@click.argument("numbers", nargs=-1, required=True, type=int)
@common_options
@click.pass_obj
def restore(session: Session, /, numbers: tuple[int, ...], as_json: bool) -> None:
    """Bring removed chats back, by their NUMBERS in `localllm chats list --deleted`."""
    for number in numbers:
        session.history.restore(number)
    if as_json:
        print_json({"restored": list(numbers)})


@command.command("set-aside")
@common_options
@click.pass_obj
def set_aside_(session: Session, /, as_json: bool) -> None:
    """Move a damaged history out of the way. Nothing is deleted; the next chat starts a new history."""
    from localllm.history import set_aside

    path = set_aside(session.paths.history)
    if as_json:
        print_json({"moved_to": str(path)})
    else:
        click.echo(f"The history is kept as {path}; the next chat starts a new one.")


def _summary(chat: Chat) -> dict[str, Any]:
    return {
        "id": chat.id,
        "title": chat.title,
        "created": chat.created,
        "updated": chat.updated,
        "model": chat.model,
        "n_messages": chat.n_messages,
    }


def _plain(snippet: str) -> str:
    return snippet.translate({2: None, 3: None})


def _write(text: str) -> None:
    from localllm.cli.reply import CONTROL

    click.echo(text.translate(CONTROL) if sys.stdout.isatty() else text)


def _write_file(path: Path, text: str) -> None:
    """A file appears whole or not at all, behind a link too; a device or a named pipe is written to as it is."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_text(text, "utf-8")
        return
    part = path.with_name(f".{path.name}.{time.time_ns()}.part")
    try:
        part.touch(0o600)
        part.write_text(text, "utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{path} can't be written: {error.strerror or error}.") from error
