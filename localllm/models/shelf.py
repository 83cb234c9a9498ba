"""The models on this computer: those in our own folders, and those that other applications have downloaded already."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from localllm.errors import ModelError, ModelNotFound, NotGGUF
from localllm.models.catalog import STARTER, STARTER_EMBEDDERS
from localllm.models.header import Header, display_name, read_header, read_model_header, shard_files
from localllm.models.stores import find_in_stores, gguf_files
from localllm.settings import Paths, private_folder

OWN = "localllm"
"""The `source` of models in our own folders."""
STARTER_HINT = "`localllm models pull starter` gets a small model; `localllm models list` shows what is here."


@dataclass(frozen=True, slots=True)
class Model:
    """A model on this computer, and what its header says."""

    name: str
    """What `-m` takes."""
    path: str
    """Its first file."""
    source: str
    """`OWN`, or the application that downloaded it."""
    size_bytes: int
    n_files: int = 1
    purpose: str = ""
    """See `header.Purpose`; empty for a damaged file."""
    architecture: str = ""
    title: str = ""
    quantization: str = ""
    n_params: int = 0
    n_ctx_train: int = 0
    license: str = ""
    problem: str = ""
    """Why it can't be used; empty when it can."""
    modified: float = 0.0
    """Time of the file's last change, to tell when these facts are out of date."""

    @property
    def usable(self) -> bool:
        """It generates text."""
        return not self.problem and self.purpose in ("chat", "base")


# ---- finding one --------------------------------------------------------------------------------------------------


def find_model(name: str, paths: Paths) -> Path:
    """The file of a model that generates text.

    Args:
        name: A path, a name as `list_models` gives it, an unmistakable part of one, or empty for the default.
        paths: Where models are kept.

    Raises:
        ModelNotFound: No such model; the message lists names that are near, the hint says how to get one.
        NotGGUF: The file is damaged or no model.
        ModelError: It is a model of another kind, such as an embedder.
    """
    path = _resolve(name, paths) if name else default_model(paths)
    header = read_model_header(path)
    if header.purpose not in ("chat", "base"):
        article = "an" if header.purpose[0] in "ae" else "a"
        raise ModelError(
            f"{header.name} is {article} {header.purpose} file, not a model that writes text.",
            "`localllm models list` shows those that do.",
        )
    return path


def find_embedder(name: str, paths: Paths) -> Path | None:
    """The file of an embedding model; without a name the starter embedder, else any other of ours, else None.

    Raises:
        ModelNotFound: There is none of that name.
        NotGGUF: The file is damaged or no model.
        ModelError: It is a model of another kind.
    """
    if not name:
        return default_embedder(paths)
    path = _resolve(name, paths)
    header = read_model_header(path)
    if not header.is_embedder:
        raise ModelError(
            f"{header.name} writes text; documents need an embedding model.",
            "`localllm models pull starter` gets a small one.",
        )
    return path


def find_any(name: str, paths: Paths) -> Path:
    """The file of a model of any purpose, by path, by name, or by an unmistakable part of one.

    Raises:
        ModelNotFound: There is none of that name.
    """
    return _resolve(name, paths) if name else default_model(paths)


def default_model(paths: Paths) -> Path:
    """The starter model if it is here, else the newest of our own that chats.

    Raises:
        ModelNotFound: There is none.
    """
    if starter := _own_file(STARTER, paths):
        return starter
    usable = [m for m in own_models(paths) if m.usable]
    if not usable:
        folders = " or ".join(str(f) for f in own_folders(paths))
        raise ModelNotFound(
            "There is no model on this computer yet.",
            f"`localllm models pull starter` gets a small one; or copy a .gguf file to {folders}.",
        )
    return Path(max(usable, key=lambda m: (m.purpose == "chat", m.modified)).path)


def default_embedder(paths: Paths) -> Path | None:
    """The starter embedder if it is here, in whatever type, else the newest of our own, else None."""
    for name in STARTER_EMBEDDERS:
        if starter := _own_file(name, paths):
            return starter
    embedders = [m for m in own_models(paths) if m.purpose == "embedding" and not m.problem]
    return Path(max(embedders, key=lambda m: m.modified).path) if embedders else None


def _own_file(file_name: str, paths: Paths) -> Path | None:
    """A file of ours whose header is sound."""
    for folder in own_folders(paths):
        try:
            read_header(folder / file_name)
        except ModelError:
            continue
        return folder / file_name
    return None


def _resolve(name: str, paths: Paths) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path
    found = _matches(name, paths)
    if len({m.path for m in found}) == 1:
        return Path(found[0].path)
    if found:
        names = ", ".join(sorted({m.name for m in found})[:5])
        raise ModelNotFound(f"{name!r} may mean any of: {names}.", "Give the whole name.")
    if path.exists() or path.is_absolute() or name.lower().endswith(".gguf") or name.startswith((".", "~")):
        return path  # whoever reads it says what is wrong with it
    known = [m.name for m in list_models(paths) if not m.problem]
    near = difflib.get_close_matches(name.lower(), [k.lower() for k in known], 3, 0.5)
    likely = [k for k in known if k.lower() in near]
    said = f" Near: {', '.join(likely)}." if likely else f" Here: {', '.join(known[:5])}." if known else ""
    raise ModelNotFound(f"There is no model {name!r} on this computer.{said}", STARTER_HINT)


