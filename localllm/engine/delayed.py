"""DelayedMatcher: a grammar that begins somewhere in the answer, behind a model's reasoning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from localllm.engine.json_position import JsonPosition
from localllm.engine.matcher import GrammarMatcher


class DelayedMatcher:
    """A grammar that starts behind a text such as ``</think>``; white space behind the text is free as well."""

    def __init__(self, inner: GrammarMatcher, after: str) -> None:
        self._inner = inner
        self._after = after.encode()
        self._seen = b""
        self._phase = 0
        """0: before the text; 1: behind it, only white space so far; 2: in the grammar."""
        self.notes = inner.notes

    def legal_prefix(self, tokens: Sequence[int]) -> int:
        """How many of these tokens may follow, in order."""
        if self._phase == 2:
            return self._inner.legal_prefix(tokens)
        seen, phase = self._seen, self._phase
        for i, token in enumerate(tokens):
            if token in self._inner.vocabulary.end_tokens:
                return i
            seen, phase, rest = self._step(seen, phase, self._inner.vocabulary.bytes_of((token,)))
            if phase == 2:
                ids = self._inner.vocabulary.ids_of(rest)
                whole = ids + list(tokens[i + 1 :])
                legal = self._inner.legal_prefix(whole)
                return i if legal < len(ids) else i + 1 + legal - len(ids)
        return len(tokens)

    def commit(self, tokens: Sequence[int]) -> None:
        """The tokens were emitted."""
        for i, token in enumerate(tokens):
            if self._phase == 2:
                self._inner.commit(tokens[i:])
                return
            self._seen, self._phase, rest = self._step(
                self._seen, self._phase, self._inner.vocabulary.bytes_of((token,))
            )
            if self._phase == 2:
                self._inner.commit(self._inner.vocabulary.ids_of(rest))

    def mask(self) -> NDArray[np.bool_]:
        """True for every token id that may come next."""
        if self._phase == 2:
            return self._inner.mask()
        vocabulary = self._inner.vocabulary
        if self._phase == 1:
            return self._inner.mask() | vocabulary.closing_order.white_space
        free = np.ones(vocabulary.n_vocab, np.bool_)
        free[list(vocabulary.end_tokens)] = False
        return free

    def forced(self) -> list[int]:
        """Tokens that must come next, possibly none."""
        return self._inner.forced() if self._phase == 2 else []

    @property
    def accepting(self) -> bool:
        """The answer may end here."""
        return self._phase > 0 and self._inner.accepting

    @property
    def stopped(self) -> bool:
        """The answer must end here."""
        return self._phase == 2 and self._inner.stopped

    def repeats(self, token: int) -> bool:
        """See `Matcher.repeats`; before the grammar begins nothing does."""
        return self._phase == 2 and self._inner.repeats(token)

    def closing(self, limit: int) -> list[int] | None:
        """A short way to a legal end; before the text, this writes the text first."""
        before = self._inner.vocabulary.ids_of(self._after) if self._phase == 0 else []
        rest = self._inner.closing(limit - len(before)) if limit >= len(before) else None
        return None if rest is None else before + rest

    def closing_after(self, token: int, limit: int) -> list[int] | None:
        """What `closing` would be once this legal token was committed; before the grammar begins, an estimate."""
        return self._inner.closing_after(token, limit) if self._phase == 2 else self.closing(limit)

    def token_of(self, text: bytes) -> int | None:
        """The token that stands for these bytes alone, if there is one."""
        return self._inner.token_of(text)

    @property
    def words_left(self) -> int | None:
        """Words that may still begin; None where they are not counted."""
        return self._inner.words_left

    @property
    def position(self) -> JsonPosition | None:
        """Where the answer is in a JSON text; None before that begins."""
        return self._inner.position if self._phase == 2 else None

    def _step(self, seen: bytes, phase: int, data: bytes) -> tuple[bytes, int, bytes]:
        if phase == 0:
            seen += data
            at = seen.find(self._after)
            if at < 0:
                return seen[-len(self._after) + 1 :] if len(self._after) > 1 else b"", 0, b""
            phase, data, seen = 1, seen[at + len(self._after) :], b""
        rest = data.lstrip()
        return seen, (2 if rest else 1), rest
