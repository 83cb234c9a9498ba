"""Paths as terminals paste what is dropped on them: as they are, quoted, escaped or as addresses, one or several."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

_ADDRESS = re.compile(r"file://[^/]*(/.*)", re.IGNORECASE)


def paths_in(text: str, folder: Path) -> list[Path]:
    """The paths that a text names, each once.

    A line that is the path of something is one path, blanks and quotation marks included. Any other is read as a shell
    would read it, and is several paths where all of them are absolute, as what is dropped always is.

    Args:
        text: Typed, pasted or dropped.
        folder: Where relative paths begin.

    Returns:
        Absolute paths, whether there is something or not.
    """
    found: list[Path] = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        whole, words = _plain(line), [_plain(word) for word in _words(line)]
        several = all(map(os.path.isabs, words)) and any(is_there(Path(word)) for word in words)
        in_words = not is_there(folder / whole) and (len(words) == 1 or several)
        found += [Path(os.path.realpath(folder / path)) for path in (words if in_words else [whole])]
    return list(dict.fromkeys(found))


def _words(line: str) -> list[str]:
    if os.name == "nt":  # where a backslash is no escape
        return [quoted or bare for quoted, bare in re.findall(r'"([^"]+)"|(\S+)', line)]
    try:
        return [word for word in shlex.split(line) if word]
    except ValueError:  # a quotation mark without its other half
        return [line]


def _plain(word: str) -> str:
    """A path without what an address or a shell adds to it."""
    if (address := _ADDRESS.fullmatch(word)) is not None:
        word = unquote(address[1])
        if os.name == "nt":  # /C:/manuals
            word = word.lstrip("/")
    return os.path.expanduser(word.replace("\0", ""))  # noqa: PTH111 - Path.expanduser fails for an unknown user


def is_there(path: Path) -> bool:
    """Whether there is something, for any text as a path."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists fails for a text too long to be a path
