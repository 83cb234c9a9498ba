"""Where other applications keep their models. Nothing in these places is ever written, moved or deleted."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_DEPTH = 6
"""Folders below a store that are looked into."""


@dataclass(frozen=True, slots=True)
class Found:
    """A model file of another application."""

    path: Path
    source: str
    """The application, such as ``Ollama``."""
    name: str = ""
    """What the application calls it; empty where the file's name says it."""


def find_in_stores(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> Iterator[Found]:
    """Every GGUF file in the stores of other applications on this computer; unreadable places are passed over.

    Args:
        environ: The environment: the applications' own variables count.
        home: The user's home folder.
    """
    places = _Places(environ, home or Path.home())
    for folder in places.ollama():
        yield from _ollama(folder)
    for folder in places.hugging_face():
        yield from (Found(path, "Hugging Face") for path in gguf_files(folder) if "snapshots" in path.parts)
    for source, folders in (
        ("LM Studio", places.lm_studio()),
        ("llama.cpp", places.llama_cpp()),
        ("GPT4All", places.gpt4all()),
        ("Jan", places.jan()),
    ):
        for folder in folders:
            yield from (Found(path, source) for path in gguf_files(folder))


def gguf_files(folder: Path, depth: int = MAX_DEPTH) -> Iterator[Path]:
    """The GGUF files below a folder, in order of name; partial and hidden files are left out."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith((".", "incomplete-")):
            continue
        try:
            if entry.name.lower().endswith(".gguf") and entry.is_file():
                yield entry
            elif depth > 0 and entry.is_dir() and not entry.is_symlink():
                yield from gguf_files(entry, depth - 1)
        except OSError:
            continue


class _Places:
    def __init__(self, environ: Mapping[str, str], home: Path) -> None:
        self.environ = environ
        self.home = home

    def variable(self, name: str, *below: str) -> list[Path]:
        value = self.environ.get(name, "")
        return [Path(value).expanduser().joinpath(*below)] if value else []

    @property
    def cache(self) -> Path:
        return (self.variable("XDG_CACHE_HOME") or [self.home / ".cache"])[0]

    @property
    def data(self) -> Path:
        """Where applications keep data on this system."""
        if sys.platform == "darwin":
            return self.home / "Library" / "Application Support"
        if sys.platform == "win32":
            return (self.variable("LOCALAPPDATA") or [self.home / "AppData" / "Local"])[0]
        return (self.variable("XDG_DATA_HOME") or [self.home / ".local" / "share"])[0]

    def ollama(self) -> list[Path]:
        own = self.variable("OLLAMA_MODELS") or [self.home / ".ollama" / "models"]
        return [*own, Path("/usr/share/ollama/.ollama/models")]

    def hugging_face(self) -> list[Path]:
        return self.variable("HF_HUB_CACHE") or self.variable("HF_HOME", "hub") or [self.cache / "huggingface" / "hub"]

    def lm_studio(self) -> list[Path]:
        homes = [self.home / ".lmstudio", self.home / ".cache" / "lm-studio"]
        folders = [h / "models" for h in homes]
        for settings in (h / "settings.json" for h in homes):
            table = _json(settings)
            for key in ("downloadsFolder", "modelsDirectory"):
                if isinstance(table.get(key), str) and table[key]:
                    folders.append(Path(str(table[key])))
        return folders

    def llama_cpp(self) -> list[Path]:
        if sys.platform == "darwin":
            usual = self.home / "Library" / "Caches" / "llama.cpp"
        else:
            usual = (self.data if sys.platform == "win32" else self.cache) / "llama.cpp"
        return self.variable("LLAMA_CACHE") or [usual]

    def gpt4all(self) -> list[Path]:
        return [self.data / "nomic.ai" / "GPT4All", self.home / ".cache" / "gpt4all"]

    def jan(self) -> list[Path]:
        roaming = self.variable("APPDATA", "Jan", "data") if sys.platform == "win32" else []
        folders = [*roaming, self.data / "Jan" / "data", self.home / ".config" / "Jan" / "data"]
        return [f / "llamacpp" / "models" for f in folders]


def _ollama(folder: Path) -> Iterator[Found]:
    """Manifests name the blobs; only those of model layers are GGUF files."""
    manifests = folder / "manifests"
    try:
        paths = sorted(p for p in manifests.glob("*/*/*/*") if p.is_file())
    except OSError:
        return
    for path in paths:
        _, namespace, model, tag = path.relative_to(manifests).parts
        layers = _json(path).get("layers")
        for layer in layers if isinstance(layers, list) else []:
            if not isinstance(layer, dict) or layer.get("mediaType") != "application/vnd.ollama.image.model":
                continue
            digest = str(layer.get("digest", ""))
            if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
                continue
            for name in (digest.replace(":", "-"), digest):
                blob = folder / "blobs" / name
                if blob.is_file():
                    owner = "" if namespace == "library" else f"{namespace}/"
                    yield Found(blob, "Ollama", f"{owner}{model}:{tag}")
                    break


def _json(path: Path) -> dict[str, object]:
    try:
        table = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}
