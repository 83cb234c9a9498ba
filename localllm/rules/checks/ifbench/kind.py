"""What all IFBench instructions share: the two modes, and how a decision becomes a finding."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

from localllm.rules import punkt
from localllm.rules.checks.kinds import CheckKind, Field, Params
from localllm.rules.outcome import Context, Finding, failed, passed

Decide = Callable[[Params, str], "bool | tuple[bool, Any]"]
"""True or False, or with the measured value."""
STRICT = "strict"
_MODE = Field("str", STRICT, choices=("compat", STRICT))
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
EDGES = string.punctuation + " "


def instruction(
    id: str, help: str, decide: Decide, names: tuple[str, ...] = (), strict: Decide | None = None
) -> CheckKind:
    """An instruction as a kind of rule.

    Args:
        id: The benchmark's own.
        help: What it asks for, without a full stop.
        decide: Decides as the reference does.
        names: Its arguments.
        strict: Decides as a reader would, where that differs.
    """

    def check(params: Params, text: str, context: Context) -> Finding:
        if not text.strip():
            return failed("the text is empty")
        result = (strict if strict is not None and params["mode"] == STRICT else decide)(params, text)
        good, measured = result if isinstance(result, tuple) else (result, None)
        required = ", ".join(f"{n}={params[n]}" for n in names) or help
        return passed(measured, required) if good else failed(f"not followed: {help}", measured, required)

    fields = {name: Field("any", required=not name.startswith("keyword")) for name in names}
    return CheckKind(
        id, f"IFBench: {help}.", {**fields, "mode": _MODE}, check, tell=lambda p: f"{help[0].upper()}{help[1:]}."
    )


def integer(value: Any) -> int:
    """An argument as a whole number; the benchmark writes 3 as 3.0."""
    return int(value or 0)


def bare(text: str) -> str:
    """A text without ASCII punctuation."""
    return text.translate(_NO_PUNCTUATION)


def plain_words(text: str) -> list[str]:
    """White-space separated words as people read them, punctuation stripped."""
    return [w for piece in text.split() if (w := piece.strip(string.punctuation + "“”‘’…–—"))]


def sentences(text: str) -> list[str]:
    """Sentences as the reference splits them."""
    return [text[a:b] for a, b in punkt.sentences(text)]
