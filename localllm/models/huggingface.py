"""Files of Hugging Face or of a mirror of it, by plain HTTP: what `hf:` names mean, and the user's own token."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from localllm.errors import DownloadError
from localllm.models.download import Network, Remote
from localllm.models.header import shard_files
from localllm.models.pages import fetch_page
from localllm.models.urls import host

HUB = "https://huggingface.co"

_NAME = re.compile(
    r"^hf:(?://)?(?P<repository>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>[^:]+)|:(?P<quantization>[\w.-]+))?$"
)
_PAGE = re.compile(r"^/(?P<repository>[\w.-]+/[\w.-]+)(?:/(?:blob|resolve|raw)/(?P<revision>[^/]+)/(?P<file>.+))?/?$")


@dataclass(frozen=True, slots=True)
class HubName:
    """A file on the hub, as the user named it."""

    repository: str
    file: str = ""
    quantization: str = ""
    """Instead of a file: the one file whose name holds it."""
    revision: str = "main"


def parse_name(text: str, environ: Mapping[str, str] = os.environ) -> HubName | None:
    """``hf:owner/repository/file.gguf``, ``hf:owner/repository:Q4_K_M``, or a page of the hub; else None."""
    if match := _NAME.match(text):
        found = match
    elif text.startswith(("http://", "https://")) and host(text) in (host(HUB), host(endpoint(environ))):
        page = _PAGE.match(urlsplit(text).path)
        if not page:
            return None
        return HubName(page["repository"], page["file"] or "", "", page["revision"] or "main")
    else:
        return None
    return HubName(found["repository"], found["file"] or "", found["quantization"] or "", found["revision"] or "main")


def endpoint(environ: Mapping[str, str] = os.environ) -> str:
    """The hub, or the mirror that HF_ENDPOINT names."""
    return (environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def token(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> str:
    """The user's token: HF_TOKEN, else the file where Hugging Face's own program keeps it; else empty."""
    if environ.get("HF_TOKEN"):
        return environ["HF_TOKEN"].strip()
    if environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").lower() in ("1", "true", "yes", "on"):
        return ""
    cache = Path(environ.get("XDG_CACHE_HOME") or (home or Path.home()) / ".cache")
    base = Path(environ.get("HF_HOME") or cache / "huggingface")
    try:
        return Path(environ.get("HF_TOKEN_PATH") or base / "token").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def remote_files(name: HubName, network: Network, environ: Mapping[str, str] = os.environ) -> list[tuple[str, Remote]]:
    """The files to fetch, each with its name: one, or all parts of a split model.

    Raises:
        DownloadError: The repository or the file is not there, or the name fits no file or several.
        Offline: Connections are forbidden.
    """
    headers = {"Authorization": f"Bearer {secret}"} if (secret := token(environ)) else {}
    file = name.file or _choose(name, network, headers, environ)
    parts = [str(p) for p in shard_files(Path(file))]
    base = f"{endpoint(environ)}/{name.repository}/resolve/{quote(name.revision, safe='')}/"
    return [(Path(part).name, Remote(base + quote(Path(part).as_posix()), headers=headers)) for part in parts]


def _choose(name: HubName, network: Network, headers: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """The file that a repository alone, or with a quantization, means."""
    url = f"{endpoint(environ)}/api/models/{name.repository}/tree/{quote(name.revision, safe='')}?recursive=true"
    try:
        entries = json.loads(fetch_page(url, network, "application/json", headers).text)
        files = [str(e["path"]) for e in entries if str(e["path"]).lower().endswith(".gguf")]
    except (ValueError, KeyError, TypeError) as error:
        raise DownloadError(f"{host(url)} sends a list that can't be read.") from error
    models = [f for f in files if "mmproj" not in f.lower() and str(shard_files(Path(f))[0]) == str(Path(f))]
    wanted = [f for f in models if name.quantization.lower() in Path(f).name.lower()]
    if len(wanted) == 1:
        return wanted[0]
    if not models:
        raise DownloadError(f"{name.repository} holds no GGUF file.", "Look for a repository with GGUF in its name.")
    listed = ", ".join((wanted or models)[:12])
    raise DownloadError(
        f"{name.repository} holds {len(wanted) or len(models)} files: {listed}.",
        f"Name one: `localllm models pull hf:{name.repository}/{(wanted or models)[0]}`.",
    )
