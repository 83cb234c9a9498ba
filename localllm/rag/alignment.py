"""Where a stretch of a changed text stood before the change."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import SequenceMatcher

_WORD = re.compile(r"\S+")


def aligned(original: str, changed: str) -> Callable[[int, int], tuple[int, int]]:
    """A function from spans of `changed` to spans of `original`.

    Words that both texts hold in the same order are matched; a span that ends inside a changed word takes in the whole
    of what that word was. Equal texts cost nothing.
    """
    if original == changed:
        return lambda start, end: (start, end)
    old, new = list(_WORD.finditer(original)), list(_WORD.finditer(changed))
    matcher = SequenceMatcher(None, [m[0] for m in old], [m[0] for m in new], autojunk=False)
    begins: list[tuple[int, int]] = []
    """For each word of `changed`: the span of the words in `original` that it stands for."""
    for _, i1, i2, j1, j2 in matcher.get_opcodes():
        for j in range(j1, j2):
            if i2 - i1 == j2 - j1:
                begins.append(old[i1 + j - j1].span())
            elif i1 < i2:
                begins.append((old[i1].start(), old[i2 - 1].end()))
            else:
                at = old[i1 - 1].end() if i1 else 0
                begins.append((at, at))
    same = [original[slice(*b)] == m[0] for b, m in zip(begins, new, strict=True)]

    def place(start: int, end: int) -> tuple[int, int]:
        inside = [j for j, m in enumerate(new) if m.start() < end and m.end() > start]
        if not inside:
            return (0, 0)
        first, last = inside[0], inside[-1]
        a, b = begins[first][0], begins[last][1]
        if same[first]:
            a += max(0, start - new[first].start())
        if same[last]:
            b -= max(0, new[last].end() - end)
        return a, max(a, b)

    return place
