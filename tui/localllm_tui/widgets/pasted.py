"""Long texts that were pasted: in the prompt a short mark stands for each, and what is sent is the text itself."""

from __future__ import annotations

import re

from localllm_tui.markdown.clean import clean

LINES, CHARACTERS = 10, 1_000
"""A pasted text that is longer becomes a mark."""
_MARK = re.compile(r"\[pasted \d+: [\d,]+ (?:lines|characters)\]")


class Pasted:
    """The marks of one prompt, and what they stand for."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def fold(self, text: str) -> str:
        """A pasted text as it is to stand in the prompt: itself, or a mark where it is long."""
        text = clean(text)
        n_lines = text.count("\n") + 1
        if n_lines <= LINES and len(text) <= CHARACTERS:
            return text
        known = next((mark for mark, held in self._texts.items() if held == text), None)
        if known is not None:
            return known
        size = f"{n_lines:,} lines" if n_lines > LINES else f"{len(text):,} characters"
        mark = f"[pasted {len(self._texts) + 1}: {size}]"
        self._texts[mark] = text
        return mark

    def fold_known(self, text: str) -> str:
        """A text with marks again for what was pasted before."""
        for mark, held in self._texts.items():
            text = text.replace(held, mark)
        return text

    def unfold(self, text: str) -> str:
        """A text with what its marks stand for."""
        return _MARK.sub(lambda match: self._texts.get(match[0], match[0]), text) if self._texts else text

    def places(self, line: str) -> list[tuple[int, int]]:
        """Where marks stand in a line: (start, end)."""
        if not self._texts:
            return []
        return [match.span() for match in _MARK.finditer(line) if match[0] in self._texts]
