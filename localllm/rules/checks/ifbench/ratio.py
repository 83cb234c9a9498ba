"""IFBench ``ratio:``. Shares of stop words and of kinds of sentences."""

from __future__ import annotations

import re

from localllm.rules.checks.ifbench.kind import instruction, sentences
from localllm.rules.checks.kinds import CheckKind, Params

_STOP_WORDS = frozenset(
    "i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its"  # noqa: E501
    " itself they them their theirs themselves what which who whom this that these those am is are was were be been being"  # noqa: E501
    " have has had having do does did doing a an the and but if or because as until while of at by for with about against"  # noqa: E501
    " between into through during before after above below to from up down in out on off over under again further then"
    " once here there when where why how all any both each few more most other some such no nor not only own same so than"  # noqa: E501
    " too very s t can will just don should now".split()
)


def _stop_words(p: Params, text: str) -> tuple[bool, float]:
    words = re.findall(r"\w+", text.lower())
    share = 100 * sum(w in _STOP_WORDS for w in words) / max(1, len(words))
    return bool(words) and share <= float(p["percentage"]), round(share, 1)


def _ends(text: str, closing: str = "") -> tuple[int, int, int]:
    """How many sentences end in a full stop, a question mark and an exclamation mark; `closing` marks may follow."""
    ends = [s.rstrip(closing)[-1:] if closing else s[-1:] for s in sentences(text)]
    return ends.count("."), ends.count("?"), ends.count("!")


_CLOSING = "\"'”’)*_ "


def _type(p: Params, text: str) -> bool:
    statements, questions, _ = _ends(text)
    return statements == 2 * questions


def _type_strict(p: Params, text: str) -> bool:
    statements, questions, _ = _ends(text, _CLOSING)
    return questions > 0 and statements == 2 * questions


KINDS: tuple[CheckKind, ...] = (
    instruction("ratio:stop_words", "a share of stop words", _stop_words, ("percentage",)),
    instruction("ratio:sentence_type", "two statements for each question", _type, strict=_type_strict),
    instruction(
        "ratio:sentence_balance",
        "as many statements as questions and exclamations",
        lambda p, text: len(set(_ends(text))) == 1,
        strict=lambda p, text: len(set(_ends(text, _CLOSING))) == 1,
    ),
)
