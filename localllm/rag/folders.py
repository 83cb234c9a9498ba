"""Folders: which files of a root belong in a library, and why the others do not.

The walk is the whole cost of a sync that finds nothing new, so the common case does little per file: one `stat`, one
regular expression over the name, and no object but the one that is yielded.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import translate
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from localllm.rag.readers import format_of
from localllm.rag.rows import FileFacts

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILES = (".gitignore", ".localllmignore")
_FOLDERS = {
    ".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", "venv", ".tox", ".mypy_cache", ".ruff_cache",
    ".pytest_cache", ".idea", ".vscode", "site-packages", ".cache", ".Trash", "$RECYCLE.BIN", ".ipynb_checkpoints",
}  # fmt: skip
_SECRETS = (
    ".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.kdbx", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
    ".netrc", "_netrc", ".pgpass", "*.keystore", "*.jks", "credentials", "credentials.json", "secrets.*",
)  # fmt: skip
_NOISE = (".DS_Store", "Thumbs.db", "desktop.ini", "~$*", "*.swp", "*~", ".#*", *IGNORE_FILES)
_MAX_DEPTH = 64
_CLOUD_PLACEHOLDER = 0x00400000 | 0x00001000
"""Windows: recall on data access, or offline. Reading such a file would download it."""

_JUNCTION = 0xA0000003
"""Windows: a folder that stands for another one, which may be around it."""


class Found(NamedTuple):
    """A file of a root, or a reason why one is left out."""

    relpath: str
    """With forward slashes; ends in ``/`` for a folder that is left out."""
    name: str
    size: int
    mtime_ns: int
    inode: int
    state: Literal["file", "skipped", "ignored", "closed"] = "file"
    """``closed``: a folder that can't be opened; what was known of its files stays."""
    reason: str = ""

    @property
    def facts(self) -> FileFacts:
        """What is known of it without reading it."""
        return FileFacts(self.size, self.mtime_ns, self.inode)

    @property
    def format(self) -> str | None:
        """Name of its reader."""
        return format_of(self.name)


def _any_of(patterns: Iterable[str], flags: int = 0) -> re.Pattern[str]:
    return re.compile("|".join(translate(p) for p in patterns), flags)


_NOISE_RE = _any_of(_NOISE)
_SECRET_RE = _any_of(_SECRETS, re.IGNORECASE)


def walk(root: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Iterator[Found]:
    """Every file under `root`, and every file and folder that is left out for a reason; ignored folders stay closed.

    Links are not followed: their targets are found where they lie, so loops and links out of the folder lead nowhere.

    Args:
        root: An existing folder.
        include: Patterns of which a file must match one; none means all.
        exclude: Patterns that leave files and folders out, as in ``.gitignore``.

    Raises:
        OSError: The root itself can't be opened.
    """
    os.scandir(root).close()
    wanted = _any_of([*include, *(p.removeprefix("**/") for p in include)]) if include else None
    exclude_spec = _spec(exclude)
    # (path inside the root, its ignore files from the root down, depth)
    stack: list[tuple[str, list[tuple[str, GitIgnoreSpec]], int]] = [("", [], 0)]
    while stack:
        inside, ignores, depth = stack.pop()
        prefix = inside + "/" if inside else ""
        try:
            with os.scandir(os.path.join(root, inside) if inside else root) as scan:  # noqa: PTH118 - the fast way
                entries = list(scan)
        except OSError as error:
            yield Found(prefix, inside, 0, 0, 0, "closed", f"can't be opened: {error.strerror or error}")
            continue
        for entry in entries:
            if entry.name in IGNORE_FILES:
                ignores = _with_file(ignores, inside, Path(entry.path))
        judged = exclude_spec is not None or bool(ignores)
        for entry in entries:
            name = entry.name
            relpath = prefix + name
            try:
                info = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # it went away between the listing and now
            mode = info.st_mode
            if stat.S_ISREG(mode):
                if _NOISE_RE.match(name):
                    continue
                size, mtime, inode = info.st_size, info.st_mtime_ns, info.st_ino
                if not name.isascii() and not _is_text(name):
                    relpath = os.fsencode(relpath).decode("utf-8", "backslashreplace")
                    yield Found(relpath, name, size, mtime, inode, "skipped", "its name is not valid text")
                elif judged and _ignored(relpath, exclude_spec, ignores):
                    yield Found(relpath, name, size, mtime, inode, "ignored", "left out by an ignore file")
                elif wanted is not None and not (wanted.match(relpath) or wanted.match(name)):
                    continue
                elif _SECRET_RE.match(name):
                    yield Found(relpath, name, size, mtime, inode, "skipped", "may hold secrets")
                elif getattr(info, "st_file_attributes", 0) & _CLOUD_PLACEHOLDER:
                    yield Found(relpath, name, size, mtime, inode, "skipped", "not on this computer (cloud storage)")
                else:
                    yield Found(relpath, name, size, mtime, inode)
            elif stat.S_ISDIR(mode) and getattr(info, "st_reparse_tag", 0) != _JUNCTION:
                if not name.isascii() and not _is_text(name):
                    shown = os.fsencode(relpath).decode("utf-8", "backslashreplace")
                    yield Found(shown + "/", name, 0, 0, 0, "skipped", "its name is not valid text")
                elif reason := _folder_reason(name, depth):
                    yield Found(relpath + "/", name, 0, 0, 0, "ignored", reason)
                elif judged and _ignored(relpath + "/", exclude_spec, ignores):
                    yield Found(relpath + "/", name, 0, 0, 0, "ignored", "left out by an ignore file")
                else:
                    stack.append((relpath, ignores, depth + 1))
            elif _is_text(name):
                linked = stat.S_ISLNK(mode) or stat.S_ISDIR(mode)
                reason = "a link; its target is not followed" if linked else "not a regular file"
                yield Found(relpath, name, 0, info.st_mtime_ns, info.st_ino, "skipped", reason)


def file_found(path: Path) -> Found:
    """A root that is a single file.

    Raises:
        OSError: It is not there.
    """
    info = path.stat()
    found = Found(path.name, path.name, info.st_size, info.st_mtime_ns, info.st_ino)
    return found if stat.S_ISREG(info.st_mode) else found._replace(state="skipped", reason="not a regular file")


def _with_file(ignores: list[tuple[str, GitIgnoreSpec]], inside: str, path: Path) -> list[tuple[str, GitIgnoreSpec]]:
    try:
        spec = _spec(path.read_text("utf-8", "replace").splitlines()) if path.is_file() else None
    except (OSError, ValueError):
        return ignores
    return ignores if spec is None else [*ignores, (inside, spec)]


def _folder_reason(name: str, depth: int) -> str:
    if name in _FOLDERS:
        return "a folder of tools, not of documents"
    if name.startswith("."):
        return "a hidden folder"
    return f"more than {_MAX_DEPTH} folders deep" if depth >= _MAX_DEPTH else ""


def _ignored(relpath: str, exclude: GitIgnoreSpec | None, ignores: list[tuple[str, GitIgnoreSpec]]) -> bool:
    """The deepest ignore file that says something wins, as in git."""
    if exclude is not None and exclude.match_file(relpath):
        return True
    for inside, spec in reversed(ignores):
        result = spec.check_file(relpath[len(inside) + 1 :] if inside else relpath)
        if result.include is not None:
            return bool(result.include)
    return False


def _spec(lines: Sequence[str]) -> GitIgnoreSpec | None:
    if not any(line.strip() and not line.startswith("#") for line in lines):
        return None
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)


def _is_text(name: str) -> bool:
    """Whether a file name can be written in UTF-8; names on Linux are bytes of any kind."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
