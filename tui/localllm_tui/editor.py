"""Writing the prompt in the user's own editor."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from localllm.errors import InputError


def editor_command() -> list[str]:
    """What VISUAL or EDITOR name, else vi or notepad."""
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    return shlex.split(named) if named else ["notepad" if os.name == "nt" else "vi"]


def edit(text: str) -> str:
    """Let the user edit a text; the terminal must be free.

    Raises:
        InputError: The editor can't be started, failed, or wrote something that is not UTF-8.
    """
    command = editor_command()
    with tempfile.TemporaryDirectory(prefix="localllm-") as folder:
        path = Path(folder) / "prompt.md"
        path.write_text(text, "utf-8")
        path.chmod(0o600)
        try:
            done = subprocess.run([*command, str(path)])
        except OSError as error:
            raise InputError(f"{command[0]} can't be started: {error.strerror}.", "Set EDITOR.") from error
        if done.returncode:
            raise InputError(f"{command[0]} ended with {done.returncode}; the prompt is as it was.")
        try:
            return path.read_text("utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"What {command[0]} wrote can't be read: {error}.") from error
