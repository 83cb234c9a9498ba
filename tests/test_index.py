"""A package index is asked for one file of one package, and its answer is read in every form that indexes use."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.errors import DownloadError, Offline
from localllm.models.download import Network
from localllm.models.index import Wheel, find_wheel
from localllm.models.index_settings import IndexSettings
from tests.file_server import FileServer, serve_files

NAME = "my_model-1.2.0-py3-none-any.whl"
SHA256 = "a" * 64


@pytest.fixture(scope="module")
def running() -> Iterator[FileServer]:
    with serve_files() as server:
        yield server


@pytest.fixture
def server(running: FileServer) -> FileServer:
    running.files.clear()
    running.requests.clear()
    return running


class Quick(IndexSettings):
    """Settings whose connections wait for nothing."""

    def network(self, url: str, offline: bool = False) -> Network:
        return replace(super().network(url, offline), sleep=lambda _: None)


def look(*indexes: str, find_links: tuple[str, ...] = (), offline: bool = False) -> Wheel:
    return find_wheel("My.Model", "1.2.0", Quick(find_links, indexes), offline)


def page(*links: str, head: str = "") -> bytes:
    return f"<!DOCTYPE html><html><head>{head}</head><body>{''.join(links)}</body></html>".encode()


def link(href: str) -> str:
    return f'<a href="{href}" data-requires-python="&gt;=3.8">file</a><br/>'


def test_an_html_page_is_read(server: FileServer) -> None:
    others = (
        link("my_model-1.1.0-py3-none-any.whl"),
        link("my_model-1.2.0.tar.gz"),
        link("other-1.2.0-py3-none-any.whl"),
    )
    server.add(
        "/simple/my-model/", page(*others, link(f"../../files/{NAME}#sha256={SHA256}")), content_type="text/html"
    )
    assert look(server.url + "/simple") == Wheel(NAME, f"{server.url}/files/{NAME}", SHA256)
    assert "simple.v1+json" in server.requests[0][1]["accept"]


def test_a_json_page_is_read(server: FileServer) -> None:
    files = [
        {"filename": "my_model-1.2.0.tar.gz", "url": "x", "hashes": {}},
        {"filename": NAME, "url": f"../../f/{NAME}", "hashes": {"sha256": SHA256}, "size": 123},
    ]
    body = json.dumps({"meta": {"api-version": "1.0"}, "name": "my-model", "files": files}).encode()
    server.add("/simple/my-model/", body, content_type="application/vnd.pypi.simple.v1+json")
    assert look(server.url + "/simple/") == Wheel(NAME, f"{server.url}/f/{NAME}", SHA256, 123)


def test_a_base_tag_and_escapes_are_honoured(server: FileServer) -> None:
    body = page(link("my%5Fmodel-1.2.0-py3-none-any.whl"), head='<base href="https://cdn.example/w/">')
    server.add("/simple/my-model/", body, content_type="text/html")
    assert look(server.url + "/simple").url == "https://cdn.example/w/my%5Fmodel-1.2.0-py3-none-any.whl"


def test_the_next_index_is_asked_where_the_first_has_it_not(server: FileServer) -> None:
    server.add("/a/my-model/", page(link("my_model-1.1.0-py3-none-any.whl")), content_type="text/html")
    server.add("/c/my-model/", page(link(NAME)), content_type="text/html")
    assert look(server.url + "/a", server.url + "/b", server.url + "/c").url == f"{server.url}/c/my-model/{NAME}"


def test_credentials_go_with_links_of_the_same_host_only(server: FileServer) -> None:
    secret = base64.b64encode(b"me:p@ss").decode()
    body = page(link(NAME))
    server.add("/simple/my-model/", body, content_type="text/html", user=secret)
    authority = server.url.replace("http://", "http://me:p%40ss@")
    assert look(authority + "/simple").url == f"{authority}/simple/my-model/{NAME}"
    server.add("/simple/my-model/", page(link(f"http://other.example/{NAME}")), content_type="text/html", user=secret)
    assert look(authority + "/simple").url == f"http://other.example/{NAME}"


def test_a_refusal_names_the_host_and_no_credentials(server: FileServer) -> None:
    server.add("/simple/my-model/", b"", user="x")
    with pytest.raises(DownloadError) as caught:
        look(server.url.replace("http://", "http://me:hidden@") + "/simple")
    assert "401" in caught.value.message and "127.0.0.1" in caught.value.message and "hidden" not in str(caught.value)


def test_errors_that_pass_are_waited_out(server: FileServer) -> None:
    server.add("/simple/my-model/", page(link(NAME)), content_type="text/html", statuses=[503])
    assert look(server.url + "/simple").file_name == NAME


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"files": [3]}', "application/json"),
        (b"\xff<<a", "text/html"),
    ],
)
def test_a_page_that_makes_no_sense_is_a_clear_error(server: FileServer, body: bytes, kind: str) -> None:
    server.add("/simple/my-model/", body, content_type=kind)
    with pytest.raises(DownloadError, match=r"My\.Model 1\.2\.0"):
        look(server.url + "/simple")


def test_nowhere_says_where_was_looked(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        look(server.url + "/simple", "http://127.0.0.1:9/simple", find_links=(str(tmp_path / "none"),))
    message = str(caught.value)
    assert "404" in message and "127.0.0.1:9" in message and "none" in message and "models add" in message


def test_a_folder_of_wheels_is_enough_without_a_connection(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"")
    for place in (str(tmp_path), tmp_path.as_uri()):
        assert look("https://index.example/simple", find_links=(place,), offline=True).url == (tmp_path / NAME).as_uri()


def test_an_index_on_the_disk_needs_no_connection(tmp_path: Path) -> None:
    folder = tmp_path / "simple" / "my-model"
    folder.mkdir(parents=True)
    (folder / "index.html").write_bytes(page(link(f"../../files/{NAME}#sha256={SHA256}")))
    found = look((tmp_path / "simple").as_uri(), offline=True)
    assert found == Wheel(NAME, (tmp_path / "files" / NAME).as_uri(), SHA256)
    (folder / "index.html").unlink()
    (folder / NAME).write_bytes(b"")
    assert look((tmp_path / "simple").as_uri(), offline=True).url == (folder / NAME).as_uri()


def test_a_page_of_links_is_searched(server: FileServer) -> None:
    server.add("/links.html", page(link(NAME)), content_type="text/html")
    assert look(find_links=(server.url + "/links.html",)).url == f"{server.url}/{NAME}"


def test_offline_asks_no_index(server: FileServer) -> None:
    with pytest.raises(Offline, match=r"127\.0\.0\.1"):
        look(server.url + "/simple", offline=True)
    assert server.requests == []
