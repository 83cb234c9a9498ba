"""A small client of the simple API of package indexes, for one file of one known package.

HTML pages (PEP 503) and JSON (PEP 691), over http, https and file URLs, and pip's find-links: folders and pages.
Indexes are asked only for a package that the catalogue names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from localllm.errors import DownloadError, Offline
from localllm.models.download import Network
from localllm.models.index_settings import IndexSettings
from localllm.models.pages import fetch_page
from localllm.models.urls import host, is_url, join, local_path

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.5, text/html;q=0.2"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel that an index or a folder offers."""

    file_name: str
    url: str
    """http, https or file; may hold credentials."""
    sha256: str = ""
    size_bytes: int = 0


def find_wheel(project: str, version: str, settings: IndexSettings, offline: bool = False) -> Wheel:
    """The wheel of exactly this version, from the first place that has it.

    Args:
        project: Its name on the index, in any spelling.
        version: The one version that is wanted.
        settings: Where to look.
        offline: Look only into folders of this computer.

    Raises:
        Offline: It is in no folder, and asking an index is forbidden.
        DownloadError: It is nowhere; the message says where was looked and why each place failed.
    """
    failures: list[str] = []
    refused: Offline | None = None
    for place, flat in [(p, True) for p in settings.find_links] + [(p, False) for p in settings.indexes]:
        url = _place_url(place) if flat else _place_url(place).rstrip("/") + f"/{normalize(project)}/"
        try:
            wheels = _links(url, settings.network(url, offline))
        except Offline as error:
            refused = error
            continue
        except DownloadError as error:
            failures.append(error.message.rstrip("."))
            continue
        for wheel in wheels:
            if _is(wheel.file_name, project, version):
                return wheel
        failures.append(f"{host(url)} does not have it")
    if refused is not None:
        raise refused
    raise DownloadError(
        f"The package {project} {version} was not found: {'; '.join(failures) or 'no index is configured'}.",
        "Set an index for pip or uv (index-url, find-links); or get the model elsewhere: `localllm models add FILE`.",
    )


def normalize(project: str) -> str:
    """A project's name as indexes spell it in URLs."""
    return re.sub(r"[-_.]+", "-", project).lower()


def _is(file_name: str, project: str, version: str) -> bool:
    parts = file_name.removesuffix(".whl").split("-")
    return (
        file_name.endswith(".whl")
        and len(parts) >= 5
        and (normalize(parts[0]), parts[1]) == (normalize(project), version)
    )


def _place_url(place: str) -> str:
    return place if is_url(place) else Path(place).expanduser().absolute().as_uri()


def _links(url: str, network: Network) -> Iterator[Wheel]:
    """The files that a page, a folder or a folder's index page links to."""
    path = local_path(url)
    if path is None:
        text, kind, final = fetch_page(url, network, ACCEPT)
        return iter(_parse_json(text, final) if "json" in kind else _parse_html(text, final))
    try:
        if path.is_dir():
            page = path / "index.html"
            if not page.is_file():
                names = sorted(p for p in path.iterdir() if p.suffix == ".whl")
                return iter([Wheel(p.name, p.absolute().as_uri()) for p in names])
            path = page
        return iter(_parse_html(path.read_text("utf-8", "replace"), path.absolute().as_uri()))
    except OSError as error:
        raise DownloadError(f"{path} can't be read: {error.strerror or error}.") from error


def _parse_json(text: str, base: str) -> list[Wheel]:
    try:
        entries = json.loads(text)["files"]
        return [_json_wheel(entry, base) for entry in entries if entry["filename"].endswith(".whl")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(f"{host(base)} sends a page that can't be read.") from error


def _json_wheel(entry: dict[str, Any], base: str) -> Wheel:
    hashes, size = entry.get("hashes") or {}, entry.get("size")
    return Wheel(
        entry["filename"], join(base, entry["url"]), str(hashes.get("sha256", "")), size if isinstance(size, int) else 0
    )


def _parse_html(text: str, base: str) -> list[Wheel]:
    parser = _Anchors(base)
    parser.feed(text)
    return parser.wheels


class _Anchors(HTMLParser):
    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.wheels: list[Wheel] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if tag == "base" and href:
            self.base = join(self.base, href)
        if tag == "a" and href:
            url, _, fragment = join(self.base, href).partition("#")
            name = unquote(urlsplit(url).path.rpartition("/")[2])
            checksum = re.search(r"sha256=([0-9a-fA-F]{64})", fragment)
            if name.endswith(".whl"):
                self.wheels.append(Wheel(name, url, checksum[1].lower() if checksum else ""))
