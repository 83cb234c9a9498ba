"""Settings and paths: declared once, read from a TOML file and the environment.

A setting's one declaration below gives its default, its check, its environment variable (``LOCALLLM_`` and the name in
capitals), its line in the settings screen and in ``docs/settings.md``. Nothing is read at import.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from localllm.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Rule:
    """What a setting means and which values it may take."""

    help: str
    group: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


def _setting(
    default: Any,
    group: str,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    return field(default=default, metadata={"rule": Rule(help, group, choices, minimum, maximum)})


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, with its default."""

    # model
    model: str = _setting(
        "", "model", "Model to load: a name from `localllm models list` or a path. Empty: the starter."
    )
    draft: str = _setting("auto", "model", "Draft model for speculative decoding: auto, none, or a name.")
    embedder: str = _setting("", "model", "Embedding model for documents. Empty: the starter embedder if present.")
    reranker: str = _setting("", "model", "Model that puts found passages in order: a name or a path. Empty: none.")
    guard_model: str = _setting(
        "", "model", "Model that rules of the type guard_model ask: a name or a path. Empty: the one that answers."
    )
    ctx: int = _setting(0, "model", "Context window in tokens; 0 means the model's own, at most 8192.", minimum=0)
    gpu_layers: str = _setting("auto", "model", "Layers to put on the GPU: auto or a number.")
    threads: int = _setting(0, "model", "Threads for decoding; 0 means physical cores.", minimum=0, maximum=512)
    kv_type: str = _setting(
        "f16", "model", "Type of the K cache (q8_0 halves its memory).", choices=("f16", "q8_0", "q4_0", "f32")
    )
    kv_type_v: str = _setting(
        "", "model", "Type of the V cache; empty means that of K.", choices=("", "f16", "q8_0", "q4_0", "f32")
    )
    # answers
    system: str = _setting("", "answers", "System prompt of new chats.")
    max_tokens: int = _setting(0, "answers", "Most tokens of an answer; 0 means until the context is full.", minimum=0)
    when_full: str = _setting(
        "stop",
        "answers",
        "A full context window ends the answer (stop), or forgets what is oldest behind the system prompt (shift).",
        choices=("stop", "shift"),
    )
    temperature: float = _setting(0.7, "answers", "0 always takes the likeliest token.", minimum=0, maximum=10)
    top_k: int = _setting(40, "answers", "Keep the k likeliest tokens; 0 keeps all.", minimum=0)
    top_p: float = _setting(
        0.95, "answers", "Keep the likeliest tokens up to this probability.", minimum=0.01, maximum=1
    )
    min_p: float = _setting(0.05, "answers", "Drop tokens below this share of the likeliest.", minimum=0, maximum=1)
    repeat_penalty: float = _setting(1.0, "answers", "Above 1 discourages repetition.", minimum=0.1, maximum=10)
    seed: int = _setting(-1, "answers", "Seed of sampling; -1 draws a new one each time.", minimum=-1)
    rules: str = _setting("", "answers", "Rule set that every answer must follow: a file or a name. Empty: none.")
    allow_code: bool = _setting(False, "answers", "Let rule sets run their own Python code.")
    # documents
    docs: str = _setting("", "documents", "Library that new chats ask. Empty: none.")
    answer_mode: str = _setting(
        "auto", "documents", "How answers from documents are made.", choices=("auto", "generate", "extract")
    )
    assembly: str = _setting(
        "auto",
        "documents",
        "How passages reach the model. Today all are read anew (exact); an answer says so where another is asked for.",
        choices=("auto", "exact", "warm", "instant"),
    )
    passages: int = _setting(5, "documents", "Passages put before the model.", minimum=1, maximum=50)
    # privacy
    offline: bool = _setting(False, "privacy", "Refuse every network connection, downloads included.")
    audit_texts: bool = _setting(False, "privacy", "Keep texts, not only hashes, in the audit log.")
    # screen
    theme: str = _setting("localllm-dark", "screen", "Colour theme.")
    keys: str = _setting("default", "screen", "Key set.", choices=("default", "vim", "emacs"))
    plain: bool = _setting(False, "screen", "No screen: a chat line by line, for screen readers and simple terminals.")
    reduced_motion: bool = _setting(False, "screen", "No animation, no blinking.")
    idle_prefill: bool = _setting(True, "screen", "Read the prompt in advance while you type.")
    auto_titles: bool = _setting(True, "screen", "Let the model name new chats, while nothing else is to be done.")

    def __post_init__(self) -> None:
        for f in fields(self):
            complaint = _complaint(f.name, getattr(self, f.name))
            if complaint:
                raise ValueError(f"{f.name} {complaint}")

    @property
    def n_gpu_layers(self) -> int:
        """`gpu_layers` as llama.cpp counts: -1 for as many as fit."""
        return -1 if self.gpu_layers == "auto" else int(self.gpu_layers)

    def with_changes(self, **changes: Any) -> Settings:
        """A copy with these settings replaced; None leaves a setting as it is.

        Raises:
            ValueError: A value is out of range.
        """
        return replace(self, **{name: value for name, value in changes.items() if value is not None})


