"""llama.cpp's own messages: to a file, never to the user's screen, with the lines of a load kept for reading."""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from localllm.llama._api import C

_LEVEL_DEBUG, _LEVEL_INFO, _LEVEL_ERROR, _LEVEL_CONT = 1, 2, 4, 5


class NativeLog:
    """Receives every line that llama.cpp writes."""

    def __init__(self) -> None:
        self.file: TextIO | None = None
        """Where lines go; None drops them."""
        self.verbose = False
        """Write every line; otherwise no debugging lines, and only warnings and errors once loading is over."""
        self.errors: deque[str] = deque(maxlen=20)
        self._captured: list[str] | None = None
        self._level = 0
        self._callback = C.llama_log_callback(self._receive)
        self.install()

    def install(self) -> None:
        """Take llama.cpp's messages over, also from llama-cpp-python's high-level package if something imported it."""
        C.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _receive(self, level: int, text: bytes, _user: Any) -> None:
        # ctypes prints what is raised here to stderr and goes on; nothing below should raise
        level = self._level if level == _LEVEL_CONT else level
        self._level = level
        line = text.decode("utf-8", "replace")
        if level == _LEVEL_ERROR and line.strip():
            self.errors.append(line.strip())
        if self._captured is not None:
            self._captured.append(line)
        if not self.verbose and (level == _LEVEL_DEBUG or (self._captured is None and level == _LEVEL_INFO)):
            return
        if self.file is not None:
            try:
                self.file.write(line)
                self.file.flush()
            except (OSError, ValueError):  # a full disk or a closed file must not stop an answer
                self.file = None

    @contextmanager
    def capture(self) -> Iterator[list[str]]:
        """Collect every line, debugging ones included, while the block runs."""
        lines: list[str] = []
        self.install()
        self._captured = lines
        self.errors.clear()
        try:
            yield lines
        finally:
            self._captured = None

    def first_error(self) -> str:
        """The first error line since `capture` began, the most exact one; empty when there was none."""
        return self._stripped(self.errors[0]) if self.errors else ""

    def last_error(self) -> str:
        """The last error line, without llama.cpp's function name in front; empty when there was none."""
        return self._stripped(self.errors[-1]) if self.errors else ""

    @staticmethod
    def _stripped(line: str) -> str:
        head, _, rest = line.partition(": ")
        return rest if rest and " " not in head else line


_log: NativeLog | None = None


def native_log() -> NativeLog:
    """The one log of this process; the first call takes llama.cpp's messages over and starts its backends."""
    global _log
    if _log is None:
        _log = NativeLog()
        if hasattr(sys, "_MEIPASS"):  # a frozen program: backends built as separate libraries lie beside libllama
            _load_backends()
        C.llama_backend_init()
    return _log


def _load_backends() -> None:
    from localllm.llama._api import LIB_FOLDER, library

    ggml = library("ggml")
    if ggml is not None and hasattr(ggml, "ggml_backend_load_all_from_path"):
        ggml.ggml_backend_load_all_from_path(str(LIB_FOLDER).encode())
