"""Titles of chats, written by the model: what it is asked, and when what it writes is better than nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from localllm.engine.protocol import Cancel, Engine, Request, Sampling, TokenEvent
from localllm.events import Message, Role
from localllm.history import Chat, StoredMessage
from localllm.history.store import title_of

ASK = "Write a short title for this conversation, at most five words, in its own language."
PREFIX = 'Title: "'
"""The answer begins with this: a small model, too, then writes nothing but the title."""
MAX_TOKENS = 20
MOST_QUESTIONS = 3
"""Of a young chat. Later, its user knows it by the name that it has."""
MOST_CHARACTERS = 60


def is_young(chat: Chat, turns: Sequence[StoredMessage]) -> bool:
    """Whether the chat has an answer, and is still called by the beginning of its first question."""
    questions = [m for m in turns if m.role is Role.USER]
    answered = any(m.role is Role.ASSISTANT for m in turns)
    return answered and 0 < len(questions) <= MOST_QUESTIONS and chat.title == title_of(questions[0].content)


def ask(engine: Engine, before: Sequence[Message], cancel: Cancel | None = None) -> str:
    """What the model writes on one line behind this conversation; empty where it was interrupted or did not end.

    Raises:
        GenerationError: It can't answer.
    """
    request = Request(
        messages=(*before, Message(Role.USER, ASK)),
        max_tokens=MAX_TOKENS,
        sampling=Sampling(temperature=0.0),
        stop=("\n", '"'),
        prefix=PREFIX,
        speculation="none",
    )
    text, n_tokens = "", 0
    for event in engine.stream(request, cancel):
        if isinstance(event, TokenEvent):
            text += event.text
            n_tokens += len(event.token_ids)
    cut_off = n_tokens >= MAX_TOKENS
    return "" if cut_off or (cancel is not None and cancel.is_set()) else text


def usable(text: str, turns: Sequence[StoredMessage]) -> str:
    """The title in this text; empty where it is rubbish.

    Two thirds of its words must occur in the chat, and none twice: small models go off the subject, or in circles.
    """
    text = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", text)
    line = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    title = " ".join(line.split()).strip(" \"'`*#_.:;,-<>[]{}|")
    words, said = _words(title), set(_words(" ".join(m.content for m in turns)))
    in_circles = any(words.count(word) > 1 for word in words if not _UNSPACED.match(word))
    if not words or in_circles or len(title) > MOST_CHARACTERS:
        return ""
    return title if 3 * sum(word in said for word in words) >= 2 * len(words) else ""


_SMALL = frozenset("about and are can does for from has how its that the this was what when where who why with you your"
                   .split())  # fmt: skip
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Scripts that put no spaces between words."""


def _words(text: str) -> list[str]:
    """The beginnings of words, so that a plural is the same word; the signs of scripts without spaces one by one."""
    found: list[str] = []
    for word in re.findall(r"[^\W_]+", text.casefold()):
        if _UNSPACED.search(word):
            found += word
        elif (len(word) > 2 and word not in _SMALL) or word.isdigit():
            found.append(word[:4])
    return found
