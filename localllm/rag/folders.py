"""Folders: which files of a root belong in a library, and why the others do not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from localllm.rag.index import FileFacts
from localllm.rag.readers import format_of

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
_NOISE = (".DS_Store", "Thumbs.db", "desktop.ini", "~$*", "*.swp", "*~", ".#*")
_MAX_DEPTH = 64
_CLOUD_PLACEHOLDER = 0x00400000 | 0x00001000
"""Windows: recall on data access, or offline. Reading such a file would download it."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a root, or a reason why one is left out."""

    relpath: str
    """With forward slashes; ends in ``/`` for a folder that is left out."""
    path: Path
    facts: FileFacts
    format: str = ""
    state: Literal["read", "skipped", "ignored"] = "read"
    reason: str = ""


def walk(root: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Iterator[Found]:
    """Every regular file under `root`, sorted in each folder; ignored folders are not entered.

    Links are not followed: their targets are found where they lie, and a link out of the folder leads nowhere.

    Args:
        root: An existing folder.
        include: Patterns of which a file must match one; none means all.
        exclude: Patterns that leave files and folders out, as in ``.gitignore``.
    """
    yield from _walk(root, "", include, _spec(exclude), [], 0)


def facts_of(info: os.stat_result) -> FileFacts:
    """What is known of a file without reading it."""
    return FileFacts(info.st_size, info.st_mtime_ns, info.st_ino)


def _walk(
    root: Path,
    inside: str,
    include: Sequence[str],
    exclude: GitIgnoreSpec | None,
    ignores: list[tuple[str, GitIgnoreSpec]],
    depth: int,
) -> Iterator[Found]:
    folder = root / inside if inside else root
    try:
        entries = sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError as error:
        yield Found(
            inside + "/", folder, FileFacts(0, 0, 0), "", "skipped", f"can't be opened: {error.strerror or error}"
        )
        return
    for name in IGNORE_FILES:
        if any(e.name == name for e in entries):
            try:
                lines = (folder / name).read_text("utf-8", "replace").splitlines()
            except OSError:
                continue
            if (spec := _spec(lines)) is not None:
                ignores = [*ignores, (inside, spec)]
    for entry in entries:
        relpath = f"{inside}/{entry.name}" if inside else entry.name
        if entry.is_symlink():
            continue
        try:
            is_folder = entry.is_dir(follow_symlinks=False)
            info = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # it went away between the listing and now
        if is_folder:
            if reason := _folder_reason(entry.name, relpath, exclude, ignores, depth):
                yield Found(relpath + "/", Path(entry.path), FileFacts(0, 0, 0), "", "ignored", reason)
            else:
                yield from _walk(root, relpath, include, exclude, ignores, depth + 1)
            continue
        if not stat.S_ISREG(info.st_mode) or any(fnmatch(entry.name, p) for p in (*_NOISE, *IGNORE_FILES)):
            continue
        path, facts = Path(entry.path), facts_of(info)
        if _ignored(relpath, exclude, ignores):
            continue
        if include and not any(fnmatch(relpath, p) or fnmatch(entry.name, p.removeprefix("**/")) for p in include):
            continue
        if any(fnmatch(entry.name.lower(), p) for p in _SECRETS):
            yield Found(relpath, path, facts, "", "skipped", "may hold secrets")
        elif getattr(info, "st_file_attributes", 0) & _CLOUD_PLACEHOLDER:
            yield Found(relpath, path, facts, "", "skipped", "not on this computer yet (cloud storage)")
        elif (format := format_of(path)) is None:
            yield Found(relpath, path, facts, "", "skipped", f"no reader for {path.suffix or 'files without a suffix'}")
        else:
            yield Found(relpath, path, facts, format)


def _folder_reason(
    name: str, relpath: str, exclude: GitIgnoreSpec | None, ignores: list[tuple[str, GitIgnoreSpec]], depth: int
) -> str:
    if name in _FOLDERS:
        return "a folder of tools, not of documents"
    if name.startswith(".") and len(name) > 1:
        return "a hidden folder"
    if depth >= _MAX_DEPTH:
        return f"more than {_MAX_DEPTH} folders deep"
    return "left out by an ignore file" if _ignored(relpath + "/", exclude, ignores) else ""


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
    if not lines:
        return None
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(lines)