def rule_of(name: str) -> Rule:
    """The declaration of the setting `name`."""
    return next(f.metadata["rule"] for f in fields(Settings) if f.name == name)  # type: ignore[no-any-return]


def _complaint(name: str, value: object) -> str:
    """Why `value` can't be the setting `name`; empty when it can."""
    rule, default = rule_of(name), _DEFAULT_TYPES[name]
    if default is float and type(value) is int:
        value = float(value)
    if type(value) is not default:
        wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[default]
        return f"must be {wanted}, not {value!r}"
    if rule.choices and value not in rule.choices:
        return f"must be one of {', '.join(c or 'empty' for c in rule.choices)}, not {value!r}"
    if value != value:
        return "must be a number, not nan"
    if name == "gpu_layers" and not re.fullmatch(r"auto|-1|\d{1,6}", str(value)):
        return f"must be auto or a number, not {value!r}"
    if rule.minimum is not None and isinstance(value, (int, float)) and value < rule.minimum:
        return f"must be at least {rule.minimum:g}, not {value!r}"
    if rule.maximum is not None and isinstance(value, (int, float)) and value > rule.maximum:
        return f"must be at most {rule.maximum:g}, not {value!r}"
    return ""


_DEFAULT_TYPES: dict[str, type] = {f.name: type(f.default) for f in fields(Settings)}


# ---- paths ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Paths:
    """Where localllm keeps its files. Folders are made when first written to, mode 0700."""

    home: Path
    """Data: chats, libraries, models, sessions, logs."""
    config: Path
    """The settings file."""
    program: Path
    """The folder of the checkout or of the packaged binary; its ``models/`` is searched first."""
    portable: bool = False

    @property
    def history(self) -> Path:
        """The chats."""
        return self.home / "history.db"

    @property
    def libraries(self) -> Path:
        """One SQLite file per document library."""
        return self.home / "libraries"

    @property
    def models(self) -> Path:
        """Where downloads go."""
        return self.program / "models" if self.portable else self.home / "models"

    @property
    def sessions(self) -> Path:
        """Saved KV states: a cache that can be deleted."""
        return self.home / "sessions"

    @property
    def logs(self) -> Path:
        """Log files, native output of llama.cpp among them."""
        return self.home / "logs"

    @property
    def presets(self) -> Path:
        """Presets as TOML files."""
        return self.config.parent / "presets"

    @property
    def rules(self) -> Path:
        """The user's own rule sets."""
        return self.config.parent / "rules"

    def library(self, name: str) -> Path:
        """The file of the library `name`.

        Raises:
            ValueError: The name can't be a file name.
        """
        if not re.fullmatch(r"[\w][\w .-]{0,63}", name):
            raise ValueError(f"a library name is letters, digits, spaces, dots and dashes, not {name!r}")
        return self.libraries / f"{name}.db"


def find_paths(environ: Mapping[str, str] = os.environ) -> Paths:
    """The paths for this user: ``LOCALLLM_HOME``, a portable folder beside the binary, or the platform's own places."""
    frozen = bool(getattr(sys, "frozen", False))
    program = Path(sys.executable).resolve().parent if frozen else Path(__file__).resolve().parent.parent
    if home := environ.get("LOCALLLM_HOME"):
        root = Path(home).expanduser()
        return Paths(root, root / "config.toml", program)
    beside = program / "localllm-data"
    if frozen and beside.is_dir():
        return Paths(beside, beside / "config.toml", program, portable=True)
    import platformdirs

    data = Path(platformdirs.user_data_dir("localllm", appauthor=False))
    config = Path(platformdirs.user_config_dir("localllm", appauthor=False))
    return Paths(data, config / "config.toml", program)


def private_folder(path: Path) -> Path:
    """Make the folder and its parents, readable by the user alone.

    Raises:
        SettingsError: The folder can't be made or written to.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"{path} can't be written to: {error.strerror or error}.", "Set LOCALLLM_HOME to a folder of your own."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise SettingsError(f"{path} can't be written to.", "Set LOCALLLM_HOME to a folder of your own.")
    return path


# ---- reading and writing --------------------------------------------------------------------------------------------


def load_settings(paths: Paths, environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the file, overridden by the environment.

    Raises:
        SettingsError: A value can't be used; the message names file and line, or the variable.
    """
    try:
        values = read_values(paths.config)
    except FileNotFoundError:
        values = {}
    for name, kind in _DEFAULT_TYPES.items():
        variable = "LOCALLLM_" + name.upper()
        if variable in environ:
            values[name] = _from_environment(variable, name, kind, environ[variable])
    try:
        return Settings(**values)
    except ValueError as error:
        raise SettingsError(f"{paths.config}: {error}.", "Mend the value or delete the line.") from error


