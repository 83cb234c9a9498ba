"""The worker process: one engine, served to one program over two pipes.

One thread does all the work, in this order: steps of the answers being written, small questions between the steps, then
embeddings a slice at a time. A second thread reads requests, and carries a cancellation into a running evaluation at
once. The worker ends when its parent closes the pipe, and so also when the parent dies.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from localllm.engine.protocol import EngineEvent, EngineSpec, GenerationDone, TokenEvent
from localllm.engine.wire import Sender, pack_error, pack_event, receive
from localllm.events import FinishReason, Prefilling, Stats

_GATHER = 0.030
"""Seconds. Tokens that come faster are sent together, as one event: each message wakes the other process, which needs a
core too, and nobody reads thirty texts a second. The first token of an answer never waits."""
_IDLE = 2.0
"""Seconds without work after which the engine is told to use the time: saving sessions, and the like."""
_EMBED_SHARE = 2.0
"""While an answer is written, decoding gets this many times the time of embedding."""
_LAST_WORDS = 4.0
"""Seconds that may pass between the parent's goodbye and the end of this process."""


class Flag:
    """A cancellation that stops the running evaluation by itself, so that nobody has to watch it."""

    immediate = True

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Ask to stop."""
        self._set = True

    def is_set(self) -> bool:
        """True once it was asked to stop."""
        return self._set


@dataclass
class _Stream:
    number: int
    events: Iterator[EngineEvent]
    flag: Flag
    begun: bool = False
    """Text was sent."""


@dataclass
class _Embedding:
    number: int
    rows: Any
    slices: Iterator[int]


@dataclass
class Worker:
    """Serves requests until `close` or the end of the pipe.

    Args:
        requests: File descriptor to read from.
        replies: Where to send.
    """

    requests: int
    replies: Sender
    engine: Any = None
    _inbox: deque[tuple[Any, ...]] = field(default_factory=deque)
    _wake: threading.Event = field(default_factory=threading.Event)
    _flags: dict[int, Flag] = field(default_factory=dict)
    _at_work: int = 0
    """Number of the answer or prefill that is being evaluated, 0 for none."""
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """Held to change `_at_work`, and to stop what is evaluated: an abort must not hit whoever comes next."""
    _prefills: set[int] = field(default_factory=set)
    _streams: deque[_Stream] = field(default_factory=deque)
    _waiting: deque[tuple[Any, ...]] = field(default_factory=deque)
    _embeddings: deque[_Embedding] = field(default_factory=deque)
    _closing: bool = False
    _outbox: list[Any] = field(default_factory=list)
    _sent: float = 0.0
    _embed_after: float = 0.0

    # ---- the reading thread ----

    def _read(self) -> None:
        for message in receive(self.requests):
            kind, number = message[0], message[1]
            if kind == "cancel":
                self._cancel(number)
            elif kind == "close":
                break
            else:
                if kind == "stream":
                    for idle_work in list(self._prefills):
                        self._cancel(idle_work)
                if kind in ("stream", "prefill"):
                    self._flags[number] = Flag()
                    if kind == "prefill":
                        self._prefills.add(number)
                self._inbox.append(message)
                self._wake.set()
        self._closing = True
        for number in list(self._flags):
            self._cancel(number)
        self._wake.set()
        timer = threading.Timer(_LAST_WORDS, os._exit, (0,))
        timer.daemon = True
        timer.start()

    def _cancel(self, number: int) -> None:
        flag = self._flags.get(number)
        if flag is None:
            return
        flag.set()
        with self._turn:
            if self._at_work == number:
                self.engine.interrupt()
        self._wake.set()

    # ---- the working thread ----

    def run(self) -> int:
        """Load what the first message asks for, then serve; returns the exit code."""
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        while not self._inbox:
            if self._closing:
                return 0
            self._wake.wait()
            self._wake.clear()
        _, _, spec = self._inbox.popleft()
        try:
            self.engine = self._load(spec)
        except Exception as error:
            if not self._closing:
                traceback.print_exc()
            self.replies.send(("failed", 0, pack_error(error)))
            return 1
        self.replies.send(("ready", 0, self.engine.info))
        gc.collect()
        gc.freeze()  # what was loaded stays: the collector need not look at it between two tokens
        idle_since = time.monotonic()
        while not self._closing:
            if self._step():
                idle_since = 0.0
                continue
            self._flush()
            now = time.monotonic()
            idle_since = idle_since or now
            if now - idle_since >= _IDLE:
                self._rest()
            self._wake.wait(_IDLE)
            self._wake.clear()
        for stream in self._streams:
            stream.events.close()  # type: ignore[attr-defined]
        self.engine.close()
        return 0

    def _rest(self) -> None:
        try:
            self.engine.rest()
        except Exception:  # nobody asked for it, so nobody is told: it goes to the log file
            traceback.print_exc()

    def _load(self, spec: EngineSpec) -> Any:
        from localllm.engine.local import LocalEngine

        last = 0.0

        def report(fraction: float) -> None:
            nonlocal last
            if self._closing:
                os._exit(0)  # nothing was loaded that would have to be saved
            now = time.monotonic()
            if now - last > 0.05 or fraction >= 1:
                last = now
                self.replies.send(("progress", 0, fraction))

        return LocalEngine(spec, on_progress=report)

    def _step(self) -> bool:
        """Do one piece of work; False when there is none."""
        while self._inbox:
            self._accept(self._inbox.popleft())
        self._drop_cancelled()
        while self._waiting and len(self._streams) < self.engine.spec.n_seq:
            self._start(*self._waiting.popleft())
        if self._streams:
            stream = self._streams.popleft()
            if self._advance(stream):
                self._streams.append(stream)
            if self._embeddings and time.monotonic() >= self._embed_after:
                started = time.monotonic()
                self._embed_slice()
                now = time.monotonic()
                self._embed_after = now + _EMBED_SHARE * (now - started)
            return True
        if self._embeddings:
            self._embed_slice()
            return True
        return False

    def _accept(self, message: tuple[Any, ...]) -> None:
        kind, number, *rest = message
        if kind == "stream":
            self._waiting.append((number, *rest))
        elif kind == "embed":
            self._answer(number, lambda: self._begin_embedding(number, *rest))
        elif kind == "prefill":
            flag = self._flags[number]
            if self._streams or self._waiting:  # idle work has no place beside an answer, and no sequence
                self._flush(("result", number, 0))
            else:
                with self._working_on(number, flag):
                    self._answer(number, lambda: ("result", number, self.engine.prefill(rest[0], flag, *rest[1:])))
            self._prefills.discard(number)
            self._flags.pop(number, None)
        else:
            actions: dict[str, Callable[..., Any]] = {
                "render": self.engine.render,
                "tokenize": self.engine.tokenize,
                "spans": lambda texts: [self.engine.embedder.token_spans(text) for text in texts],
            }
            self._answer(number, lambda: ("result", number, actions[kind](*rest)))

    def _answer(self, number: int, make: Callable[[], tuple[Any, ...] | None]) -> None:
        try:
            message = make()
        except Exception as error:
            message = self._failure(number, error)
        if message is not None:
            self._flush(message)

    def _failure(self, number: int, error: Exception) -> tuple[Any, ...]:
        from localllm.errors import LocalLLMError

        if not isinstance(error, LocalLLMError):
            traceback.print_exc()  # to the log file
        return ("error", number, pack_error(error))

    @contextlib.contextmanager
    def _working_on(self, number: int, flag: Flag) -> Iterator[None]:
        """While the block runs, a cancellation of this request stops the evaluation, and of no other does."""
        with self._turn:
            self.engine.interrupt(flag.is_set())  # one that came too late for the request before is not meant for this
            self._at_work = number
        try:
            yield
        finally:
            with self._turn:
                self._at_work = 0

    # ---- answers ----

    def _drop_cancelled(self) -> None:
        """Answers that were taken back before their turn came end at once."""
        for message in [m for m in self._waiting if self._flags[m[0]].is_set()]:
            self._waiting.remove(message)
            number = message[0]
            del self._flags[number]
            done = GenerationDone(FinishReason.CANCELLED, Stats(n_ctx=self.engine.info.n_ctx))
            self._flush(("event", number, pack_event(done)), ("end", number, None))

    def _start(self, number: int, request: Any) -> None:
        flag = self._flags[number]
        self._streams.append(_Stream(number, self.engine.stream(request, flag), flag))

    def _advance(self, stream: _Stream) -> bool:
        """One step of one answer; False when it is over."""
        number = stream.number
        try:
            # as `_working_on`, without its cost at every token
            with self._turn:
                self.engine.interrupt(stream.flag.is_set())
                self._at_work = number
            try:
                event = next(stream.events)
            finally:
                with self._turn:
                    self._at_work = 0
        except StopIteration:
            self._flags.pop(stream.number, None)
            self._flush(("end", stream.number, None))
            return False
        except Exception as error:
            self._flags.pop(stream.number, None)
            self._flush(self._failure(stream.number, error))
            return False
        if type(event) is TokenEvent:
            self._gather(number, event)
            if stream.begun and time.monotonic() - self._sent < _GATHER:
                return True
            stream.begun = True
        else:
            self._outbox.append(("event", number, pack_event(event)))
            if type(event) is Prefilling and event.done == event.total > 0 and not stream.begun:
                return self._advance(stream)  # the first token is there already: they go together
        self._flush()
        return True

    def _gather(self, number: int, event: TokenEvent) -> None:
        """Put a text event behind those that wait to be sent; it becomes one with the last of the same answer."""
        if self._outbox:
            kind, owner, last = self._outbox[-1]
            if kind == "event" and owner == number and type(last) is tuple and last[2] == event.from_draft:
                self._outbox[-1] = (kind, owner, (last[0] + event.text, last[1] + event.token_ids, last[2]))
                return
        self._outbox.append(("event", number, pack_event(event)))

    def _flush(self, *more: Any) -> None:
        """Send what was gathered."""
        if self._outbox or more:
            self.replies.send(*self._outbox, *more)
            self._outbox.clear()
        self._sent = time.monotonic()

    # ---- embeddings ----

    def _begin_embedding(self, number: int, texts: list[str]) -> None:
        embedder = self.engine.embedder
        rows = np.empty((len(texts), embedder.dim), np.float32)
        self._embeddings.append(
            _Embedding(number, rows, embedder.embed_slices(texts, rows, lambda: bool(self._streams)))
        )

    def _embed_slice(self) -> None:
        task = self._embeddings[0]
        try:
            next(task.slices)
        except StopIteration:
            self._embeddings.popleft()
            self._flush(("result", task.number, task.rows))
        except Exception as error:
            self._embeddings.popleft()
            self._flush(self._failure(task.number, error))


def run_worker() -> int:
    """Be the worker process: standard input and output are its pipes, standard error is its log file."""
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)  # whatever native code prints goes to the log
    for fd in (requests, replies):
        os.set_inheritable(fd, False)
    faulthandler.enable(sys.__stderr__ or 2)
    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C concerns the parent, which then cancels
    try:
        from localllm.llama.log import native_log

        native_log().file = sys.stderr
        code = Worker(requests, Sender(replies)).run()
    except OSError:  # the parent has gone
        code = 0
    except Exception as error:
        traceback.print_exc()
        with contextlib.suppress(OSError):
            Sender(replies).send(("failed", 0, pack_error(error)))
        code = 1
    sys.stderr.flush()
    os._exit(code)  # native destructors at exit have nothing to give but delays


if __name__ == "__main__":
    run_worker()
