"""SessionStore: KV states of chats on disk, so that a reopened chat goes on without reading itself again.

It is a cache: any file may be deleted at any time. A file is used only when its checksum is right and when model, cache
types and llama.cpp's version are those that wrote it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from localllm.errors import SettingsError
from localllm.settings import private_folder

_MAGIC = b"LLMKV001"
_ABANDONED = 3600.0
"""Seconds after which nobody is still writing a partial file."""


@dataclass(frozen=True)
class SavedSession:
    """What a session file says about itself; the state is read by `SessionStore.read_state`."""

    path: Path
    tokens: list[int]
    checksum: str
    offset: int
    n_bytes: int


class SessionStore:
    """Saved sessions of one model in one folder.

    Args:
        folder: Made when first written to.
        max_bytes: Of all files in the folder; the oldest go first.
        fingerprint: Names everything a state depends on but its tokens.
    """

    def __init__(self, folder: Path, max_bytes: int, fingerprint: str) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._fingerprint = fingerprint

    def path(self, name: str) -> Path:
        """The file of the session `name`."""
        return self._folder / (hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:32] + ".kv")

    def save(self, name: str, tokens: list[int], state: NDArray[np.uint8]) -> bool:
        """Write a session; False when it is too large for the cache or can't be written, which is no error."""
        ids = np.asarray(tokens, np.int32)
        size = ids.nbytes + state.nbytes
        if size > self._max_bytes:
            return False
        header = json.dumps(
            {
                "fingerprint": self._fingerprint,
                "n_tokens": len(tokens),
                "n_bytes": state.nbytes,
                "checksum": _checksum(ids, state),
            }
        ).encode()
        path = self.path(name)
        part = path.with_suffix(f".{os.getpid()}.part")
        try:
            private_folder(self._folder)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(_MAGIC + struct.pack("<I", len(header)) + header)
                file.write(ids.data)
                file.write(state.data)
            part.replace(path)
            self._make_room(path)
        except (OSError, SettingsError):
            return False
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        return True

    def find(self, name: str) -> SavedSession | None:
        """The session's tokens, or None when there is no such file.

        Raises:
            ValueError: The file is damaged or was written for something else; the message says which.
        """
        path = self.path(name)
        try:
            with path.open("rb") as file:
                head = file.read(len(_MAGIC) + 4)
                if len(head) < len(_MAGIC) + 4 or not head.startswith(_MAGIC):
                    raise ValueError("it is damaged")
                (length,) = struct.unpack("<I", head[len(_MAGIC) :])
                header = json.loads(file.read(min(length, 1 << 16)))
                if header["fingerprint"] != self._fingerprint:
                    raise ValueError("it belongs to another model or other settings")
                n_tokens, n_bytes = int(header["n_tokens"]), int(header["n_bytes"])
                expected = len(head) + length + 4 * n_tokens + n_bytes
                if min(n_tokens, n_bytes) < 0 or os.fstat(file.fileno()).st_size != expected:
                    raise ValueError("it is damaged")
                tokens = np.frombuffer(file.read(4 * n_tokens), np.int32).tolist()
                return SavedSession(path, tokens, str(header["checksum"]), file.tell(), n_bytes)
        except OSError:
            return None
        except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError("it is damaged") from error

    def read_state(self, saved: SavedSession) -> NDArray[np.uint8]:
        """The state, checked.

        Raises:
            ValueError: The file is damaged.
        """
        try:
            state = np.fromfile(saved.path, np.uint8, saved.n_bytes, offset=saved.offset)
        except OSError as error:
            raise ValueError("it can't be read") from error
        if len(state) != saved.n_bytes or _checksum(np.asarray(saved.tokens, np.int32), state) != saved.checksum:
            raise ValueError("it is damaged")
        with contextlib.suppress(OSError):
            os.utime(saved.path)  # used now, so the last to be thrown out
        return state

    def forget(self, name: str) -> None:
        """Delete a session's file, if there is one."""
        self.path(name).unlink(missing_ok=True)

    def _make_room(self, keep: Path) -> None:
        for part in self._folder.glob("*.part"):  # of a worker that was killed while it saved
            if part.stat().st_mtime < time.time() - _ABANDONED:
                part.unlink(missing_ok=True)
        files = [(f.stat().st_mtime, f.stat().st_size, f) for f in self._folder.glob("*.kv")]
        total = sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if total <= self._max_bytes:
                break
            if file != keep:
                file.unlink(missing_ok=True)
                total -= size


def _checksum(ids: NDArray[np.int32], state: NDArray[np.uint8]) -> str:
    digest = hashlib.blake2b(ids.data, digest_size=16)
    digest.update(state.data)
    return digest.hexdigest()


def file_fingerprint(path: Path) -> str:
    """Names a model file by its size and samples of its content, in milliseconds, whatever its name and date."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(struct.pack("<Q", size))
        step = max(1 << 16, size // 32)
        for offset in range(0, size, step):
            file.seek(offset)
            digest.update(file.read(1 << 16))
        file.seek(max(0, size - (1 << 16)))
        digest.update(file.read())
    return digest.hexdigest()
