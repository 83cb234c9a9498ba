"""What people don't see but a model reads: hidden characters, and the marks of chat templates."""

from __future__ import annotations

import re
import unicodedata

_VISIBLE_FORMAT = frozenset("\u200c\u200d\u00ad\ufe0f")
"""Joiners and variation selectors that scripts and emoji need; a soft hyphen is harmless."""

TEMPLATE = re.compile(
    r"<\|[A-Za-z0-9_\- ]{1,40}\|>|<\uFF5C[^\uFF5C>\n]{1,40}\uFF5C>|\[/?INST\]|<</?SYS>>|</?(?:s|bos|eos|think|tool_call|tool_response)>"  # noqa: E501
    r"|<(?:start|end)_of_turn>|<unused\d+>|\[(?:SYSTEM_PROMPT|/SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]",
    re.IGNORECASE,
)


def is_hidden(c: str) -> bool:
    """Control, format, tag, private-use and lone surrogate characters, except line ends, tabs and needed joiners."""
    if c in "\n\t\r" or c in _VISIBLE_FORMAT:
        return False
    return unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs", "Cn") or "\U000e0000" <= c <= "\U000e0fff"


def strip_hidden(text: str) -> tuple[str, int]:
    """The text without hidden characters, and how many there were.

    Runs of joiners or variation selectors, which can spell a message, count as hidden too.
    """
    kept = [c for c in text if not is_hidden(c)]
    clean = re.sub(r"([\u200c\u200d\u00ad\ufe00-\ufe0f])[\u200c\u200d\u00ad\ufe00-\ufe0f]+", r"\1", "".join(kept))
    return clean, len(text) - len(clean)


def neutralise(text: str) -> tuple[str, int]:
    """The text with the marks of chat templates broken up, so that no tokenizer takes them for control tokens."""
    return TEMPLATE.subn(lambda m: f"{m[0][0]}\u2009{m[0][1:]}", text)


def first_hidden(text: str) -> int:
    """Index of the first hidden character, or -1."""
    return next((i for i, c in enumerate(text) if is_hidden(c)), -1)
