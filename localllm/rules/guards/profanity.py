"""Profanity: a short list of English swear words. It finds swear words, not hate, insult or threat."""

from __future__ import annotations

import re

_STEMS = "fuck motherfuck shit bullshit asshole arsehole bitch cunt bastard dickhead wank twat bollock bugger prick piss cock slut whore".split()  # fmt: skip  # noqa: E501
_ENDINGS = r"(?:s|es|ed|er|ers|ing|in|y|ty|head|heads|face|hole|holes|able|off)?"
_LEET = str.maketrans({"@": "a", "$": "s", "0": "o", "1": "i", "3": "e", "!": "i", "*": "_"})
_PATTERN = re.compile(r"(?<![a-z])(" + "|".join(re.escape(s) for s in _STEMS) + rf"){_ENDINGS}(?![a-z])", re.IGNORECASE)
_STARRED = re.compile(
    r"(?<!\w)(?:f[_*]{1,2}c?k(?:ing|er|ed)?|sh[_*]t|b[_*]tch|c[_*]nt|a[_*]{2}hole)(?!\w)", re.IGNORECASE
)
_HARMLESS = re.compile(r"\b(?:cock(?:erel)?s?(?= (?:crow|fight|pit))|peacocks?|cocker|prick(?:s|ed|ing)?(?= (?:of|the|my|your|up)))\b", re.IGNORECASE)  # fmt: skip  # noqa: E501


def find_profanity(text: str, extra: tuple[str, ...] = ()) -> list[tuple[int, int]]:
    """Spans of swear words; letters replaced by signs are read as the letters."""
    plain = text.translate(_LEET)
    spans = [m.span() for m in (*_PATTERN.finditer(plain), *_STARRED.finditer(text.replace("*", "_")))]
    for word in extra:
        spans += [m.span() for m in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE)]
    calm = [m.span() for m in _HARMLESS.finditer(text)]
    return sorted({s for s in spans if not any(a <= s[0] and s[1] <= b for a, b in calm)})
