"""Where a stretch of a changed text stood before the change."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import SequenceMatcher

from localllm.rag.prompting import clean

Place = Callable[[int, int], tuple[int, int]]
_WORD = re.compile(r"\S+")


def aligned(original: str, changed: str) -> Place:
    """A function from spans of `changed` to spans of `original`.

    Exact where the two differ in white space and in characters that nobody sees, as after cleaning. Where words were
    replaced (by a rule that hides addresses, say) a span that ends inside such a stretch takes in the whole of it.
    """
    if original == changed:
        return lambda start, end: (start, end)
    old = [(i, i + 1) for i, c in enumerate(original) if _seen(c)]
    new = [(i, i + 1) for i, c in enumerate(changed) if _seen(c)]
    if len(old) == len(new) and all(original[a] == changed[b] for (a, _), (b, _) in zip(old, new, strict=True)):
        return _placed(new, old)
    old, new = ([m.span() for m in _WORD.finditer(text)] for text in (original, changed))
    matcher = SequenceMatcher(
        None, [clean(original[a:b]) for a, b in old], [clean(changed[a:b]) for a, b in new], autojunk=False
    )
    stood = []
    for _, i1, i2, j1, j2 in matcher.get_opcodes():
        for j in range(j1, j2):
            at = old[i1 - 1][1] if i1 else 0
            same = i2 - i1 == j2 - j1
            stood.append(old[i1 + j - j1] if same else (old[i1][0], old[i2 - 1][1]) if i1 < i2 else (at, at))
    return _placed(new, stood)


def _placed(new: list[tuple[int, int]], stood: list[tuple[int, int]]) -> Place:
    def place(start: int, end: int) -> tuple[int, int]:
        inside = [j for j, (a, b) in enumerate(new) if a < end and b > start]
        return (stood[inside[0]][0], max(stood[inside[0]][0], stood[inside[-1]][1])) if inside else (0, 0)

    return place


def _seen(c: str) -> bool:
    return not c.isspace() and clean(c) != ""
