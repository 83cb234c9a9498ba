"""LlamaReranker: how well a passage answers a question, by a model that reads both together.

Slower than comparing vectors, since nothing of a passage can be computed beforehand, and better: so it looks at the few
passages that a search has found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from localllm.errors import ModelLoadFailed
from localllm.llama.context import Context
from localllm.llama.model import Model

_MAX_TOKENS = 1024
"""Passages have a few hundred; room for more would cost memory for nothing."""
_PLACES = re.compile(r"\{(query|document)\}")


class LlamaReranker:
    """A reranking model, loaded.

    Encoders (bge-reranker, jina-reranker) read question and passage with separators between; models made of chat
    models (Qwen3-Reranker) read them in the template ``rerank`` of their file.

    Args:
        path: A validated GGUF file whose pooling is ``rank``.
        max_tokens: Tokens of question and passage together at most; 0 means what the model was made for, at most 1,024.
        n_threads: Cores to use.
        load: As for `Model`.

    Raises:
        ModelLoadFailed: llama.cpp refused it.
    """

    def __init__(
        self, path: Path, *, max_tokens: int = 0, n_threads: int = 1, load: Literal["memory", "mmap"] = "memory"
    ) -> None:
        self._model = Model(path, load=load)
        self.max_tokens = min(max_tokens or self._model.n_ctx_train, self._model.n_ctx_train, _MAX_TOKENS)
        self._context = Context(
            self._model, n_ctx=self.max_tokens, n_batch=self.max_tokens, embeddings=True, n_threads=n_threads
        )
        if not self._context.ranks:
            self.close()
            raise ModelLoadFailed(f"{path.name} is no reranker.", "Choose a model whose pooling is rank.")
        self._template = self._model.rerank_template

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """Relevance of each text, 0 to 1; what is longer than the model reads is cut at its end.

        Args:
            query: The question; of a very long one the first half of the room is read.
            texts: Passages.
        """
        return [self._score(self._pair(query, text)) for text in texts]

    def _score(self, ids: list[int]) -> float:
        outputs = self._context.embed(ids).astype(np.float64)
        if len(outputs) == 1:
            return float(1 / (1 + np.exp(-np.clip(outputs[0], -60, 60))))
        if not (outputs.min() >= 0 and abs(outputs.sum() - 1) < 1e-3):  # some graphs end before the softmax
            outputs = np.exp(outputs - outputs.max())
            outputs /= outputs.sum()
        return float(outputs[0])

    def _pair(self, query: str, text: str) -> list[int]:
        """Token ids of a question and a passage as the model was trained to read them."""
        vocab = self._model.vocab
        asked, said = vocab.tokenize(query), vocab.tokenize(text)
        if self._template:
            # The template's control tokens are read as such, those in a passage are plain text.
            parts = [
                part if part in ("query", "document") else vocab.tokenize(part, parse_special=True)
                for part in _PLACES.split(self._template)
            ]
        else:
            end = vocab.eos if vocab.eos >= 0 else vocab.sep
            ends = [end] if vocab.add_eos else []
            between = ends + ([vocab.sep] if vocab.add_sep else [])
            last = ends or between  # BERT ends with a separator as well
            parts = [[vocab.bos] if vocab.add_bos else [], "query", between, "document", last]
        room = self.max_tokens - sum(len(part) for part in parts if isinstance(part, list))
        asked = asked[: room // 2]
        fill = {"query": asked, "document": said[: max(0, room - len(asked))]}
        return [i for part in parts for i in (fill[part] if isinstance(part, str) else part)]

    def close(self) -> None:
        """Free everything; safe to call twice."""
        self._context.close()
        self._model.close()
