"""IFEval ``language:``. The language of the answer."""

from __future__ import annotations

import re

from localllm.rules import language
from localllm.rules.checks.benchmark import strict
from localllm.rules.checks.ifeval.kind import TEXT, instruction
from localllm.rules.checks.kinds import CheckKind, Fragment, Params
from localllm.rules.checks.prose import _RANGES

_ADDRESS = re.compile(r"https?://[-_.?&~;+=/#0-9A-Za-z]+|[-_.0-9A-Za-z]+@[-_0-9A-Za-z]+[-_.0-9A-Za-z]+")


def _language(p: Params, text: str) -> tuple[bool, str]:
    if strict(p):
        found = language.detect(text)
        return found == p["language"].split("-")[0], found
    body = _as_detected(text)
    found = language.detect(body)
    if not any(c.isalpha() for c in body):
        return True, found  # the reference counts "can't be told" as followed
    # It never says "zh" alone, so that only zh-cn or zh-tw can be followed.
    return p["language"] in ({"zh": ("zh-cn", "zh-tw")}.get(found, (found,))), found


def _as_detected(text: str) -> str:
    """What the reference's detector looks at: no addresses, and no Latin letters where others are twice as many."""
    body = _ADDRESS.sub(" ", text)
    latin = sum("A" <= c <= "z" and c.isalpha() for c in body)
    other = sum(c >= "\u0300" and not "\u1e00" <= c <= "\u1eff" for c in body)
    return re.sub("[A-Za-z]", "", body) if latin * 2 < other else body


def _language_grammar(p: Params) -> list[Fragment]:
    script = _RANGES.get(p["language"].split("-")[0])
    return (
        [Fragment(rf"[{script}\p{{M}}\p{{P}}\p{{Nd}}\s]*[{script}][{script}\p{{M}}\p{{P}}\p{{Nd}}\s]*")]
        if script
        else []
    )


KINDS: tuple[CheckKind, ...] = (
    instruction(
        "language:response_language",
        _language,
        {"language": TEXT},
        lambda p: f"Answer in the language {p['language']}, and no other.",
        _language_grammar,
    ),
)
