"""Wire: how the worker process and its handle talk: pickles with a length in front, over two private pipes.

Both ends are this program and the pipes have no other readers, so that unpickling is safe.
"""

from __future__ import annotations

import os
import pickle
import struct
import threading
from collections.abc import Iterator
from typing import Any

from localllm import errors
from localllm.engine.protocol import TokenEvent
from localllm.errors import LocalLLMError

_LENGTH = struct.Struct("<I")
_CHUNK = 1 << 16


class Sender:
    """Writes messages to a pipe, from any thread.

    Args:
        fd: Of the pipe; closed by `close`.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, *messages: Any) -> None:
        """Write messages at once.

        Raises:
            OSError: The other end has gone.
        """
        data = b"".join(map(frame, messages))
        with self._lock:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]

    def close(self) -> None:
        """Close the pipe; safe to call twice."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1


def frame(message: Any) -> bytes:
    """A message as bytes."""
    data = pickle.dumps(message, 5)
    return _LENGTH.pack(len(data)) + data


def receive(fd: int) -> Iterator[Any]:
    """Messages from a pipe until its other end is closed."""
    buffer = bytearray()
    while True:
        try:
            chunk = os.read(fd, _CHUNK)
        except OSError:
            return
        if not chunk:
            return
        buffer += chunk
        while len(buffer) >= 4:
            (length,) = _LENGTH.unpack_from(buffer)
            if len(buffer) < 4 + length:
                break
            data = bytes(buffer[4 : 4 + length])
            del buffer[: 4 + length]
            yield pickle.loads(data)  # noqa: S301  (written by this program, see above)


# Token events travel as plain tuples: they are the many, and a dataclass costs four times as much to pickle.


def pack_event(event: Any) -> Any:
    """An engine event as it travels."""
    return (event.text, event.token_ids, event.from_draft) if type(event) is TokenEvent else event


def unpack_event(event: Any) -> Any:
    """An engine event from what travelled."""
    return TokenEvent(*event) if type(event) is tuple else event


def pack_error(error: BaseException) -> tuple[str, str, str, dict[str, Any]]:
    """An error as it travels: errors of ours keep their class, others become a `GenerationError`."""
    if isinstance(error, LocalLLMError):
        return type(error).__name__, error.message, error.hint, dict(error.__dict__)
    if isinstance(error, (ValueError, TypeError)):
        return type(error).__name__, str(error), "", {}
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    hint = "The worker's log file has the details."
    return "GenerationError", f"The engine failed: {reason}.", hint, {}


def unpack_error(packed: tuple[str, str, str, dict[str, Any]]) -> Exception:
    """An error from what travelled."""
    name, message, hint, attributes = packed
    if name in ("ValueError", "TypeError"):
        return {"ValueError": ValueError, "TypeError": TypeError}[name](message)
    kind = getattr(errors, name, errors.GenerationError)
    error: LocalLLMError = kind.__new__(kind)
    LocalLLMError.__init__(error, message, hint)
    error.__dict__.update(attributes)
    return error