def _matches(name: str, paths: Paths) -> list[Model]:
    """Models of that name; else those whose name contains it. Our own come before found ones."""
    models = list_models(paths)
    wanted = name.lower().removesuffix(".gguf")
    exact = [m for m in models if wanted in (m.name.lower(), display_name(Path(m.path)).lower())]
    return exact[:1] or [m for m in models if wanted in m.name.lower() and not m.problem]


# ---- listing all --------------------------------------------------------------------------------------------------


def own_folders(paths: Paths) -> tuple[Path, ...]:
    """Where our models are: beside the program, then the user's folder."""
    folders = (paths.program / "models", paths.models)
    return tuple(dict.fromkeys(folders))


def own_models(paths: Paths) -> list[Model]:
    """The models in our own folders, by name; a file in both is listed once."""
    found: dict[Path, Model] = {}
    for folder in own_folders(paths):
        for path in gguf_files(folder, depth=3):
            if path != shard_files(path)[0] and shard_files(path)[0].exists():
                continue
            found.setdefault(_real(path), describe(path, OWN))
    models: dict[str, Model] = {}
    for model in found.values():
        models.setdefault(model.name, model)
    return sorted(models.values(), key=lambda m: m.name.lower())


def list_models(paths: Paths) -> list[Model]:
    """Our own models, then those that the last `scan` found and that are still there unchanged."""
    own = own_models(paths)
    known = {_real(Path(m.path)) for m in own}
    return own + [m for m in _read_scan(paths) if _real(Path(m.path)) not in known and not _changed(m)]


def scan(paths: Paths, environ: Mapping[str, str] = os.environ, home: Path | None = None) -> list[Model]:
    """Look into the stores of other applications, remember what is there, and return it.

    Raises:
        SettingsError: The result can't be kept, as the folder can't be written to.
    """
    found: dict[Path, Model] = {}
    for item in find_in_stores(environ, home):
        if item.path != shard_files(item.path)[0] and shard_files(item.path)[0].exists():
            continue
        real = _real(item.path)
        if real not in found:
            found[real] = describe(item.path, item.source, item.name)
    models = sorted(_unique(found.values()), key=lambda m: (m.source, m.name.lower()))
    _write_scan(models, paths)
    return models


def describe(path: Path, source: str, name: str = "") -> Model:
    """What a file's header says; a damaged file is described by its problem."""
    try:
        stat = path.stat()
        size, modified = stat.st_size, stat.st_mtime
    except OSError:
        size, modified = 0, 0.0
    try:
        header = read_model_header(path)
    except ModelError as error:
        problem = error.reason if isinstance(error, NotGGUF) else error.message
        return Model(name or display_name(path), str(path), source, size, problem=problem, modified=modified)
    return _model(header, source, name, modified)


def _model(header: Header, source: str, name: str, modified: float) -> Model:
    return Model(
        name=name or header.name,
        path=str(header.path),
        source=source,
        size_bytes=header.size_bytes,
        n_files=len(shard_files(header.path)),
        purpose=header.purpose,
        architecture=header.architecture,
        title=header.title,
        quantization=header.quantization,
        n_params=header.n_params,
        n_ctx_train=header.n_ctx_train,
        license=header.license,
        modified=modified,
    )


def _unique(models: Iterable[Model]) -> Iterator[Model]:
    """The same name from two applications: the later one carries its application's name too."""
    seen: set[str] = set()
    for model in models:
        name = model.name if model.name not in seen else f"{model.name} ({model.source})"
        seen.add(name)
        yield Model(**{**asdict(model), "name": name})


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


# ---- what the last scan found -------------------------------------------------------------------------------------


def _scan_file(paths: Paths) -> Path:
    return paths.home / "found-models.json"


def _changed(model: Model) -> bool:
    try:
        stat = Path(model.path).stat()
    except OSError:
        return True
    return stat.st_mtime != model.modified or (model.n_files == 1 and stat.st_size != model.size_bytes)


def _read_scan(paths: Paths) -> list[Model]:
    """A cache: whatever is wrong with it means that nothing was found."""
    known = {f.name for f in fields(Model)}
    try:
        rows = json.loads(_scan_file(paths).read_text("utf-8"))
        return [Model(**{k: v for k, v in row.items() if k in known}) for row in rows]
    except (OSError, ValueError, TypeError, AttributeError):
        return []


def _write_scan(models: list[Model], paths: Paths) -> None:
    target = private_folder(paths.home) / "found-models.json"
    part = target.with_suffix(".json.part")
    part.write_text(json.dumps([asdict(m) for m in models], indent=1), "utf-8")
    part.chmod(0o600)
    part.replace(target)
