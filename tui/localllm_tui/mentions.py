"""`@file` in a prompt: completed while typing, replaced by the file's text when sent."""

from __future__ import annotations

import os
import re
from pathlib import Path

from localllm.errors import InputError

MOST_BYTES = 400_000
"""A larger file does not fit any context window here; documents of that size belong into a library."""
MOST_NAMES = 12
_MENTION = re.compile(r"(?<!\S)@(\"[^\"\n]+\"|\S+)")


def names(prefix: str, folder: Path | None = None) -> list[str]:
    """Files and folders that begin so, as they are typed behind ``@``: folders end with a slash.

    Args:
        prefix: What stands behind the ``@``.
        folder: Where relative names start; None means the working folder.
    """
    head, _, last = prefix.rpartition("/")
    base = Path(os.path.expanduser(head + "/" if head or prefix.startswith("/") else "."))  # noqa: PTH111
    place = base if base.is_absolute() else (folder or Path.cwd()) / base
    try:
        found = sorted(
            (entry for entry in os.scandir(place) if entry.name.lower().startswith(last.lower())),
            key=lambda entry: (not entry.is_dir(), entry.name.lower()),
        )
    except OSError:
        return []
    shown = [e for e in found if last.startswith(".") or not e.name.startswith(".")]
    lead = f"{head}/" if head or prefix.startswith("/") else ""
    return [f"{lead}{e.name}{'/' if e.is_dir() else ''}" for e in shown[:MOST_NAMES]]


def expand(text: str, folder: Path | None = None) -> tuple[str, list[Path]]:
    """The prompt with the texts of the files that it mentions behind it, and these files.

    A mention that names no file stays as it is: ``@`` is also found in mail addresses and handles.

    Raises:
        InputError: A file can't be read, is no UTF-8 text, or is too large.
    """
    files: list[Path] = []
    parts = [text]
    for match in _MENTION.finditer(text):
        name = match[1].strip('"')
        path = Path(name).expanduser()
        if not path.is_absolute():
            path = (folder or Path.cwd()) / path
        if not path.is_file() and name[-1:] in ".,;:!?)":
            path = path.with_name(path.name[:-1]) if len(path.name) > 1 else path
        if path in files or not path.is_file():
            continue
        files.append(path)
        parts.append(_block(path))
    return "\n\n".join(parts), files


def _block(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(
                f"{path.name} has {size:,} bytes; a prompt takes at most {MOST_BYTES:,}.", "Put it into a library."
            )
        content = path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"{path.name} can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is no UTF-8 text.", "Put it into a library, or convert it.") from error
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{path.name}:\n{fence}\n{content.rstrip()}\n{fence}"
