"""Downloads that survive: resumed where they stopped, verified, and never half-written under a final name.

What has arrived is in ``<name>.part``, what it belongs to in ``<name>.part.json``; both stay after a failure and are
used by the next try. A lock keeps two processes apart.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from localllm.errors import ChecksumMismatch, DownloadError, Offline
from localllm.models.disk import disk_errors, ensure_space, install, megabytes
from localllm.models.lock import only_one
from localllm.models.urls import host, local_path, shown, split_credentials

if TYPE_CHECKING:
    import httpx

PIECE = 1 << 20
STALL_SECONDS = 30.0
"""A connection over which nothing comes for so long is dropped and made anew."""
TRIES_WITHOUT_PROGRESS = 6
TRIES_TO_CONNECT = 3
"""Of a server that has not answered yet."""

_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one file is."""

    name: str
    done: int
    total: int
    """Bytes; 0 while unknown."""
    step: str = "downloading"


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Remote:
    """A file somewhere else."""

    url: str
    """http, https or file; credentials in it are sent to its own host only and never shown."""
    sha256: str = ""
    """Hexadecimal; empty takes what the server says, if it says so."""
    size_bytes: int = 0
    """0 where unknown."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Network:
    """How connections are made."""

    offline: bool = False
    verify: ssl.SSLContext | bool = True
    proxy: str = ""
    """Empty means the proxy of the environment, if any."""
    stall_seconds: float = STALL_SECONDS
    sleep: Callable[[float], None] = time.sleep

    def client(self) -> httpx.Client:
        """A client for one download or one look at an index."""
        import httpx

        timeout = httpx.Timeout(self.stall_seconds, connect=min(15.0, self.stall_seconds))
        try:
            return httpx.Client(
                verify=self.verify,
                proxy=self.proxy or None,
                timeout=timeout,
                follow_redirects=True,
                headers={"User-Agent": "localllm", "Accept-Encoding": "identity"},
            )
        except (ValueError, httpx.InvalidURL, ImportError) as error:
            raise DownloadError(f"The proxy settings can't be used: {error}.", "Check the proxy variables.") from error

    def check(self, url: str) -> None:
        """Refuse a connection in offline mode.

        Raises:
            Offline: Naming the host that was wanted.
        """
        if self.offline:
            raise Offline(
                f"This needs a connection to {host(url)}, and --offline forbids it.", "Run it without --offline."
            )


def part_files(target: Path) -> tuple[Path, Path]:
    """Where what has arrived of `target` is kept, and what it belongs to."""
    return target.with_name(target.name + ".part"), target.with_name(target.name + ".part.json")


def download(
    remote: Remote,
    target: Path,
    network: Network | None = None,
    *,
    report: Report | None = None,
    check: Callable[[Path], object] | None = None,
) -> None:
    """Fetch a file, going on where an earlier try stopped; `target` appears complete and verified, or not at all.

    Args:
        remote: What to fetch.
        target: Where it goes; its folder exists. Replaced if it is there.
        network: How connections are made.
        report: Called for every piece that arrives: draw seldom.
        check: Looks at the complete file before it gets its final name; raises to refuse it.

    Raises:
        Offline: The file is not on this computer and connections are forbidden.
        NotEnoughSpace: The disk is too full; what has arrived is kept.
        ChecksumMismatch: The file that arrived is another one; it is deleted.
        DownloadError: It can't be fetched; what has arrived is kept.
    """
    network = network or Network()
    if local_path(remote.url) is None:
        network.check(remote.url)
    with disk_errors(target), only_one(target):
        if remote.sha256 and target.is_file() and sha256_of(target) == remote.sha256.lower():
            return
        fetch = _Fetch(remote, target, network, report or (lambda _: None))
        try:
            fetch.run()
        except DownloadError:
            if fetch.part.exists() and not fetch.part.stat().st_size:
                fetch.discard()  # nothing has arrived that a next try could go on from
            raise
        if check is not None:
            try:
                check(fetch.part)
            except Exception:
                fetch.discard()
                raise
        install(fetch.part, target)
        fetch.note.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The file's sha256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class _Note:
    """What the partial file belongs to."""

    url: str = ""
    validator: str = ""
    """For If-Range: a strong ETag, or the time of the last change."""
    size_bytes: int = 0
    sha256: str = ""


class _Fetch:
    """One download: attempts until the partial file is complete and verified."""

    def __init__(self, remote: Remote, target: Path, network: Network, report: Report) -> None:
        self.remote, self.target, self.network, self.report = remote, target, network, report
        self.part, self.note = part_files(target)
        self.known = self._read_note()
        self.digest = hashlib.sha256()
        self.done = 0

    def run(self) -> None:
        source = local_path(self.remote.url)
        with self.part.open("r+b" if self.part.exists() else "w+b") as file:
            self.part.chmod(0o600)
            self._resume(file)
            if source is not None:
                self._restart(file)
                self._copy(source, file)
            else:
                self._attempts(file)
            file.flush()
            os.fsync(file.fileno())
        self._verify()

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    # ---- resuming ----

    def _read_note(self) -> _Note:
        try:
            note = _Note(**json.loads(self.note.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return _Note()
        same = note.url == shown(self.remote.url)
        same = same and (not self.remote.sha256 or note.sha256 in ("", self.remote.sha256.lower()))
        return note if same else _Note()

    def _write_note(self) -> None:
        new = self.note.with_name(self.note.name + ".new")
        new.write_text(json.dumps(asdict(self.known)), "utf-8")
        new.chmod(0o600)
        new.replace(self.note)

    def _resume(self, file: BinaryIO) -> None:
        """Hash what is there already, if it belongs to this file; else start over."""
        if self.known.url and (self.known.validator or self.known.sha256 or self.remote.sha256):
            while piece := file.read(PIECE):
                self.digest.update(piece)
                self.done += len(piece)
                self._tell("resuming")
        else:
            self._restart(file)

    def _restart(self, file: BinaryIO) -> None:
        file.seek(0)
        file.truncate()
        self.digest = hashlib.sha256()
        self.done = 0

    # ---- receiving ----

    def _attempts(self, file: BinaryIO) -> None:
        import httpx

        failures = 0
        with self.network.client() as client:
            while True:
                before = self.done
                try:
                    if self._receive(client, file):
                        return
                    why = "the connection was closed early"
                    wait = 0.0
                except _Again as again:
                    why, wait = str(again), again.seconds
                except (httpx.TransportError, httpx.DecodingError) as error:
                    why, wait = connection_failure(error, self.remote.url), 0.0
                except (httpx.InvalidURL, httpx.TooManyRedirects, ValueError) as error:
                    raise DownloadError(f"{shown(self.remote.url)} can't be fetched: {error}.") from error
                file.flush()
                failures = 1 if self.done > before else failures + 1
                if failures >= (TRIES_WITHOUT_PROGRESS if self.known.url else TRIES_TO_CONNECT):
                    of = f" of {megabytes(self.known.size_bytes)}" if self.known.size_bytes else ""
                    kept = (
                        f"{megabytes(self.done)}{of} are kept: run it again to go on."
                        if self.done
                        else "Try again later."
                    )
                    raise DownloadError(f"{self.target.name} from {host(self.remote.url)}: {why}.", kept)
                self.network.sleep(max(wait, min(30.0, 0.5 * 2 ** (failures - 1))))

    def _receive(self, client: httpx.Client, file: BinaryIO) -> bool:
        """One connection; True when the file is complete."""
        headers = dict(self.remote.headers)
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
            if self.known.validator:
                headers["If-Range"] = self.known.validator
        url, credentials = split_credentials(self.remote.url)
        with client.stream("GET", url, headers=headers, auth=credentials) as response:
            if response.status_code == 416:
                return self._beyond(response, file)
            _refuse(response, self.remote.url)
            if response.status_code != 206 and self.done:
                self._restart(file)  # the server ignores ranges, or the file has changed since
            self._learn(response, file)
            ensure_space(self.target.parent, max(0, self.known.size_bytes - self.done))
            self._tell()
            for piece in response.iter_raw():
                file.write(piece)
                self.digest.update(piece)
                self.done += len(piece)
                if self.known.size_bytes and self.done > self.known.size_bytes:
                    self._restart(file)
                    raise _Again("the server sent more than it said")
                self._tell()
        return self.done == self.known.size_bytes if self.known.size_bytes else True

    def _beyond(self, response: httpx.Response, file: BinaryIO) -> bool:
        """The server has nothing behind what we have: it is complete, or it belongs to another file."""
        total = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
        if self.known.size_bytes == self.done and (not total or int(total[1]) == self.done):
            return True
        self._restart(file)
        raise _Again("the file on the server has changed")

    def _learn(self, response: httpx.Response, file: BinaryIO) -> None:
        """Size, checksum and validator, from the final response and the redirects before it."""
        headers, total = response.headers, 0
        if response.status_code == 206:
            span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
            if not span or int(span[1]) != self.done:
                self._restart(file)
                self.known = _Note()
                raise _Again("the server sent another part than was asked for")
            total = int(span[2])
        elif headers.get("Content-Length", "").isdecimal() and "Content-Encoding" not in headers:
            total = int(headers["Content-Length"])
        sha256 = self.remote.sha256.lower()
        for answer in (*response.history, response):
            linked = answer.headers.get("X-Linked-ETag", "").strip('W/"')
            if not sha256 and re.fullmatch(r"[0-9a-f]{64}", linked):
                sha256 = linked
        if self.remote.size_bytes and total and total != self.remote.size_bytes:
            self.discard()
            raise ChecksumMismatch(
                f"{self.target.name} has {total:,} bytes on {host(self.remote.url)}, and should have "
                f"{self.remote.size_bytes:,}.",
                "The file there has changed: choose another source.",
            )
        if self.done and self.known.size_bytes and total != self.known.size_bytes:
            self._restart(file)
            self.known = _Note()
            raise _Again("the file on the server has changed")
        etag = headers.get("ETag", "")
        validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
        self.known = _Note(shown(self.remote.url), validator, total or self.remote.size_bytes, sha256)
        self._write_note()

    def _copy(self, source: Path, file: BinaryIO) -> None:
        try:
            size = source.stat().st_size
            with source.open("rb") as original:
                self.known = _Note(shown(self.remote.url), "", size, self.remote.sha256.lower())
                ensure_space(self.target.parent, size)
                while piece := original.read(PIECE):
                    file.write(piece)
                    self.digest.update(piece)
                    self.done += len(piece)
                    self._tell("copying")
        except OSError as error:
            if error.errno in (ENOSPC, EDQUOT):
                raise
            self.discard()
            raise DownloadError(f"{source} can't be read: {error.strerror or error}.") from error

    # ---- the end ----

    def _verify(self) -> None:
        sha256 = self.remote.sha256.lower() or self.known.sha256
        size = self.remote.size_bytes or self.known.size_bytes
        if sha256 and self.digest.hexdigest() != sha256:
            self.discard()
            raise ChecksumMismatch(
                f"{self.target.name}: the sha256 of what arrived is {self.digest.hexdigest()}, and should be {sha256}.",
                "It was deleted. Try again; if it happens twice, the source is wrong or a proxy changes it.",
            )
        if size and self.done != size:
            self.discard()
            raise ChecksumMismatch(f"{self.target.name}: {self.done:,} bytes arrived, and it should have {size:,}.")

    def _tell(self, step: str = "downloading") -> None:
        self.report(Progress(self.target.name, self.done, self.known.size_bytes or self.remote.size_bytes, step))


class _Again(Exception):
    """This attempt is over, the next may succeed."""

    def __init__(self, why: str, seconds: float = 0.0) -> None:
        super().__init__(why)
        self.seconds = seconds


def _refuse(response: httpx.Response, url: str) -> None:
    """Sort out answers that are no file."""
    status, where = response.status_code, host(url)
    if status in _TEMPORARY:
        wait = response.headers.get("Retry-After", "")
        raise _Again(f"the server answers {status}", min(60.0, float(wait)) if wait.isdecimal() else 0.0)
    if status in (401, 403):
        raise DownloadError(
            f"{where} refuses access ({status}) to {shown(url)}.",
            "It may need a token (HF_TOKEN for Hugging Face) and its licence accepted on the model's page.",
        )
    if status in (404, 410):
        raise DownloadError(f"{where} has no such file ({status}): {shown(url)}.", "Check the name.")
    if status not in (200, 206):
        raise DownloadError(f"{where} answers {status} for {shown(url)}.", "Try again later.")


def connection_failure(error: Exception, url: str) -> str:
    """Why a connection failed, in a few words and without the URL.

    Raises:
        DownloadError: The certificate is not trusted, which no other try will change.
    """
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return "the connection stalled"
    text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        raise DownloadError(
            f"The certificate of {host(url)} is not trusted.",
            "Set SSL_CERT_FILE (or pip's `cert`) to the file with your organisation's certificates.",
        ) from error
    return f"the connection failed ({re.sub(r'//[^/@ ]*@', '//', text)})"
