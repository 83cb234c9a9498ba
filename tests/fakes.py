"""Fakes at the seams: an engine with scripted answers and a byte tokenizer, and a letter-count embedder."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from localllm.assistant.titles import PREFIX as TITLE_PREFIX
from localllm.engine.protocol import (
    Cancel,
    EngineEvent,
    EngineInfo,
    GenerationDone,
    RenderedPrompt,
    Request,
    TokenEvent,
)
from localllm.errors import ContextOverflow, TextTooLong
from localllm.events import FinishReason, Message, Prefilling, Speculation, Stats


class FakeEmbedder:
    """Unit vectors of letter counts: texts with the same letters are close."""

    fingerprint = "fake-letters-1"
    dim = 32
    max_tokens = 256

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        start: int | None = None
        for i, c in enumerate(text + " "):
            if c.isspace():
                if start is not None:
                    spans.append((start, i))
                start = None
            elif start is None:
                start = i
        return spans

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            if len(self.token_spans(text)) + 2 > self.max_tokens:
                raise TextTooLong(f"A text has more than {self.max_tokens} tokens.")
            for c in text.lower():
                row[ord(c) % self.dim] += 1
            row /= max(float(np.linalg.norm(row)), 1e-9)
        return rows


class FakeEngine:
    """Answers from a script, one entry per request (the last one repeats); a token is one UTF-8 byte.

    Args:
        answers: The texts to answer with.
        n_ctx: Context window in bytes.
        seconds_per_token: Pause before each token event.
        chunk: Characters per token event.
        hold: Token events after which the first answer waits until `release` is set or it is cancelled; 0 never waits.
        embedder: Beside the model, or None.
    """

    def __init__(
        self,
        answers: Sequence[str] = ("A scripted answer.",),
        *,
        n_ctx: int = 4096,
        seconds_per_token: float = 0.0,
        chunk: int = 4,
        hold: int = 0,
        embedder: FakeEmbedder | None = None,
    ) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.seconds_per_token = seconds_per_token
        self.chunk = chunk
        self.hold = hold
        self.release = threading.Event()
        self.closed = False
        self.prefilled: list[tuple[Message, ...]] = []
        self.title = ""
        """What it calls a chat; nothing leaves the chat its own title."""
        self.hold_title = False
        """A title waits until `release` is set or it is cancelled."""
        self.title_requests: list[Request] = []
        self._embedder = embedder
        self._info = EngineInfo(
            model="Fake-1B.Q4_0", path=None, architecture="fake", quantization="Q4_0", n_params=1_000_000_000,
            n_ctx=n_ctx, n_ctx_train=n_ctx, n_layer=1, n_gpu_layers=0, n_threads=2,
        )  # fmt: skip

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def embedder(self) -> FakeEmbedder | None:
        return self._embedder

    def stream(self, request: Request, cancel: Cancel | None = None) -> Iterator[EngineEvent]:
        if request.prefix == TITLE_PREFIX:
            yield from self._entitle(request, cancel)
            return
        self.requests.append(request)
        text = self.answers[min(len(self.requests), len(self.answers)) - 1]
        prompt = request.prompt if request.prompt is not None else self.render(request.messages, request.prefix).text
        n_prompt = self.count_tokens(prompt)
        if n_prompt >= self._info.n_ctx:
            raise ContextOverflow(n_prompt, self._info.n_ctx)
        yield Prefilling(n_prompt, n_prompt)
        budget = request.max_tokens or self._info.n_ctx - n_prompt
        reason, emitted, started = FinishReason.STOP, 0, time.perf_counter()
        first = len(self.requests) == 1
        for i in range(0, len(text), self.chunk):
            while first and self.hold and i == self.hold * self.chunk and not self.release.wait(0.002):
                if cancel is not None and cancel.is_set():
                    break
            if cancel is not None and cancel.is_set():
                reason = FinishReason.CANCELLED
                break
            piece = text[i : i + self.chunk]
            ids = tuple(piece.encode())
            if emitted + len(ids) > budget:
                reason = FinishReason.LENGTH
                break
            if self.seconds_per_token:
                time.sleep(self.seconds_per_token)
            emitted += len(ids)
            yield TokenEvent(piece, ids)
        seconds = time.perf_counter() - started
        yield GenerationDone(
            reason,
            Stats(n_prompt, 0, emitted, 0.0, 0.001, seconds, self._info.n_ctx, Speculation(target_steps=emitted)),
        )

    def _entitle(self, request: Request, cancel: Cancel | None) -> Iterator[EngineEvent]:
        self.title_requests.append(request)
        while self.hold_title and not self.release.wait(0.002):
            if cancel is not None and cancel.is_set():
                yield GenerationDone(FinishReason.CANCELLED, Stats())
                return
        yield TokenEvent(self.title, tuple(self.title.encode()[:8]))
        yield GenerationDone(FinishReason.STOP, Stats())

    def render(self, messages: Sequence[Message], prefix: str = "") -> RenderedPrompt:
        text = "".join(f"<{m.role}>{m.content}</{m.role}>\n" for m in messages) + "<assistant>" + prefix
        return RenderedPrompt(text, tuple(text.encode()))

    def prefill(self, messages: Sequence[Message], cancel: Cancel | None = None, session: str = "") -> int:
        self.prefilled.append(tuple(messages))
        return self.count_tokens(self.render(messages).text)

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def count_tokens(self, text: str) -> int:
        return len(text.encode())

    def close(self) -> None:
        self.closed = True
