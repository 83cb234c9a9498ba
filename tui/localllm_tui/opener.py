"""Opening a document with the program that the desktop has for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from localllm.errors import InputError

SHOWN = frozenset(
    ".pdf .docx .dotx .pptx .ppsx .xlsx .odt .odp .ott .epub .eml .mbox .html .htm .xhtml .txt .text .log .rst .adoc "
    ".asciidoc .org .tex .srt .vtt .md .markdown .mdown .mkd .csv .tsv .json .jsonl .yaml .yml .toml .xml".split()
)
"""Suffixes of files that a desktop shows. Any other may be a program, which it would run."""


def desktop_command(environ: Mapping[str, str] | None = None) -> list[str] | None:
    """What opens a file here as a double click would; None without a desktop, as over SSH."""
    env = os.environ if environ is None else environ
    display = "DISPLAY" in env or "WAYLAND_DISPLAY" in env
    if "SSH_CONNECTION" in env and not display:
        return None
    candidates: list[tuple[bool, list[str]]] = [
        (sys.platform == "darwin", ["open"]),
        ("WSL_DISTRO_NAME" in env, ["wslview"]),
        (display, ["xdg-open"]),
    ]
    return next((command for here, command in candidates if here and shutil.which(command[0])), None)


def open_document(source: str, failed: Callable[[str], object]) -> str:
    """Hand a document to the desktop, and don't wait for what opens it.

    Args:
        source: Its path.
        failed: Called from a thread, with one line, where the desktop has no program for it.

    Returns:
        What happens now, in one line.

    Raises:
        InputError: It is no longer there, it might be run instead of shown, or there is no desktop.
    """
    try:
        path: Path | None = Path(source).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        path = None
    if path is None or not path.is_file():
        raise InputError(f"{source or 'The document'} is no longer there.")
    if not {Path(source).suffix.lower(), path.suffix.lower()} <= SHOWN:
        raise InputError(f"A desktop may run {path.name} instead of showing it, so it is not opened. It is {path}.")
    if sys.platform == "win32":
        os.startfile(path)
        return f"Opening {path.name}."
    command = desktop_command()
    if command is None:
        raise InputError(f"There is no desktop here to open it with. The document is {path}.")
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            [*command, str(path)], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )
    except OSError as error:
        raise InputError(f"{command[0]} can't be started: {error.strerror}. The document is {path}.") from error
    # Some of these commands end only with the program that they started.
    threading.Thread(target=_follow, args=(process, command[0], path, failed), daemon=True).start()
    return f"Opening {path.name}."


def _follow(process: subprocess.Popen[bytes], command: str, path: Path, failed: Callable[[str], object]) -> None:
    if process.wait():
        failed(f"{command} found no program for it. The document is {path}.")
