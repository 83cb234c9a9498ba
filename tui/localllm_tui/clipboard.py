"""Copying that works over SSH, in tmux and under Wayland; a file where nothing else may have."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.settings import private_folder

if TYPE_CHECKING:
    from textual.app import App

SECONDS = 2.0
"""A clipboard tool that takes longer is given up."""


def native_command(environ: dict[str, str] | None = None) -> list[str] | None:
    """The tool of this desktop, or tmux's own buffer; None when there is none."""
    env = os.environ if environ is None else environ
    candidates: list[tuple[bool, list[str]]] = [
        (sys.platform == "darwin", ["pbcopy"]),
        (sys.platform == "win32" or "WSL_DISTRO_NAME" in env, ["clip.exe"]),
        ("WAYLAND_DISPLAY" in env, ["wl-copy"]),
        ("DISPLAY" in env, ["xclip", "-selection", "clipboard"]),
        ("DISPLAY" in env, ["xsel", "--clipboard", "--input"]),
        ("TMUX" in env, ["tmux", "load-buffer", "-w", "-"]),
    ]
    for here, command in candidates:
        if here and shutil.which(command[0]):
            return command
    return None


def copy(app: App[object], text: str, home: Path) -> str:
    """Copy a text, and say how.

    Args:
        app: Sends the terminal's own copy sequence (OSC 52), which also works over SSH.
        text: The text.
        home: Where the file of last resort goes.
    """
    app.copy_to_clipboard(text)
    command = native_command()
    if command is not None and _run(command, text):
        return f"Copied {len(text):,} characters ({command[0]})."
    path = private_folder(home) / "copied.txt"
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_text(text, "utf-8")
    part.replace(path)
    return f"Copied {len(text):,} characters through the terminal; also in {path}."


def _run(command: list[str], text: str) -> bool:
    try:
        done = subprocess.run(
            command, input=text.encode(), timeout=SECONDS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