def save_setting(paths: Paths, name: str, value: object) -> None:
    """Write one setting to the file, in place: comments and the other lines stay as they are.

    Raises:
        ValueError: There is no such setting, or the value can't be used.
        SettingsError: The file can't be read or written.
    """
    if name not in _DEFAULT_TYPES:
        raise ValueError(f"there is no setting {name!r}")
    if complaint := _complaint(name, value):
        raise ValueError(f"{name} {complaint}")
    try:
        lines = paths.config.read_text("utf-8").split("\n")
    except FileNotFoundError:
        lines = [""]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{paths.config} can't be read: {error}.", "Mend the file or delete it.") from error
    at = _lines_of(name, lines)
    if at is None:
        if lines[-1]:
            lines.append("")
        at = slice(len(lines) - 1, len(lines) - 1)
    lines[at] = [f"{name} = {to_toml(value)}"]
    write_private(paths.config, "\n".join(lines))


def _lines_of(name: str, lines: list[str]) -> slice | None:
    """The lines that give a setting its value: several where a text stands in triple quotes."""
    start = 0
    while start < len(lines):
        end = start + 1
        while (table := _toml("\n".join(lines[start:end]))) is None and end < len(lines):
            end += 1
        if table is None:  # this line is damaged: it is mended if it is the one, and else left as it is
            end = start + 1
        found = name in table if table is not None else re.match(rf"[ \t]*{name}[ \t]*=", lines[start])
        if found:
            return slice(start, end)
        start = end
    return None


def _toml(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def read_values(path: Path, names: Collection[str] | None = None, extra: Collection[str] = ()) -> dict[str, Any]:
    """The settings that a TOML file names, checked.

    Args:
        path: The file.
        names: Settings that may stand there; None means all.
        extra: Further keys whose values are texts, returned as they are.

    Raises:
        FileNotFoundError: There is no such file.
        SettingsError: It can't be read, or something in it can't be used; the message names file and line.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} can't be read: {error}.", "Mend the file or delete it.") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {_with_line(str(error))}.", "Mend this line or the file.") from error
    values: dict[str, Any] = {}
    for name, value in table.items():
        where = f"{path}, line {_line_of(name, text)}"
        if name in extra:
            if not isinstance(value, str):
                raise SettingsError(f"{where}: {name} must be a text, not {value!r}.")
            values[name] = value
            continue
        if name not in _DEFAULT_TYPES:
            raise SettingsError(f"{where}: there is no setting {name!r}.", _nearest(name))
        if names is not None and name not in names:
            raise SettingsError(f"{where}: {name} can't be set here.", "It belongs into the settings file.")
        if complaint := _complaint(name, value):
            raise SettingsError(f"{where}: {name} {complaint}.", rule_of(name).help)
        values[name] = _DEFAULT_TYPES[name](value)
    return values


def write_private(path: Path, text: str) -> None:
    """Write a small text file, readable by the user alone; whatever goes wrong, it is never half-written.

    Raises:
        SettingsError: It can't be written.
    """
    private_folder(path.parent)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.touch(0o600)
        part.chmod(0o600)
        part.write_text(text, "utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SettingsError(f"{path} can't be written: {error.strerror or error}.") from error


def _from_environment(variable: str, name: str, kind: type, text: str) -> Any:
    value: object = text
    try:
        if kind is bool:
            value = _BOOLEANS[text.lower()]
        elif kind is not str:
            value = kind(text)
    except (ValueError, KeyError):
        value = text
    if complaint := _complaint(name, value):
        raise SettingsError(f"The variable {variable}: {name} {complaint}.", rule_of(name).help)
    return value


_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


def to_toml(value: object) -> str:
    """A setting's value as it stands in a TOML file, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c for c in escaped) + '"'


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, _DEFAULT_TYPES, 1)
    return f"Did you mean {near[0]!r}?" if near else "`localllm doctor -v` lists the settings."


def _line_of(name: str, text: str) -> int:
    match = re.search(rf"^[ \t]*{re.escape(name)}[ \t]*=", text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else 1


def _with_line(message: str) -> str:
    """tomllib says ``(at line 3, column 5)``; people read ``line 3`` first."""
    match = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", message)
    return f"line {match[2]}: {match[1]}" if match else message
