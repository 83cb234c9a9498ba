"""The user's own keys: a TOML file of actions and keys, on top of the key set.

rename = "alt+n"
palette = "ctrl+k,ctrl+p"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from localllm.settings import Paths, to_toml, write_private
from localllm_tui.actions import ACTIONS, BY_ID, Action, Keys, shared

RESERVED = frozenset({"ctrl+i", "ctrl+m", "ctrl+h", "ctrl+left_square_bracket", "tab", "enter", "escape", "backspace"})
"""Keys that terminals can't tell from others, and those that every list and field needs."""


def keys_file(paths: Paths) -> Path:
    """Where they are kept, beside the settings."""
    return paths.config.parent / "keys.toml"


def read_own_keys(paths: Paths) -> tuple[dict[str, str], str]:
    """The user's keys by action, and what is wrong with the file; what can't be used is left out."""
    path = keys_file(paths)
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, f"{path} can't be read: {error.strerror or error}."
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return {}, f"{path} is no TOML: {error}. The keys of the key set hold."
    own: dict[str, str] = {}
    problem = ""
    for name, keys in found.items():
        if name not in BY_ID or not isinstance(keys, str) or not all(k.strip() for k in keys.split(",")):
            problem = problem or f"{path}: {name} is no action with keys; it is left out."
            continue
        own[name] = ",".join(k.strip() for k in keys.split(","))
    return own, problem


def save_own_keys(own: Mapping[str, str], paths: Paths) -> Path:
    """Write the user's keys, in the order of the registry.

    Raises:
        SettingsError: The file can't be written.
    """
    path = keys_file(paths)
    write_private(path, "".join(f"{a.id} = {to_toml(own[a.id])}\n" for a in ACTIONS if a.id in own))
    return path


def complaint_about(action: Action, key: str, keys: Keys) -> str:
    """Why this key can't be given to this action; empty when it can."""
    if key in RESERVED:
        return f"{key} is needed as it is, or terminals can't tell it from another key"
    if len(key) == 1 and key.isprintable() and action.where in ("anywhere", "prompt"):
        return f"{key} is needed for typing"
    if key.isdigit() and action.where in ("anywhere", "transcript"):
        return f"{key} opens the source of that number"
    other = next((a for a in ACTIONS if a.id != action.id and shared(a, action) and key in a.key_list(keys)), None)
    return f"it means already: {other.title}" if other is not None else ""
