"""Chats as files: Markdown to read, HTML to show, JSON Lines to keep every branch and read it back."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime

from localllm.events import Citation, Role, place_of
from localllm.history.records import Chat, MessageState, StoredMessage, to_json
from localllm.history.store import History

_NAMES = {Role.USER: "You", Role.SYSTEM: "System"}


def markdown(history: History, chat: Chat) -> str:
    """The active branch of a chat."""
    lines = [f"# {chat.title or 'Untitled'}", "", f"*{_when(chat.created)}*", ""]
    if chat.system:
        lines += ["> " + line for line in chat.system.splitlines()] + [""]
    for message in history.path(chat.id):
        lines += [f"## {_name(message)}", "", message.content.rstrip(), ""]
        for citation in message.citations:
            lines.append(f"- {_cited(citation)}")
        if message.citations:
            lines.append("")
        if message.state is not MessageState.COMPLETE:
            lines += [f"*({message.state.value}: {message.reason})*", ""]
    return "\n".join(lines)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ max-width: 44rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }}
article {{ border-top: 1px solid #8884; padding: .5rem 0; }}
h2 {{ font-size: .9rem; opacity: .7; }}
p {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
small {{ opacity: .7; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p><small>{when}</small></p>
{articles}
</body>
</html>
"""


def as_html(history: History, chat: Chat) -> str:
    """The active branch of a chat as one page that loads nothing and runs nothing."""
    articles = []
    for message in history.path(chat.id):
        parts = [f"<h2>{html.escape(_name(message))}</h2>", f"<p>{html.escape(message.content)}</p>"]
        for citation in message.citations:
            parts.append(f"<small>{html.escape(_cited(citation))}</small><br>")
        articles.append("<article>\n" + "\n".join(parts) + "\n</article>")
    title = html.escape(chat.title or "Untitled")
    return _PAGE.format(title=title, when=_when(chat.created), articles="\n".join(articles))


def jsonl(history: History, chats: Iterable[Chat]) -> Iterator[str]:
    """Every message of every branch, one per line; a line that opens a chat comes before its messages."""
    for chat in chats:
        head = asdict(chat)
        yield json.dumps({"kind": "chat", **head}, ensure_ascii=False)
        for message in history.messages(chat.id):
            row = json.loads(to_json(message) or "{}")
            row.pop("owner")
            yield json.dumps({"kind": "message", **row}, ensure_ascii=False)


FORMATS: dict[str, Callable[[History, Chat], str]] = {
    "markdown": markdown,
    "html": as_html,
    "jsonl": lambda history, chat: "".join(line + "\n" for line in jsonl(history, [chat])),
}
"""What a chat can be exported as."""


def _name(message: StoredMessage) -> str:
    return _NAMES.get(message.role) or message.model or "Assistant"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def _cited(citation: Citation) -> str:
    return f"[{citation.n}] {citation.source}, {place_of(citation)} ({citation.state.value.replace('_', ' ')})"
