"""URLs: whom they speak to, and how they may be shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname


def host(url: str) -> str:
    """Whom a URL speaks to, without credentials."""
    parts = urlsplit(url)
    return (parts.hostname or parts.path) + (f":{parts.port}" if parts.port else "")


def shown(url: str) -> str:
    """A URL that may be shown and logged: without credentials, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, host(url) if parts.netloc else "", parts.path, "", ""))


def local_path(url: str) -> Path | None:
    """The path of a file URL; None for any other URL."""
    parts = urlsplit(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def split_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    """The URL without name and password, and those: a URL that holds them would be logged with them."""
    parts = urlsplit(url)
    if parts.username is None:
        return url, None
    clean = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, parts.fragment))
    return clean, (unquote(parts.username), unquote(parts.password or ""))


def join(base: str, link: str) -> str:
    """A link on a page; on the page's own host it keeps the page's credentials."""
    url = urljoin(base, link)
    if urlsplit(url).netloc == urlsplit(base).netloc.rpartition("@")[2]:
        return urlunsplit(urlsplit(url)._replace(netloc=urlsplit(base).netloc))
    return url


def is_url(text: str) -> bool:
    """Whether it is an http, https or file URL that can be used."""
    try:
        parts = urlsplit(text)
        return parts.scheme == "file" or (parts.scheme in ("http", "https") and bool(host(text)))
    except ValueError:
        return False
