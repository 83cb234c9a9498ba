"""What all IFBench instructions share beside the modes: their arguments, and words and sentences."""

from __future__ import annotations

import string
from typing import Any

from localllm.rules import punkt
from localllm.rules.checks import benchmark
from localllm.rules.checks.benchmark import MODE, Decide, finding
from localllm.rules.checks.kinds import CheckKind, Field, Params
from localllm.rules.outcome import Context, Finding, failed

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
        how = strict if strict is not None and benchmark.strict(params) else decide
        required = ", ".join(f"{n}={params[n]}" for n in names) or help
        return finding(how(params, text), help, required)

    fields = {name: Field("any", required=not name.startswith("keyword")) for name in names}
    return CheckKind(
        id, f"IFBench: {help}.", {**fields, "mode": MODE}, check, tell=lambda p: f"{help[0].upper()}{help[1:]}."
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
