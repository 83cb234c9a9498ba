"""IFEval ``punctuation:``. No commas."""

from __future__ import annotations

import re

from localllm.rules.checks.benchmark import strict
from localllm.rules.checks.ifeval.kind import instruction
from localllm.rules.checks.kinds import CheckKind, Fragment, Params


def _no_comma(p: Params, text: str) -> bool:
    return not any(c in text for c in (",，、" if strict(p) else ","))


def _no_comma_fix(p: Params, text: str) -> str | None:
    return re.sub(r"[,，、][ \t]*", " ", re.sub(r"(?<=\d),(?=\d{3})", "", text))


KINDS: tuple[CheckKind, ...] = (
    instruction(
        "punctuation:no_comma",
        _no_comma,
        {},
        lambda p: "Do not use commas.",
        lambda p: [Fragment("[^,，、]*")],
        _no_comma_fix,
    ),
)
