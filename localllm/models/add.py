"""Add a model file that is on this computer already: linked by default, so that nothing is stored twice."""

from __future__ import annotations

from pathlib import Path

from localllm.errors import ChecksumMismatch, DownloadError
from localllm.models.download import Remote, Report, download, sha256_of
from localllm.models.header import read_header, read_model_header, shard_files
from localllm.settings import private_folder


def add_file(source: Path, folder: Path, *, copy: bool = False, sha256: str = "", report: Report | None = None) -> Path:
    """Link or copy a model file, and the other parts of a split one, into a folder.

    Args:
        source: The file.
        folder: Where it is to be found from now on; made if need be.
        copy: Copy it: for a stick that will be pulled out.
        sha256: What a single file must be.
        report: Called while a copy is made.

    Returns:
        The new path, of the first part for a split model.

    Raises:
        NotGGUF: It is no whole model.
        ChecksumMismatch: It is another file.
        DownloadError: It can't be linked or copied, or a file of that name is here.
    """
    read_model_header(source)
    if sha256 and sha256_of(source) != sha256.lower():
        raise ChecksumMismatch(f"{source}: its sha256 is not {sha256}.", "It is another file, or it is damaged.")
    private_folder(folder)
    parts = shard_files(source)
    targets = [folder / _model_name(part) for part in parts]
    for part, target in zip(parts, targets, strict=True):
        if target.exists() and not part.samefile(target):
            raise DownloadError(f"There is a file {target} already.", "Remove it first, or rename the new one.")
    for part, target in zip(parts, targets, strict=True):
        if target.exists():
            continue
        target.unlink(missing_ok=True)  # a link to nothing
        if copy:
            download(Remote(part.absolute().as_uri(), sha256), target, report=report, check=read_header)
            continue
        try:
            target.symlink_to(part.resolve())
        except OSError as error:
            raise DownloadError(
                f"{part} can't be linked: {error.strerror or error}.", "Add it with --copy instead."
            ) from error
    return targets[0]


def _model_name(path: Path) -> str:
    return path.name if path.name.lower().endswith(".gguf") else f"{path.name}.gguf"
