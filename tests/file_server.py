"""A local HTTP server that behaves as badly as real ones: cuts connections, ignores ranges, stalls, redirects."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """One file, and how it is served."""

    data: bytes
    content_type: str = "application/octet-stream"
    cuts: list[int] = field(default_factory=list)
    """For each of the first connections: bytes sent before it is closed."""
    statuses: list[int] = field(default_factory=list)
    """For each of the first requests: an error instead of the file."""
    ranges: bool = True
    etag: str | None = None
    """None derives one from the data; empty sends none."""
    last_modified: str = ""
    redirect: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    length: bool = True
    """Whether the length is said; without it the end of the connection is the end of the file."""
    stall: threading.Event | None = None
    """Nothing more is sent after the first cut until it is set."""
    user: str = ""
    """Base64 of name:password that is asked for."""


@dataclass
class FileServer:
    url: str
    files: dict[str, Served] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and headers (in lower case) of each request."""
    sent: int = 0
    """Bytes of bodies."""

    def add(self, path: str, data: bytes, **behaviour: object) -> Served:
        self.files[path] = Served(data, **behaviour)  # type: ignore[arg-type]
        return self.files[path]

    def ranges(self) -> list[str]:
        return [headers.get("range", "") for _, headers in self.requests]


@contextmanager
def serve_files() -> Iterator[FileServer]:
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state = FileServer(f"http://127.0.0.1:{server.server_port}")
    handler.state = state  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what is tested here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FileServer

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.state.requests.append((path, headers))
        file = self.state.files.get(path)
        if file is None:
            return self._plain(404)
        if file.user and headers.get("authorization") != f"Basic {file.user}":
            return self._plain(401)
        if file.statuses:
            status = file.statuses.pop(0)
            if status != 200:
                return self._plain(status)
        if file.redirect:
            return self._plain(302, {"Location": file.redirect, **file.headers})
        return self._send(file, headers)

    def _plain(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, file: Served, headers: dict[str, str]) -> None:
        etag = f'"{hashlib.md5(file.data).hexdigest()}"' if file.etag is None else file.etag
        start, status = 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        if wanted and file.ranges and headers.get("if-range", etag) in (etag, file.last_modified):
            start, status = int(wanted[1]), 206
            if start >= len(file.data):
                return self._plain(416, {"Content-Range": f"bytes */{len(file.data)}"})
        body = file.data[start:]
        self.send_response(status)
        self.send_header("Content-Type", file.content_type)
        if etag:
            self.send_header("ETag", etag)
        if file.last_modified:
            self.send_header("Last-Modified", file.last_modified)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(file.data) - 1}/{len(file.data)}")
        if file.length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        for name, value in file.headers.items():
            self.send_header(name, value)
        self.end_headers()
        cut = file.cuts.pop(0) if file.cuts else None
        piece = body if cut is None else body[:cut]
        self.state.sent += len(piece)  # before: a client that has it all looks at this number at once
        try:
            self.wfile.write(piece)
            self.wfile.flush()
            if cut is not None:
                if file.stall is not None:
                    file.stall.wait(20)
                self.close_connection = True
        except OSError:
            self.close_connection = True
