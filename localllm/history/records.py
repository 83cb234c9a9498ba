"""What the history holds, as values: chats, messages, and their parts as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from localllm.events import (
    Citation,
    Passage,
    Role,
    RuleState,
    RuleVerdict,
    Span,
    Speculation,
    Stats,
    SupportState,
    Verdict,
)


class MessageState(StrEnum):
    """How far a message got."""

    COMPLETE = "complete"
    STREAMING = "streaming"
    """Being written now, by the process named in `StoredMessage.owner`."""
    STOPPED = "stopped"
    """The user stopped it, or the program ended: the text so far is kept and can be continued."""
    ERROR = "error"
    """Something failed; `reason` says what, and the text so far is kept."""


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What a chat asks for, where it differs from the settings; empty values leave the settings as they are."""

    docs: str = ""
    """Library that the chat asks."""
    rules: str = ""
    """Rule set that its answers must follow."""
    preset: str = ""
    """Name of the preset it was started from."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings by name, such as ``{"temperature": 0.2}``."""


@dataclass(frozen=True, slots=True)
class Chat:
    """One chat. Times are seconds since 1970, UTC."""

    id: int
    title: str
    created: float
    updated: float
    model: str = ""
    """Model that answered last."""
    system: str = ""
    options: ChatOptions = field(default_factory=ChatOptions)
    leaf_id: int | None = None
    """Last message of the active branch; None in an empty chat."""
    draft_text: str = ""
    """What stands in the prompt, not sent yet."""
    deleted: float | None = None
    """When it was deleted; it can be restored until it is purged."""
    n_messages: int = 0
    """Messages in all branches."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message of a chat's tree."""

    id: int
    chat_id: int
    parent_id: int | None
    role: Role
    content: str
    state: MessageState
    created: float
    reason: str = ""
    """A `FinishReason`, or what failed."""
    model: str = ""
    draft: str = ""
    """The drafter that helped."""
    owner: str = ""
    """Run of the program that writes it while it is streaming."""
    stats: Stats | None = None
    citations: tuple[Citation, ...] = ()
    unsupported: tuple[Span, ...] = ()
    passages: tuple[Passage, ...] = ()
    """What was put before the model, or the nearest ones of a refusal."""
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A place where a search found something."""

    chat_id: int
    title: str
    message_id: int | None
    """None when the title matched."""
    snippet: str
    """Text around the match; matches stand between ``\\x02`` and ``\\x03``."""


# ---- as JSON --------------------------------------------------------------------------------------------------------


def to_json(value: Any) -> str | None:
    """Dataclasses, enums, tuples and None as JSON text; empty values become None."""
    if value is None or value == () or value == {}:
        return None
    return json.dumps(value, ensure_ascii=False, default=asdict)


def _known(kind: type, row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that this version knows: a newer one may have written more."""
    names = {f.name for f in fields(kind)}
    return {name: value for name, value in row.items() if name in names}


def options_from(text: str | None) -> ChatOptions:
    """Read what `to_json` wrote."""
    return ChatOptions(**_known(ChatOptions, json.loads(text))) if text else ChatOptions()


def stats_from(text: str | None) -> Stats | None:
    """Read what `to_json` wrote."""
    if not text:
        return None
    row = _known(Stats, json.loads(text))
    row["speculation"] = Speculation(**_known(Speculation, row.get("speculation") or {}))
    return Stats(**row)


def citations_from(text: str | None) -> tuple[Citation, ...]:
    """Read what `to_json` wrote."""
    rows = json.loads(text) if text else []
    return tuple(Citation(**{**_known(Citation, r), "state": SupportState(r["state"])}) for r in rows)


def passages_from(text: str | None) -> tuple[Passage, ...]:
    """Read what `to_json` wrote."""
    return tuple(Passage(**_known(Passage, r)) for r in (json.loads(text) if text else []))


def spans_from(text: str | None) -> tuple[Span, ...]:
    """Read what `to_json` wrote."""
    return tuple(Span(r["start"], r["end"]) for r in (json.loads(text) if text else []))


def verdict_from(text: str | None) -> Verdict | None:
    """Read what `to_json` wrote."""
    if not text:
        return None
    row = json.loads(text)
    rules = []
    for r in row["rules"]:
        span = Span(r["span"]["start"], r["span"]["end"]) if r.get("span") else None
        rules.append(RuleVerdict(**{**_known(RuleVerdict, r), "verdict": RuleState(r["verdict"]), "span": span}))
    return Verdict(row["passed"], tuple(rules))


def chat_of(row: Mapping[str, Any]) -> Chat:
    """A row of the table of chats, with its count of messages."""
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118 - a row of SQLite iterates over its values
    values["options"] = options_from(values["options"])
    return Chat(**values)


def message_of(row: Mapping[str, Any]) -> StoredMessage:
    """A row of the table of messages."""
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118 - a row of SQLite iterates over its values
    values |= {
        "role": Role(values["role"]),
        "state": MessageState(values["state"]),
        "stats": stats_from(values["stats"]),
        "citations": citations_from(values["citations"]),
        "unsupported": spans_from(values["unsupported"]),
        "passages": passages_from(values["passages"]),
        "verdict": verdict_from(values["verdict"]),
        "notes": tuple(json.loads(values["notes"] or "[]")),
    }
    return StoredMessage(**values)
