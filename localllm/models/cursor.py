"""Read a file's beginning in order, never more of it than a bound, and never trust a length before it is checked."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from struct import Struct
from types import TracebackType

from localllm.errors import ModelNotFound, NotGGUF

FIRST_READ = 1 << 20
_U64 = Struct("<Q")


class Cursor:
    """A position in a regular file whose bytes so far are in memory.

    Args:
        path: The file; anything but a regular file is refused, and a named pipe is not waited for.
        limit: Bytes that may be read at most.

    Raises:
        ModelNotFound: There is no such file.
        NotGGUF: It is a folder, a pipe or a device, is empty, or can't be read.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self._descriptor = _open(path)
        self.size = os.fstat(self._descriptor).st_size
        self.position = 0
        self._limit = limit
        self._bytes = bytearray()

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def need(self, count: int, what: str) -> int:
        """Make the next `count` bytes available, step over them, and return where they start.

        Raises:
            NotGGUF: The file is cut short there, or the count can't be true.
        """
        start = self.position
        end = start + count
        if end > len(self._bytes):
            self._fill(end, what)
        self.position = end
        return start

    def unpack(self, layout: Struct, what: str) -> int | float | bool:
        """The single value of `layout` at the position."""
        start = self.need(layout.size, what)
        value: int | float | bool = layout.unpack_from(self._bytes, start)[0]
        return value

    def text(self, what: str, most: int = 1 << 26) -> str:
        """A length, `most` at most, and that many bytes of UTF-8."""
        length = int(self.unpack(_U64, what))
        if length > most:
            raise NotGGUF(self.path, f"its header claims a text of {length:,} bytes for {what}, which can't be true")
        start = self.need(length, what)
        return self._bytes[start : start + length].decode("utf-8", "replace")

    def skip_texts(self, count: int, what: str) -> None:
        """Step over `count` texts: a header holds some 100,000 of them, so nothing is decoded."""
        data, position, unpack = self._bytes, self.position, _U64.unpack_from
        for _ in range(count):
            if position + 8 > len(data):
                self._fill(position + 8, what)
            position += 8 + unpack(data, position)[0]
            if position > self.size:
                self._fill(position, what)
        self.position = position
        self.need(0, what)

    def raw(self, start: int, end: int) -> bytes:
        """Bytes that were stepped over already."""
        return bytes(self._bytes[start:end])

    def expect(self, count: int, what: str) -> None:
        """Check that `count` more bytes can be there, without reading them.

        Raises:
            NotGGUF: The file is cut short, or the count can't be true.
        """
        end = self.position + count
        if end > self._limit:
            raise NotGGUF(self.path, f"its header claims {what}, {end:,} bytes, which can't be true")
        if end > self.size:
            raise NotGGUF(self.path, f"the file is cut short: {self.size:,} bytes, and {what} needs {end:,}")

    def _fill(self, end: int, what: str) -> None:
        self.position, before = 0, self.position
        self.expect(end, what)
        self.position = before
        wanted = min(self.size, self._limit, max(end, FIRST_READ, 2 * len(self._bytes)))
        while len(self._bytes) < wanted:
            try:
                piece = os.read(self._descriptor, wanted - len(self._bytes))
            except OSError as error:
                raise NotGGUF(self.path, f"it can't be read: {error.strerror}", "Check the disk.") from error
            if not piece:
                raise NotGGUF(self.path, "it is being written by another program", "Try again when that is done.")
            self._bytes += piece


def _open(path: Path) -> int:
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = "`localllm models list` shows what is here."
        raise ModelNotFound(f"{path}: there is no such file.", hint) from error
    except OSError as error:
        if path.is_dir():  # Windows refuses to open a folder
            raise NotGGUF(path, "it is a folder, not a file", "Give the .gguf file inside it.") from error
        hint = "Check its permissions." if error.errno in (errno.EACCES, errno.EPERM) else "Choose another file."
        raise NotGGUF(path, f"it can't be read: {error.strerror}", hint) from error
    except ValueError as error:  # a name with a zero byte
        raise ModelNotFound(f"{path!r}: this can't be a file name.") from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) and os.fstat(descriptor).st_size > 0:
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise NotGGUF(path, "it is a folder, not a file", "Give the .gguf file inside it.")
    if stat.S_ISREG(mode):
        raise NotGGUF(path, "the file is empty")
    raise NotGGUF(path, "it is a pipe or a device, not a file", "Give a .gguf file.")
