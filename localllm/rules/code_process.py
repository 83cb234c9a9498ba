"""User regular expressions and Python rules, in a process that is ended when it takes too long.

A pattern can need exponential time and a Python rule can do anything; neither can be interrupted from within. One child
process serves all calls; after a time-out it is killed and the next call starts another.
"""

from __future__ import annotations

import atexit
import contextlib
import re
import threading
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

START_SECONDS = 20.0
MEMORY = 1 << 30
"""Bytes of address space above its own that a Python rule may use, where the system can limit it."""


class TookTooLong(Exception):
    """The call was ended at its time limit."""


class CodeFailed(Exception):
    """The call raised; the message is its own."""


_RISKY = re.compile(
    r"\([^()]*[*+}][^()]*\)\s*[*+{]|\([^()]*\|[^()]*\)\s*[*+{]|\\[1-9]|\(\?P=|\(.*\(.*[*+}].*\).*\)\s*[*+{]"
)


def risky(pattern: str) -> bool:
    """Whether a pattern may need more than linear time by much: quantified groups with choices, back-references."""
    return bool(_RISKY.search(pattern)) or len(re.findall(r"(?<!\\)[*+]", pattern)) > 6


class CodeProcess:
    """The child process; starts with the first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def call(self, job: str, arguments: Mapping[str, Any], seconds: float) -> Any:
        """Run one of the jobs below in the child.

        Raises:
            TookTooLong: It was ended after `seconds`.
            CodeFailed: It raised, or the process died.
        """
        with self._lock:
            connection = self._started()
            try:
                connection.send((job, dict(arguments)))
                if not connection.poll(seconds):
                    self._stop()
                    raise TookTooLong(f"ended after {seconds:g} s")
                good, value = connection.recv()
            except (EOFError, OSError) as error:
                self._stop()
                raise CodeFailed("the process of the rule ended unexpectedly") from error
        if not good:
            raise CodeFailed(str(value))
        return value

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._stop()

    def _started(self) -> Connection:
        if self._connection is None or self._process is None or not self._process.is_alive():
            self._stop()
            context = get_context("spawn")
            ours, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True, name="localllm-rules")
            self._process.start()
            theirs.close()
            self._connection = ours  # type: ignore[assignment, unused-ignore]
            if not ours.poll(START_SECONDS):
                self._stop()
                raise CodeFailed("the process for rules did not start")
            ours.recv()
        assert self._connection is not None
        return self._connection

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join(5)
            self._process.close()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


_shared: CodeProcess | None = None


def code_process() -> CodeProcess:
    """The process that all rules of this program share."""
    global _shared
    if _shared is None:
        _shared = CodeProcess()
        atexit.register(_shared.close)
    return _shared


# ---- in the child ---------------------------------------------------------------------------------------------------


def _serve(connection: Connection) -> None:
    import signal

    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when we end
    connection.send("ready")
    jobs: dict[str, Callable[..., Any]] = {"search": _search, "python": _python, "schema": _schema}
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            job, arguments = connection.recv()
            try:
                answer = True, jobs[job](**arguments)
            except BaseException as error:
                answer = False, f"{type(error).__name__}: {error}"[:500]
            connection.send(answer)


def _search(pattern: str, flags: int, text: str, whole: bool) -> list[tuple[int, int]]:
    compiled = re.compile(pattern, flags)
    if whole:
        found = compiled.fullmatch(text)
        return [found.span()] if found else []
    return [m.span() for m, _ in zip(compiled.finditer(text), range(1000), strict=False)]


def _schema(schema: Any, value: Any) -> list[tuple[str, str]]:
    from localllm.rules.schema import errors_of

    return errors_of(schema, value)


_modules: dict[str, dict[str, Any]] = {}


def _python(file: str, function: str, text: str, context: dict[str, Any]) -> tuple[bool, str, tuple[int, int] | None]:
    """Call a user's rule: it gets the text (and the context, if it takes two arguments).

    It returns True or False, or a text (empty for a pass, otherwise the reason), or a pair of truth and reason.
    """
    import inspect
    from pathlib import Path

    if file not in _modules:
        _limit_memory()
        space: dict[str, Any] = {"__name__": "localllm_rule", "__file__": file}
        exec(compile(Path(file).read_text("utf-8"), file, "exec"), space)
        _modules[file] = space
    rule = _modules[file].get(function)
    if not callable(rule):
        raise LookupError(f"there is no function {function!r} in {file}")
    result = rule(text, context) if len(inspect.signature(rule).parameters) > 1 else rule(text)
    span = None
    if isinstance(result, tuple) and len(result) == 3:
        good, reason, place = result
        result, span = (good, reason), (int(place[0]), int(place[1]))
    if isinstance(result, bool):
        return result, "", span
    if isinstance(result, str):
        return not result, result, span
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], bool):
        return result[0], str(result[1]), span
    raise TypeError(f"the rule returned {type(result).__name__}, not True, False, a reason or a pair")


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError, ValueError):
        used = 0
        with contextlib.suppress(OSError), open("/proc/self/statm") as statm:  # noqa: PTH123
            used = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
