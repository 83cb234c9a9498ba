"""Translation between two vocabularies, by the text of the tokens and only where it is exactly the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from localllm.engine.draft_model import Identity, Translation


class Vocabulary(Protocol):
    """What `localllm.llama.vocab.Vocab` offers."""

    @property
    def n_tokens(self) -> int:
        """How many tokens there are."""
        ...

    @property
    def eog(self) -> frozenset[int]:
        """Tokens that end a turn."""
        ...

    @property
    def control(self) -> dict[str, int]:
        """Control tokens by their written form."""
        ...

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none for control tokens."""
        ...

    def tokenize(self, text: str | bytes) -> list[int]:
        """Token ids of plain text."""
        ...


class ByText:
    """Tokens with the same bytes are each other's counterparts.

    A token of the target without a counterpart is cut by the draft's own tokenizer. That need not be the cut that the
    draft was trained on, but it is a text it can read; only what the draft proposes must have an exact counterpart.
    """

    def __init__(self, target: Vocabulary, draft: Vocabulary) -> None:
        self._target, self._draft = target, draft
        ids = {piece: t for t in range(draft.n_tokens - 1, -1, -1) if (piece := draft.piece(t))}
        self._bytes = {piece[0]: d for piece, d in ids.items() if len(piece) == 1}
        self._to_draft: dict[int, tuple[int, ...]] = {}
        self._to_target = [-1] * draft.n_tokens
        for t in range(target.n_tokens - 1, -1, -1):
            if (piece := target.piece(t)) and (d := ids.get(piece)) is not None:
                self._to_draft[t] = (d,)
                self._to_target[d] = t
        # Control tokens stand for no bytes: they go by their written form, and turn ends by their meaning.
        controls = draft.control
        for text, t in target.control.items():
            if (d := controls.get(text)) is not None:
                self._to_draft[t] = (d,)
                self._to_target[d] = t
        ends = [t for t in sorted(target.eog) if t in self._to_draft] or sorted(target.eog)
        for d in draft.eog:
            if self._to_target[d] < 0 and ends:
                self._to_target[d] = ends[0]

    def to_draft(self, token: int) -> tuple[int, ...]:
        """The draft's tokens for one token of the target; none for a control token that it doesn't know."""
        ids = self._to_draft.get(token)
        if ids is None:
            ids = self._to_draft[token] = self._cut(self._target.piece(token))
        return ids

    def _cut(self, piece: bytes) -> tuple[int, ...]:
        try:
            piece.decode("utf-8")
        except UnicodeDecodeError:  # a part of a character: a tokenizer would read it as something else
            if all(b in self._bytes for b in piece):
                return tuple(self._bytes[b] for b in piece)
        return tuple(self._draft.tokenize(piece)) if piece else ()

    def to_target(self, token: int) -> int:
        """The target's token with exactly the same text, -1 where there is none."""
        return self._to_target[token]

    @property
    def covered(self) -> float:
        """Share of the draft's tokens that have a counterpart, 0 to 1."""
        return sum(t >= 0 for t in self._to_target) / max(len(self._to_target), 1)


def make_translation(target: Vocabulary, draft: Vocabulary, spelling: Callable[[Vocabulary, int], str]) -> Translation:
    """The identity where both vocabularies are the same token by token, else a translation by text.

    Args:
        target: Of the model that answers.
        draft: Of the model that drafts.
        spelling: How a vocabulary's file spells a token.
    """
    if target.n_tokens == draft.n_tokens and all(
        spelling(target, t) == spelling(draft, t) for t in range(target.n_tokens)
    ):
        return Identity()
    return ByText(target, draft)
