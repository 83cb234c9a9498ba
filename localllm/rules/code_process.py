"""User regular expressions and Python rules, in a process that is ended when it takes too long.

A pattern can need exponential time and a Python rule can do anything; neither can be interrupted from within. One child
process serves all calls; after a time-out it is killed and the next call starts another.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

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


def child_command() -> list[str]:
    """How to start the child: this interpreter, or this very program when it is frozen."""
    if getattr(sys, "frozen", False):
        return [sys.executable, "--rules"]
    return [sys.executable, "-m", "localllm.rules.code_process"]


def child_environment() -> dict[str, str]:
    """Our environment; outside a packaged binary with the folder of localllm itself on the path."""
    env = {**os.environ, "LOCALLLM_RULES": "1"}
    if not getattr(sys, "frozen", False):
        root = str(Path(__file__).resolve().parents[2])
        env["PYTHONPATH"] = os.pathsep.join(p for p in (env.get("PYTHONPATH", ""), root) if p)
    return env


class CodeProcess:
    """The child process; starts with the first call. Messages are pickled, with their length before them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue[tuple[bool, Any] | None] = queue.Queue()

    def call(self, job: str, arguments: Mapping[str, Any], seconds: float) -> Any:
        """Run one of the jobs below in the child.

        Raises:
            TookTooLong: It was ended after `seconds`.
            CodeFailed: It raised, or the process died.
        """
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            try:
                write_message(process.stdin, (job, dict(arguments)))
                answer = self._answers.get(timeout=seconds)
            except queue.Empty:
                self._stop()
                raise TookTooLong(f"ended after {seconds:g} s") from None
            except OSError:
                answer = None
            if answer is None:
                self._stop()
                raise CodeFailed("the process of the rule ended unexpectedly")
        good, value = answer
        if not good:
            raise CodeFailed(str(value))
        return value

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._stop()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            options: dict[str, Any] = {}
            if sys.platform == "win32":
                options["creationflags"] = subprocess.CREATE_NO_WINDOW
            self._process = subprocess.Popen(
                child_command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=child_environment(),
                **options,
            )
            self._answers = queue.Queue()
            assert self._process.stdout is not None
            # A thread reads, because a pipe can't be waited for with a limit on every system.
            threading.Thread(target=_read_answers, args=(self._process.stdout, self._answers), daemon=True).start()
            try:
                ready = self._answers.get(timeout=START_SECONDS)
            except queue.Empty:
                ready = None
            if ready is None:
                self._stop()
                raise CodeFailed("the process for rules did not start")
        return self._process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait(10)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _read_answers(stream: IO[bytes], answers: queue.Queue[tuple[bool, Any] | None]) -> None:
    with contextlib.suppress(OSError, ValueError, EOFError):
        while True:
            answers.put(read_message(stream))
    answers.put(None)


def write_message(stream: IO[bytes], value: Any) -> None:
    """One value, with its length before it."""
    data = json.dumps(value).encode()
    stream.write(len(data).to_bytes(8, "little") + data)
    stream.flush()


def read_message(stream: IO[bytes]) -> Any:
    """One value.

    Raises:
        EOFError: The other side has gone.
    """
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    return json.loads(stream.read(int.from_bytes(head, "little")))


_shared: CodeProcess | None = None


def code_process() -> CodeProcess:
    """The process that all rules of this program share."""
    global _shared
    if _shared is None:
        _shared = CodeProcess()
        atexit.register(_shared.close)
    return _shared


# ---- in the child ---------------------------------------------------------------------------------------------------


def run_rules() -> int:
    """Serve the calls of the parent until it closes the pipe; the entry point of the child."""
    import signal

    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when we end
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What a rule prints or reads is not part of the conversation.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    write_message(answers, (True, "ready"))
    jobs: dict[str, Callable[..., Any]] = {"search": _search, "python": _python, "schema": _schema}
    with contextlib.suppress(EOFError, OSError):
        while True:
            job, arguments = read_message(calls)
            try:
                answer = True, jobs[job](**arguments)
            except BaseException as error:
                answer = False, f"{type(error).__name__}: {error}"[:500]
            write_message(answers, answer)
    return 0


def _search(pattern: str, flags: int, text: str, whole: bool) -> list[tuple[int, int]]:
    compiled = re.compile(pattern, flags)
    if whole:
        found = compiled.fullmatch(text)
        return [found.span()] if found else []
    return [m.span() for m, _ in zip(compiled.finditer(text), range(1000), strict=False)]


def _schema(schema: Any, value: Any) -> list[tuple[str, str]]:
    from localllm.rules.schema_check import errors_of

    return errors_of(schema, value)


_modules: dict[str, dict[str, Any]] = {}


def _python(file: str, function: str, text: str, context: dict[str, Any]) -> tuple[bool, str, tuple[int, int] | None]:
    """Call a user's rule: it gets the text (and the context, if it takes two arguments).

    It returns True or False, or a text (empty for a pass, otherwise the reason), or a pair of truth and reason.
    """
    import inspect

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


if __name__ == "__main__":
    sys.exit(run_rules())
