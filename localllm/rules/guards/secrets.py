"""Keys and passwords: by the shapes that their issuers publish, and by their randomness behind a telling name."""

from __future__ import annotations

import math
import re
from collections import Counter

from localllm.rules.guards.pii import Found

_SHAPES: dict[str, str] = {
    "PRIVATE_KEY": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----(?:[\s\S]{0,8000}?-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----)?",  # noqa: E501
    "AWS_KEY": r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
    "GITHUB_TOKEN": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "SLACK_TOKEN": r"\bxox[abposr]-[A-Za-z0-9-]{10,}",
    "API_KEY": r"\b(?:sk|pk|rk)[-_](?:live|test|ant|proj)?[-_]?[A-Za-z0-9_-]{20,}|\bAIza[A-Za-z0-9_-]{35}\b|\bhf_[A-Za-z0-9]{30,}|\bglpat-[A-Za-z0-9_-]{20,}",  # noqa: E501
    "JWT": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}",
    "URL_PASSWORD": r"\b[a-z][a-z0-9+.-]*://[^\s:/@]{1,64}:[^\s:/@]{3,64}@[\w.-]+",
}  # fmt: skip
_PATTERNS = {name: re.compile(shape) for name, shape in _SHAPES.items()}
_NAMED = re.compile(
    r"(?i)\b(?:api[_-]?key|secret(?:[_-]?key)?|access[_-]?token|auth[_-]?token|password|passwd|pwd|client[_-]?secret)\b"
    r"[\"']?\s*(?:=|:|is)\s*[\"']?([^\s\"',;]{8,200})"
)


def entropy(text: str) -> float:
    """Bits per character of the text's own letter frequencies."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values()) if text else 0.0


def find_secrets(text: str) -> list[Found]:
    """Secrets in order, none overlapping."""
    found: list[Found] = []
    for name, pattern in _PATTERNS.items():
        for match in pattern.finditer(text):
            if not any(f.start < match.end() and match.start() < f.end for f in found):
                found.append(Found(name, *match.span()))
    for match in _NAMED.finditer(text):
        value = match[1]
        mixed = sum(any(f(c) for c in value) for f in (str.islower, str.isupper, str.isdigit)) + (not value.isalnum())
        if mixed >= 2 and entropy(value) >= 2.8 and not value.startswith(("<", "{", "$", "*", "http")):
            start, end = match.span(1)
            if not any(f.start < end and start < f.end for f in found):
                found.append(Found("PASSWORD", start, end))
    return sorted(found, key=lambda f: f.start)
