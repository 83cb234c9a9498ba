"""The limited process that documents are read in: bounded in time and memory, ended and started again when it fails.

A hostile or broken file can make a parser loop, take all memory or crash in native code. Here that costs one file, with
a reason, and nothing else. Requests and answers are length-prefixed pickles over private pipes.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from localllm.rag.readers.limits import LIMITS, Unreadable
from localllm.rag.rows import Extract

_HEADER = struct.Struct("<Q")
_CHECK_SECONDS = 0.1


class ReaderProcess:
    """Reads files in a process of its own, one at a time. Starts it with the first file.

    Args:
        seconds: Time that one file may take.
        memory_bytes: Address space of the process.
    """

    def __init__(self, seconds: float = LIMITS.seconds, memory_bytes: int = LIMITS.memory_bytes) -> None:
        self._seconds, self._memory = seconds, memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue[bytes | None] = queue.Queue()

    def read(self, path: Path, format: str, check: Callable[[], None] = lambda: None) -> Extract:
        """Read one file.

        Args:
            path: The file.
            format: Name of its reader.
            check: Called ten times a second while waiting; what it raises ends the process.

        Raises:
            Unreadable: With the reason: what the reader said, or that it took too long or too much memory.
        """
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            _send(process.stdin, (str(path), format))
        except OSError:
            self.close()
            process = self._start()
            assert process.stdin is not None
            _send(process.stdin, (str(path), format))
        raw = self._wait(check)
        if raw is None:
            self.close()
            raise Unreadable("its reader crashed", skipped=False)
        answer = pickle.loads(raw)  # noqa: S301 - from our own process
        if isinstance(answer, Unreadable):
            raise answer
        assert isinstance(answer, Extract)
        return answer

    def _wait(self, check: Callable[[], None]) -> bytes | None:
        end = time.monotonic() + self._seconds
        try:
            while (left := end - time.monotonic()) > 0:
                check()
                with contextlib.suppress(queue.Empty):
                    return self._answers.get(timeout=min(left, _CHECK_SECONDS))
        except BaseException:
            self.close()
            raise
        self.close()
        raise Unreadable(f"took more than {self._seconds:g} s to read", skipped=False)

    def close(self) -> None:
        """End the process; safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def __enter__(self) -> ReaderProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[bytes]:
        frozen = bool(getattr(sys, "frozen", False))
        command = [sys.executable, "--reader"] if frozen else [sys.executable, "-m", "localllm.rag.reader_process"]
        env = dict(os.environ) | {"LOCALLLM_READER": str(self._memory)}
        if not frozen:
            root = str(Path(__file__).resolve().parents[2])
            env["PYTHONPATH"] = os.pathsep.join(p for p in (env.get("PYTHONPATH"), root) if p)
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env,
            start_new_session=sys.platform != "win32",
        )  # fmt: skip
        self._answers = queue.Queue()
        # A thread of its own waits for answers: pipes can't be polled with a time limit on every system.
        threading.Thread(target=_collect, args=(process.stdout, self._answers), daemon=True).start()
        self._process = process
        return process


def _collect(pipe: IO[bytes], answers: queue.Queue[bytes | None]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while (raw := _receive(pipe)) is not None:
            answers.put(raw)
    answers.put(None)


def _send(pipe: IO[bytes], value: Any) -> None:
    raw = pickle.dumps(value)
    pipe.write(_HEADER.pack(len(raw)) + raw)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    header = pipe.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    raw = pipe.read(_HEADER.unpack(header)[0])
    return raw if raw else None


def run_reader() -> int:
    """The process itself: answers requests until its standard input ends."""
    from localllm.rag.readers import read

    # What a parser prints must not end up between our answers.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _limit_memory(int(os.environ.get("LOCALLLM_READER") or LIMITS.memory_bytes))
    while (raw := _receive(sys.stdin.buffer)) is not None:
        path, format = pickle.loads(raw)  # noqa: S301 - from our own parent
        answer: Extract | Unreadable
        try:
            answer = read(Path(path), format)
        except Unreadable as error:
            answer = error
        except MemoryError:
            answer = Unreadable("needs too much memory to read", skipped=False)
        except RecursionError:
            answer = Unreadable("is nested too deeply", skipped=False)
        except Exception as error:  # whatever a parser raises is a fact about the file
            answer = Unreadable(f"could not be read: {type(error).__name__}: {error}"[:300], skipped=False)
        try:
            _send(out, answer)
        except OSError:
            return 1
    return 0


def _limit_memory(limit: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    sys.exit(run_reader())
