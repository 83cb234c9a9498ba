"""Grounded: an answer after its citations were checked, as the assistant takes it."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.events import Citation, Span


@dataclass(frozen=True, slots=True)
class Grounded:
    """An answer after its citations were checked."""

    text: str
    citations: tuple[Citation, ...] = ()
    unsupported: tuple[Span, ...] = ()
    refused: bool = False
    """Nothing in it is supported: `text` says so instead."""
    notes: tuple[str, ...] = ()
