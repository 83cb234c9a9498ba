"""How many of something, for people."""

from __future__ import annotations


def counted(n: int, noun: str, plural: str = "") -> str:
    """``1 file``, ``2 files``, ``1,000 files``; the plural has an ``s`` unless another is given."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
