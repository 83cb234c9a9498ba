"""GrammarVocabulary: the tokens of one model as grammars need them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from localllm.engine.closing import ClosingOrder


class GrammarVocabulary:
    """The tokens of one model as llguidance wants them: built once, kept as long as the model.

    Args:
        pointer: The ``llama_vocab`` pointer; it must outlive this object.
        end_tokens: Every end-of-generation token of the model, not only its EOS.
        n_vocab: Length of the model's logits, where it differs from the vocabulary.

    Building takes 0.2 to 3 seconds, at the first use; `warm` does it ahead, on any thread.
    """

    def __init__(self, pointer: Any, end_tokens: Sequence[int], n_vocab: int | None = None) -> None:
        if not end_tokens:
            raise ValueError("a model needs at least one end-of-generation token")
        self.pointer = pointer
        self.end_tokens = tuple(int(t) for t in end_tokens)
        self._n_vocab = n_vocab
        self._lock = threading.Lock()
        self._tokenizer: Any = None
        self._closing_order: ClosingOrder | None = None

    def warm(self) -> None:
        """Build what the first constraint would build."""
        _ = self.closing_order

    @property
    def tokenizer(self) -> Any:
        """The `llguidance.LLTokenizer`."""
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = self._build()
            return self._tokenizer

    def _build(self) -> Any:
        from llguidance.llamacpp import lltokenizer_from_vocab

        return lltokenizer_from_vocab(self.pointer, self._n_vocab, eos_token=list(self.end_tokens))

    @property
    def n_vocab(self) -> int:
        """Tokens in a mask."""
        return int(self.tokenizer.vocab_size)

    @property
    def closing_order(self) -> ClosingOrder:
        """Which tokens end things soonest."""
        if self._closing_order is None:
            self._closing_order = ClosingOrder.of([self.bytes_of((t,)) for t in range(self.n_vocab)])
        return self._closing_order

    def bytes_of(self, tokens: Sequence[int]) -> bytes:
        """The bytes of these tokens."""
        data: bytes = self.tokenizer.decode_bytes([int(t) for t in tokens])
        return data

    def ids_of(self, data: bytes) -> list[int]:
        """Some token ids that spell these bytes; grammars see bytes, so any spelling does."""
        ids: list[int] = self.tokenizer.tokenize_bytes(data)
        return ids
