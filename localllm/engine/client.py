"""WorkerEngine: an engine in a process of its own, and the handle that talks to it."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localllm.engine.protocol import (
    Cancel,
    EngineEvent,
    EngineInfo,
    EngineSpec,
    GenerationDone,
    RenderedPrompt,
    Request,
)
from localllm.engine.wire import unpack_error, unpack_event
from localllm.engine.worker_process import WorkerProcess
from localllm.errors import EngineClosed, EngineDied
from localllm.events import FinishReason, Loading, Message, Stats
from localllm.settings import Paths

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_POLL = 0.02
"""Seconds between two looks at a cancellation."""
_PATIENCE = 10.0
"""Seconds that a worker may take to heed a cancellation before it counts as hung."""


class WorkerEngine:
    """An `Engine` in a worker process.

    It begins to load at once, and returns at once: what needs the model waits for it. When the process dies, whoever
    waits gets `EngineDied`, and the next request starts a new one. All methods may be called from any thread.

    Args:
        spec: Which models, and how.
        log_path: Where the worker's native output goes.
        on_progress: Called while loading, from a thread of the engine's own.
    """

    def __init__(self, spec: EngineSpec, log_path: Path, on_progress: Callable[[Loading], None] | None = None) -> None:
        self.spec = spec
        self.log_path = log_path
        self._on_progress = on_progress
        self._numbers = itertools.count(1)
        self._closed = False
        self._lock = threading.Lock()
        self._process = self._start()

    def _start(self) -> WorkerProcess:
        return WorkerProcess(self.spec, self.log_path, self._report)

    def _report(self, fraction: float) -> None:
        if self._on_progress is not None:
            self._on_progress(Loading(self.spec.model.stem, fraction))

    # ---- state ----

    @property
    def ready(self) -> bool:
        """The model is loaded and the process is alive."""
        return self._process.info is not None and not self._process.ended

    @property
    def fraction(self) -> float:
        """How much is loaded, 0 to 1."""
        return 1.0 if self.ready else self._process.fraction

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Wait for the model; False when it takes longer than `timeout` seconds.

        Raises:
            ModelError: It can't be loaded.
            EngineDied: The process ended while loading.
            EngineClosed: The engine was closed.
        """
        return self._wait(self._alive(), timeout)

    @staticmethod
    def _wait(process: WorkerProcess, timeout: float | None = None) -> bool:
        if not process.settled.wait(timeout):
            return False
        if process.info is None:
            assert process.failure is not None
            raise process.failure
        return True

    def _alive(self) -> WorkerProcess:
        """The process, started anew when the last one died; a model that can't be loaded is not tried again."""
        with self._lock:
            if self._closed:
                raise EngineClosed("The engine was closed.", "Open it again.")
            if self._process.ended and isinstance(self._process.failure, EngineDied):
                self._process.close()
                self._process = self._start()
            return self._process

    @property
    def info(self) -> EngineInfo:
        """What is loaded and where; waits while it loads. Still answered after the process died."""
        process = self._process
        if process.info is None:
            self._wait(process)
        assert process.info is not None
        return process.info

    # ---- Engine ----

    def stream(self, request: Request, cancel: Cancel | None = None) -> Iterator[EngineEvent]:
        """Generate one answer; see `engine.protocol.Engine.stream`."""
        started = time.perf_counter()
        process = self._alive()
        waited = 0.0
        if not process.settled.is_set():
            while not process.settled.wait(_POLL):
                if cancel is not None and cancel.is_set():
                    yield GenerationDone(FinishReason.CANCELLED, Stats())
                    return
            waited = time.perf_counter() - started
        self._wait(process)
        number = next(self._numbers)
        replies = process.ask(number, ("stream", number, request))
        over = False
        try:
            for event in self._events(process, number, replies, cancel):
                if isinstance(event, GenerationDone) and waited:
                    event = _with_waiting(event, waited)
                yield event
            over = True
        except Exception:
            over = True
            raise
        finally:
            if not over:  # the caller lost interest, or was interrupted
                process.cancel(number)
            process.forget(number)

    def _events(
        self, process: WorkerProcess, number: int, replies: queue.SimpleQueue[Any], cancel: Cancel | None
    ) -> Iterator[EngineEvent]:
        cancelled_at = 0.0
        while True:
            try:
                kind, value = replies.get(timeout=None if cancel is None else _POLL)
            except queue.Empty:
                kind, value = "", None
            if cancel is not None and cancel.is_set():
                if not cancelled_at:
                    process.cancel(number)
                    cancelled_at = time.monotonic()
                elif time.monotonic() - cancelled_at > _PATIENCE and not kind:
                    process.kill("The model's process did not stop when asked to, and was ended.")
            if kind == "event":
                yield unpack_event(value)
            elif kind == "end":
                return
            elif kind == "error":
                raise unpack_error(value)
            elif kind == "died":
                raise self._end_of(process)

    def render(self, messages: Sequence[Message], prefix: str = "") -> RenderedPrompt:
        """Apply the model's chat template, ready for an answer that begins with `prefix`."""
        result: RenderedPrompt = self._call("render", tuple(messages), prefix)
        return result

    def prefill(self, messages: Sequence[Message], cancel: Cancel | None = None, session: str = "") -> int:
        """Evaluate what is certain already, in idle time; returns the tokens now cached. Cancelling is no error.

        A `stream` that is asked for meanwhile cancels it too.
        """
        result: int = self._call("prefill", tuple(messages), session, cancel=cancel)
        return result

    def tokenize(self, text: str) -> list[int]:
        """Token ids of plain text, without special tokens."""
        result: list[int] = self._call("tokenize", text)
        return result

    def count_tokens(self, text: str) -> int:
        """`len(self.tokenize(text))`."""
        return len(self.tokenize(text))

    @property
    def embedder(self) -> WorkerEmbedder | None:
        """The embedder in the worker, if the spec names one."""
        return WorkerEmbedder(self) if self.spec.embedder is not None else None

    def close(self) -> None:
        """End the worker; safe to call twice, and while an answer is being written."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._process.close()

    def __enter__(self) -> WorkerEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- asking ----

    def _call(self, kind: str, *arguments: Any, cancel: Cancel | None = None) -> Any:
        process = self._alive()
        self._wait(process)
        number = next(self._numbers)
        replies = process.ask(number, (kind, number, *arguments))
        cancelled = False
        try:
            while True:
                try:
                    outcome, value = replies.get(timeout=None if cancel is None else _POLL)
                except queue.Empty:
                    if cancel is not None and cancel.is_set() and not cancelled:
                        cancelled = True
                        process.cancel(number)
                    continue
                if outcome == "result":
                    return value
                raise unpack_error(value) if outcome == "error" else self._end_of(process)
        finally:
            process.forget(number)

    def _end_of(self, process: WorkerProcess) -> Exception:
        if self._closed:
            return EngineClosed("The engine was closed.", "Open it again.")
        assert process.failure is not None
        return process.failure


class WorkerEmbedder:
    """The embedder of a `WorkerEngine`; see `engine.protocol.Embedder`."""

    def __init__(self, engine: WorkerEngine) -> None:
        self._engine = engine

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors would."""
        return self._engine.info.embedder_fingerprint or ""

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self._engine.info.embedding_dim

    @property
    def max_tokens(self) -> int:
        """Tokens that one text may have, special tokens included."""
        return self._engine.info.embedder_max_tokens

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character span of each token in `text`, without special tokens."""
        spans: list[list[tuple[int, int]]] = self._engine._call("spans", [text])
        return spans[0]

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit-length rows, shape (len(texts), dim), float32; answers that are being written come first."""
        rows: NDArray[np.float32] = self._engine._call("embed", list(texts))
        return rows


def start_engine(
    spec: EngineSpec, paths: Paths, *, on_progress: Callable[[Loading], None] | None = None
) -> WorkerEngine:
    """Start a worker and wait until its model is loaded.

    Args:
        spec: Which models, and how.
        paths: Where the log file goes.
        on_progress: Called while the model loads, from the calling thread.

    Raises:
        ModelError: The model is missing, damaged, too large, or refused by llama.cpp.
        EngineDied: The process ended while loading.
    """
    engine = WorkerEngine(spec, worker_log(paths))
    process = engine._process  # this one: a worker that dies while it loads is not tried again
    try:
        last = -1.0
        while not engine._wait(process, 0.05):
            if on_progress is not None and engine.fraction > last:
                last = engine.fraction
                on_progress(Loading(spec.model.stem, last))
    except BaseException:
        engine.close()
        raise
    if on_progress is not None:
        on_progress(Loading(spec.model.stem, 1.0))
    return engine


def worker_log(paths: Paths) -> Path:
    """Where the worker's native output goes."""
    return paths.logs / "worker.log"


def _with_waiting(done: GenerationDone, seconds: float) -> GenerationDone:
    return replace(done, stats=replace(done.stats, load_seconds=seconds))
