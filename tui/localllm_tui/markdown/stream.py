"""A Markdown text that grows: blocks that can't change any more are frozen, only the last one is parsed again.

The invariant, tested with random documents: however a text is cut into pieces, the blocks equal those of the whole.
"""

from __future__ import annotations

from localllm_tui.markdown.blocks import Block, parse
from localllm_tui.markdown.clean import Cleaner


class Document:
    """Blocks of a text that arrives in pieces.

    Args:
        prefix: Text that stands already, as when an answer is continued.
    """

    def __init__(self, prefix: str = "") -> None:
        self._cleaner = Cleaner()
        self._frozen: list[Block] = []
        self._tail = ""
        self._tail_blocks: list[Block] | None = None
        self._complete = 0
        self._finished = False
        if prefix:
            self.feed(prefix)

    def feed(self, text: str) -> None:
        """More of the text."""
        self._tail += self._cleaner.feed(text)
        self._tail_blocks = None
        self._finished = False

    def finish(self) -> None:
        """Nothing follows; open fences are highlighted now. Feeding again is allowed."""
        self._finished = True
        self._tail_blocks = None

    @property
    def frozen(self) -> list[Block]:
        """Blocks that no further text can change. The list only grows."""
        self._advance()
        return self._frozen

    @property
    def tail(self) -> list[Block]:
        """The blocks behind the frozen ones."""
        self._advance()
        return self._parsed_tail()

    def _parsed_tail(self) -> list[Block]:
        if self._tail_blocks is None:
            self._tail_blocks = parse(self._tail, self._finished)
        return self._tail_blocks

    @property
    def blocks(self) -> list[Block]:
        """All blocks."""
        return [*self.frozen, *self.tail]

    def _advance(self) -> None:
        """Freeze every block that is followed by another block which begins on a complete line.

        A partial last line decides nothing: ``#`` is a heading, and ``#x`` continues the paragraph before it.
        """
        complete = self._tail.rfind("\n") + 1
        if complete == self._complete:
            return
        self._complete = complete
        if len(self._parsed_tail()) < 2:  # one long list or table: nothing stands before it, and one parse is enough
            return
        blocks = parse(self._tail[:complete], finished=False)
        keep = 2 if blocks and blocks[-1].doubtful else 1
        if len(blocks) <= keep:
            return
        last = blocks[-keep]
        self._frozen.extend(blocks[:-keep])
        position = 0
        for _ in range(last.line):
            position = self._tail.index("\n", position) + 1
        self._tail, self._tail_blocks = self._tail[position:], None
        self._complete = self._tail.rfind("\n") + 1
