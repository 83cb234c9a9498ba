"""The independent check of a value against a JSON Schema (2020-12 and older drafts, formats included)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import unquote

from localllm.errors import RuleSyntax

MAX_DEPTH = 120


def check_schema(schema: Any, where: str) -> Any:
    """The schema, if it is one.

    Raises:
        RuleSyntax: It is not a valid JSON Schema, or nested too deeply.
    """
    if _depth(schema) > MAX_DEPTH:
        raise RuleSyntax(f"{where}: the schema is nested more than {MAX_DEPTH} levels deep.")
    if not isinstance(schema, (dict, bool)):
        raise RuleSyntax(f"{where}: a schema is an object, not {type(schema).__name__}.")
    if endless(schema):
        raise RuleSyntax(f"{where}: the schema refers to itself for the same value: no value can be checked.")
    jsonschema = load()
    try:
        _validator_class(schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        path = "/".join(map(str, error.absolute_path))
        raise RuleSyntax(f"{where}: not a valid JSON Schema at /{path}: {short(error.message)}.") from error
    return schema


def errors_of(schema: Any, value: Any, limit: int = 5) -> list[tuple[str, str]]:
    """JSON pointer and message of each fault of `value`; formats are checked, remote references are refused.

    A check that can't be made (an unresolved reference, a pattern that is no pattern) is a fault, never a pass.
    """
    if endless(schema):
        return [("/", "the schema could not be applied: it refers to itself for the same value")]
    kind = _validator_class(schema)
    import referencing

    validator = kind(schema, format_checker=_formats(kind), registry=referencing.Registry())
    found = []
    try:
        for error in validator.iter_errors(value):
            found.append(("/" + "/".join(map(str, error.absolute_path)), short(error.message)))
            if len(found) >= limit:
                break
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # whatever the validator could not do (its native part panics at times): no pass
        found.append(("/", f"the schema could not be applied: {short(str(error))}"))
    return found


_IN_PLACE = ("if", "then", "else", "not")
_IN_PLACE_LISTS = ("allOf", "anyOf", "oneOf")


def endless(schema: Any) -> bool:
    """Whether a schema leads back to itself without going into the value, through its references within the file."""
    done: set[int] = set()
    path: set[int] = set()
    stack: list[tuple[Any, bool]] = [(schema, False)]
    waiting: set[int] = {id(schema)}
    while stack:
        here, left = stack.pop()
        if left:
            path.discard(id(here))
            done.add(id(here))
            continue
        if id(here) in done:
            continue
        if id(here) in path:
            return True
        path.add(id(here))
        stack.append((here, True))
        stack += [(inner, False) for inner in _same_value(here, schema)]
        for inner in _subschemas(here):
            if id(inner) not in waiting:
                waiting.add(id(inner))
                stack.insert(0, (inner, False))
    return False


def _same_value(here: Any, root: Any) -> Iterator[Any]:
    """The schemas that a schema applies to the very value it is applied to."""
    if not isinstance(here, dict):
        return
    yield from (here[key] for key in _IN_PLACE if isinstance(here.get(key), dict))
    for key in _IN_PLACE_LISTS:
        if isinstance(here.get(key), list):
            yield from (inner for inner in here[key] if isinstance(inner, dict))
    if isinstance(here.get("dependentSchemas"), dict):
        yield from (inner for inner in here["dependentSchemas"].values() if isinstance(inner, dict))
    if isinstance(target := _target(here.get("$ref"), root), dict):
        yield target


def _target(reference: Any, root: Any) -> Any:
    """What a JSON pointer in a reference points to; None for any other reference."""
    if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
        return None
    found = root
    for part in unquote(reference).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found


def _subschemas(here: Any) -> Iterator[Any]:
    values = here.values() if isinstance(here, dict) else here if isinstance(here, list) else ()
    return (inner for inner in values if isinstance(inner, (dict, list)))


def load() -> Any:
    """jsonschema, imported at the first use: 0.1 s.

    Its import would take 1 s where rfc3987-syntax is installed: that builds three parsers when it is imported, for the
    two formats of international addresses, which are checked here (in linear time, which those do not promise).
    """
    if "jsonschema" in sys.modules or "rfc3987_syntax" in sys.modules:
        import jsonschema
    else:
        sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # what Python documents: not to be imported
        try:
            import jsonschema
        finally:
            del sys.modules["rfc3987_syntax"]
    return jsonschema


def _validator_class(schema: Any) -> Any:
    jsonschema = load()
    return jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)


@cache
def _formats(kind: Any) -> Any:
    """The formats of a draft, with our own check of international addresses."""
    checker = load().FormatChecker(formats=())
    checker.checkers = dict(kind.FORMAT_CHECKER.checkers)
    if "uri" in checker.checkers and kind.META_SCHEMA.get("$schema", "") not in _NO_IRI:
        checker.checkers["iri"] = (lambda text: is_iri(text, reference=False), ())
        checker.checkers["iri-reference"] = (lambda text: is_iri(text, reference=True), ())
    return checker


_NO_IRI = tuple(f"http://json-schema.org/draft-0{n}/schema#" for n in (3, 4, 6))
"""Drafts that don't know the formats of international addresses."""

# RFC 3987: letters beyond ASCII may stand wherever an escaped byte may, and private ones in the query alone.
_UCSCHAR = re.compile(
    "[\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef"
    + "".join(f"{chr(plane << 16)}-{chr((plane << 16) + 0xFFFD)}" for plane in range(1, 14))
    + "\U000e1000-\U000efffd]"
)
_IPRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]")


def is_iri(text: Any, reference: bool) -> bool:
    """Whether a text is an IRI (or a reference to one); values that are no text are not looked at."""
    if not isinstance(text, str):
        return True
    from rfc3986_validator import validate_rfc3986  # type: ignore[import-untyped]

    head, hash_, fragment = text.partition("#")
    path, mark, query = head.partition("?")
    plain = _UCSCHAR.sub("%41", path + mark) + _UCSCHAR.sub("%41", _IPRIVATE.sub("%41", query))
    plain += hash_ + _UCSCHAR.sub("%41", fragment)
    return bool(plain.isascii() and validate_rfc3986(plain, rule="URI_reference" if reference else "URI"))


def _depth(value: Any) -> int:
    deepest, layer = 0, [value]
    while layer:
        deepest += 1
        layer = [
            inner for v in layer if isinstance(v, (dict, list)) for inner in (v.values() if isinstance(v, dict) else v)
        ]
    return deepest


def short(message: str) -> str:
    """The first line of a message, not too long."""
    return message.strip().split("\n", 1)[0][:200].rstrip(".")
