"""Presets: a model, its draft, a system prompt, sampling, rules and documents under one name, as plain TOML files.

    description = "Short answers from the manuals"
    model = "SmolLM2-1.7B-Instruct.Q4_K_M"
    system = "Answer in one sentence."
    temperature = 0.0
    docs = "manuals"

Every key is a setting of the groups model, answers and documents; what a preset does not name stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localllm.errors import PresetNotFound, SettingsError
from localllm.settings import Paths, Settings, read_values, to_toml, write_private

if TYPE_CHECKING:
    from localllm.history import ChatOptions

PRESET_SETTINGS = tuple(
    f.name
    for f in fields(Settings)
    # Code of rule sets is run for whoever allowed it in the settings, not for whoever handed a preset on.
    if f.metadata["rule"].group in ("model", "answers", "documents") and f.name != "allow_code"
)
"""The settings that a preset may name."""
NAME = re.compile(r"\w(?:[\w .-]{0,62}[\w-])?")


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset as its file says."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    """Settings by name; only those that the preset changes."""
    description: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"a preset's name is letters, digits, spaces, dots and dashes, not {self.name!r}")
        if foreign := [name for name in self.values if name not in PRESET_SETTINGS]:
            raise ValueError(f"a preset can't hold {foreign[0]}")
        Settings(**self.values)  # raises where a value can't be used

    def apply(self, settings: Settings) -> Settings:
        """The settings with those of the preset on top."""
        return settings.with_changes(**self.values)

    @property
    def summary(self) -> str:
        """What it changes, on one line, such as ``temperature 0.2, docs manuals``."""
        return ", ".join(f"{name} {_short(value)}" for name, value in self.values.items())


def preset_file(name: str, paths: Paths) -> Path:
    """Where the preset `name` is kept.

    Raises:
        PresetNotFound: The name can't be a file name, so that there is none.
    """
    if not NAME.fullmatch(name):
        raise PresetNotFound(f"There is no preset {name!r}.", "Names are letters, digits, spaces, dots and dashes.")
    return paths.presets / f"{name}.toml"


def preset_names(paths: Paths) -> list[str]:
    """Names of the presets, sorted; reads no file."""
    try:
        return sorted((p.stem for p in paths.presets.glob("*.toml") if NAME.fullmatch(p.stem)), key=str.casefold)
    except OSError:
        return []


def list_presets(paths: Paths) -> tuple[list[Preset], list[SettingsError]]:
    """The presets by name, and what is wrong with those that can't be read."""
    good: list[Preset] = []
    bad: list[SettingsError] = []
    for name in preset_names(paths):
        try:
            good.append(load_preset(name, paths))
        except SettingsError as error:
            bad.append(error)
    return good, bad


def load_preset(name: str, paths: Paths) -> Preset:
    """Read one preset.

    Raises:
        PresetNotFound: There is none of that name; the hint lists those there are.
        SettingsError: Its file can't be used; the message names file and line.
    """
    path = preset_file(name, paths)
    try:
        values = read_values(path, PRESET_SETTINGS, extra=("description",))
    except FileNotFoundError:
        there = ", ".join(preset_names(paths)[:8])
        hint = f"There are: {there}." if there else f"Presets are TOML files in {paths.presets}."
        raise PresetNotFound(f"There is no preset {name!r}.", hint) from None
    description = values.pop("description", "")
    try:
        return Preset(name, values, description)
    except ValueError as error:
        raise SettingsError(f"{path}: {error}.", "Mend the value or delete the line.") from error


def save_preset(preset: Preset, paths: Paths) -> Path:
    """Write a preset, over an older one of that name, and return its file.

    Raises:
        SettingsError: The file can't be written.
        ValueError: A text holds half characters (surrogates), which no file can.
    """
    lines = [f"description = {_toml(preset.description)}"] if preset.description else []
    lines += [f"{name} = {_toml(preset.values[name])}" for name in PRESET_SETTINGS if name in preset.values]
    text = "".join(line + "\n" for line in lines)
    text.encode()
    path = preset_file(preset.name, paths)
    write_private(path, text)
    return path


def delete_preset(name: str, paths: Paths) -> None:
    """Remove a preset for good.

    Raises:
        PresetNotFound: There is none of that name.
        SettingsError: The file can't be removed.
    """
    path = preset_file(name, paths)
    try:
        path.unlink()
    except FileNotFoundError:
        raise PresetNotFound(f"There is no preset {name!r}.") from None
    except OSError as error:
        raise SettingsError(f"{path} can't be removed: {error.strerror or error}.") from error


def preset_of(name: str, settings: Settings, base: Settings | None = None, description: str = "") -> Preset:
    """A preset that holds what differs from `base`, by default from the defaults.

    Raises:
        ValueError: The name can't be a file name.
    """
    before = base or Settings()
    values = {n: getattr(settings, n) for n in PRESET_SETTINGS if getattr(settings, n) != getattr(before, n)}
    return Preset(name, values, description)


def chat_options(preset: Preset) -> ChatOptions:
    """What a chat that is started from the preset keeps: documents, rules, and the other settings by name.

    The system prompt is not among them: a chat has a place of its own for it.
    """
    from localllm.history import ChatOptions

    own = ("docs", "rules", "system")
    return ChatOptions(
        docs=preset.values.get("docs", ""),
        rules=preset.values.get("rules", ""),
        preset=preset.name,
        # An empty library or rule set is an answer, too: none, whatever the settings say.
        settings={n: v for n, v in preset.values.items() if n not in own or (n != "system" and not v)},
    )


def _toml(value: object) -> str:
    """As `to_toml`, with texts of several lines as several lines."""
    if not isinstance(value, str) or "\n" not in value:
        return to_toml(value)
    lines = [to_toml(line)[1:-1] for line in value.split("\n")]
    return '"""\n' + "\n".join(lines) + '"""'


def _short(value: object, width: int = 40) -> str:
    if value == "":
        return "none"
    text = " ".join(str(value).split())
    return text if len(text) <= width else text[: width - 1] + "…"
