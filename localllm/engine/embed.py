"""LlamaEmbedder: texts to unit vectors, token-exact.

One text per evaluation: in a shared batch attention runs over all texts together, and most of it is masked away. One
context with one thread per core, so that no thread ever waits for another.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from localllm.engine.sessions import file_fingerprint
from localllm.engine.spans import SpanFinder
from localllm.errors import TextTooLong
from localllm.llama.context import Context
from localllm.llama.model import Model

_SLICE = 0.04
"""Seconds that a group of texts should take, so that an answer that is being written is not held up."""


class LlamaEmbedder:
    """An embedding model, loaded.

    Args:
        path: A validated GGUF file of an embedding model.
        max_tokens: Tokens of one text at most, special tokens included; 0 means what the model was trained for.
        n_contexts: Texts that are evaluated at the same time, one thread each.
        n_threads: Cores that are free now, for a text that is evaluated alone; None means `n_contexts`.
        load: As for `Model`.

    Raises:
        ModelLoadFailed: llama.cpp refused it.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_tokens: int = 0,
        n_contexts: int = 1,
        n_threads: Callable[[], int] | None = None,
        load: Literal["memory", "mmap"] = "memory",
    ) -> None:
        self._model = Model(path, load=load)
        trained = self._model.n_ctx_train
        self.max_tokens = min(max_tokens or trained, trained)
        self.fingerprint = embedder_fingerprint(path, self.max_tokens)
        self.dim = self._model.n_embd
        self._contexts = [
            Context(self._model, n_ctx=self.max_tokens, n_batch=self.max_tokens, embeddings=True, flash_attention="on")
            for _ in range(max(1, n_contexts))
        ]
        self._pool = ThreadPoolExecutor(len(self._contexts), "embed") if n_contexts > 1 else None
        self._spans = SpanFinder(self._model.vocab)
        self._n_threads = n_threads or (lambda: n_contexts)
        self._seconds_per_token = 0.0005

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text as they are evaluated, special tokens included."""
        return self._model.vocab.tokenize(text, add_special=True)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character span of each token in `text`, without special tokens; see `engine.protocol.Embedder`."""
        return self._spans.find(text)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit-length rows, shape (len(texts), dim), float32.

        Raises:
            TextTooLong: A text has more tokens than `max_tokens`.
        """
        rows = np.empty((len(texts), self.dim), np.float32)
        for _ in self.embed_slices(texts, rows):
            pass
        return rows

    def embed_slices(
        self, texts: Sequence[str], rows: NDArray[np.float32], gentle: Callable[[], bool] = lambda: False
    ) -> Iterator[int]:
        """Fill `rows` a few texts at a time; yields how many are done after each group of about 40 ms.

        Args:
            texts: What to embed.
            rows: Where the vectors go, shape (len(texts), dim).
            gentle: Whether somebody waits for every slice, so that a long text is evaluated alone, on all cores.

        Raises:
            TextTooLong: Before anything is evaluated.
        """
        ids = [self._checked(i, text) for i, text in enumerate(texts)]
        done = 0
        while done < len(ids):
            group = self._group(ids, done, 1 if gentle() else len(self._contexts))
            started = time.perf_counter()
            self._evaluate(ids, range(done, done + group), rows)
            seconds = time.perf_counter() - started
            n_tokens = sum(len(ids[i]) for i in range(done, done + group))
            self._seconds_per_token += 0.3 * (seconds / max(1, n_tokens) - self._seconds_per_token)
            done += group
            yield done

    def _checked(self, i: int, text: str) -> list[int]:
        ids = self.tokenize(text)
        if len(ids) > self.max_tokens:
            raise TextTooLong(
                f"Text {i + 1} has {len(ids):,} tokens and the embedder reads {self.max_tokens:,} at most.",
                "Cut it into chunks.",
            )
        return ids

    def _group(self, ids: Sequence[Sequence[int]], start: int, least: int) -> int:
        """Texts from `start` on that fit into about one slice of time, as far as there are any.

        A multiple of `least`: with three texts for two contexts one of them would wait a third of the time.
        """
        n = n_tokens = 0
        for text in ids[start:]:
            n_tokens += len(text)
            if n and n % least == 0 and n_tokens * self._seconds_per_token > _SLICE:
                break
            n += 1
        return n

    def _evaluate(self, ids: Sequence[Sequence[int]], group: range, rows: NDArray[np.float32]) -> None:
        first = self._contexts[0]
        if self._pool is None or len(group) == 1:
            n = min(len(self._contexts), self._n_threads())
            first.set_threads(n, n)
            self._evaluate_some(first, ids, list(group), rows)
            first.set_threads(1, 1)
            return
        # the longest first, each to the context with the least work so far: all end at about the same time
        shares: list[list[int]] = [[] for _ in self._contexts]
        loads = [0] * len(shares)
        for i in sorted(group, key=lambda i: -len(ids[i])):
            k = loads.index(min(loads))
            shares[k].append(i)
            loads[k] += len(ids[i])
        work = zip(self._contexts, shares, strict=True)
        futures = [self._pool.submit(self._evaluate_some, context, ids, share, rows) for context, share in work]
        wait(futures)  # all of them, also where one fails: the contexts are used again
        for future in futures:
            future.result()

    @staticmethod
    def _evaluate_some(
        context: Context, ids: Sequence[Sequence[int]], share: Sequence[int], rows: NDArray[np.float32]
    ) -> None:
        for i in share:
            vector = context.embed(ids[i])
            length = float(np.sqrt(np.dot(vector, vector)))
            np.divide(vector, length or 1.0, out=rows[i])

    def close(self) -> None:
        """Free everything; safe to call twice."""
        if self._pool is not None:
            self._pool.shutdown()
        for context in self._contexts:
            context.close()
        self._model.close()


def embedder_fingerprint(path: Path, max_tokens: int) -> str:
    """Names the vectors that a file makes: they change with its content, its limit, and the way they are made here."""
    made = f"localllm-embed-1|{file_fingerprint(path)}|{max_tokens}|unit"
    return hashlib.sha256(made.encode()).hexdigest()
