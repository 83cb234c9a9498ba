"""IFEval's loose score."""

from __future__ import annotations


def loose_variants(text: str) -> list[str]:
    """The eight readings of IFEval's loose score: without stars, without first or last line."""
    rows = text.split("\n")
    cuts = [text, "\n".join(rows[1:]).strip(), "\n".join(rows[:-1]).strip(), "\n".join(rows[1:-1]).strip()]
    return cuts + [cut.replace("*", "") for cut in cuts]
