"""Fetch one page of text: what an index or a model hub says about its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from localllm.errors import DownloadError
from localllm.models.download import Network, connection_failure
from localllm.models.urls import host, split_credentials

if TYPE_CHECKING:
    import httpx

MAX_PAGE_BYTES = 64 << 20
TRIES = 3


class Page(NamedTuple):
    """A page of text."""

    text: str
    kind: str
    """Its content type."""
    url: str
    """What its links are relative to, after redirects; with the credentials that it was asked with."""


def fetch_page(url: str, network: Network, accept: str, headers: Mapping[str, str] | None = None) -> Page:
    """Fetch a page, trying again where that may help.

    Raises:
        Offline: Connections are forbidden.
        DownloadError: It can't be had; the message names the host, never credentials.
    """
    import httpx

    network.check(url)
    why = ""
    with network.client() as client:
        for attempt in range(TRIES):
            if attempt:
                network.sleep(0.5 * 2**attempt)
            try:
                page, why = _once(client, url, {**(headers or {}), "Accept": accept})
            except httpx.TransportError as error:
                page, why = None, f"{host(url)} can't be reached: {connection_failure(error, url)}"
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise DownloadError(f"{host(url)} can't be asked: {error}.") from error
            if page is not None:
                return page
    raise DownloadError(f"{why}.", "Try again later.")


def _once(client: httpx.Client, url: str, headers: Mapping[str, str]) -> tuple[Page | None, str]:
    """The page, or why it is worth another try."""
    clean, credentials = split_credentials(url)
    with client.stream("GET", clean, headers=headers, auth=credentials) as response:
        answer = f"{host(url)} answers {response.status_code}"
        if response.status_code in (408, 425, 429, 500, 502, 503, 504):
            return None, answer
        if response.status_code in (401, 403):
            raise DownloadError(
                f"{host(url)} refuses access ({response.status_code}).", "Check name, token or password."
            )
        if response.status_code != 200:
            raise DownloadError(f"{answer}.")
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > MAX_PAGE_BYTES:
                raise DownloadError(f"{host(url)} sends a page without end.")
        final = str(response.url)
        if credentials and host(final) == host(url):
            final = final.replace("://", f"://{urlsplit(url).netloc.rpartition('@')[0]}@", 1)
        return Page(body.decode("utf-8", "replace"), response.headers.get("Content-Type", ""), final), ""
