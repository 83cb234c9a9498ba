"""A kind of rule: its fields, its check, and what else can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from localllm.errors import RuleSyntax
from localllm.rules.outcome import Context, Finding

Params = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a rule."""

    type: str
    """``int``, ``number``, ``str``, ``bool``, ``strs`` (a list of texts), ``any``."""
    default: Any = None
    choices: tuple[str, ...] = ()
    required: bool = False
    minimum: float | None = None


INT, NUM, STR, BOOL, STRS = (Field(t) for t in ("int", "number", "str", "bool", "strs"))


@dataclass(frozen=True, slots=True)
class Fragment:
    """A regular expression that the whole text must match, or with `negated` must not match.

    Rust syntax, no look-around, no ``\\b``; fragments of all rules are intersected.
    """

    regex: str
    negated: bool = False
    most_words: int = 0
    """Behind so many words nothing may follow, not even white space; 0 where words are not counted."""


class Watcher(Protocol):
    """Watches one rule while the text grows."""

    def feed(self, text: str, start: int) -> tuple[int, int] | None:
        """The text so far, of which the part from `start` is new. The span by which the rule is lost for good.

        The work is proportional to the new part.
        """
        ...


@dataclass(frozen=True, slots=True)
class CheckKind:
    """Everything localllm knows about one type of rule."""

    name: str
    help: str
    """One line for ``rules list``."""
    fields: Mapping[str, Field]
    check: Callable[[Params, str, Context], Finding]
    grammar: Callable[[Params], list[Fragment]] | None = None
    """Fragments that enforce the rule, or a part of it, while decoding; an empty list where nothing can be."""
    fix: Callable[[Params, str, Context], str | None] | None = None
    """A deterministic correction of a text that breaks the rule; None where there is none."""
    watch: Callable[[Params], Watcher | None] | None = None
    tell: Callable[[Params], str] | None = None
    """The instruction for the model, one sentence."""
    validate: Callable[[Params], str] | None = None
    """A complaint about fields that don't go together; empty when they do."""
    stages: tuple[str, ...] = ("output",)
    aliases: tuple[str, ...] = field(default=())


def read_fields(kind: CheckKind, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a rule, checked, with defaults filled in.

    Raises:
        RuleSyntax: A field is unknown, missing, or of the wrong type.
    """
    for name in values:
        if name not in kind.fields:
            known = ", ".join(sorted(kind.fields)) or "none"
            raise RuleSyntax(f"{where}: the rule type {kind.name} has no field {name!r}.", f"It has: {known}.")
    read: dict[str, Any] = {}
    for name, spec in kind.fields.items():
        value = values.get(name)
        if value is None:
            if spec.required:
                raise RuleSyntax(f"{where}: the rule type {kind.name} needs the field {name!r}.", kind.help)
            read[name] = spec.default
            continue
        if complaint := _complaint(spec, value):
            raise RuleSyntax(f"{where}: {name} {complaint}, not {value!r}.", kind.help)
        read[name] = value
    if kind.validate is not None and (complaint := kind.validate(read)):
        raise RuleSyntax(f"{where}: {complaint}.", kind.help)
    return read


_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "must be a whole number"),
    "number": ((int, float), "must be a number"),
    "str": ((str,), "must be a text"),
    "bool": ((bool,), "must be true or false"),
}


def _complaint(spec: Field, value: Any) -> str:
    if spec.type == "any":
        return ""
    if spec.type == "strs":
        good = isinstance(value, list) and bool(value) and all(isinstance(v, str) and v for v in value)
        return "" if good else "must be a list of texts"
    types, complaint = _TYPES[spec.type]
    if not isinstance(value, types) or (isinstance(value, bool) and spec.type != "bool"):
        return complaint
    if spec.choices and value not in spec.choices:
        return f"must be one of {', '.join(spec.choices)}"
    if spec.minimum is not None and isinstance(value, (int, float)) and value < spec.minimum:
        return f"must be at least {spec.minimum:g}"
    return ""
