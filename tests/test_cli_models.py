"""``localllm models``: tables for people, one JSON document for programs, one clear line for failures."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localllm.cli.main import main
from localllm.models import stores
from localllm.settings import Paths
from tests.file_server import serve_files
from tests.gguf_files import gguf_bytes, llama_metadata, llama_tensors, write_model

MODEL = gguf_bytes(llama_metadata(), llama_tensors())


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    home = tmp_path / "home"
    (tmp_path / "program" / "models").mkdir(parents=True)
    (home / "models").mkdir(parents=True)
    paths = Paths(home, home / "config.toml", tmp_path / "program")
    monkeypatch.setattr("localllm.cli.session.find_paths", lambda: paths)
    return paths


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def run(paths: Paths, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> Ran:
        code = main(args=["models", *arguments])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call


def test_the_list_is_a_table_with_the_default_marked(run: Any, paths: Paths) -> None:
    write_model(paths.models / "Tiny.Q4_0.gguf")
    write_model(paths.models / "Embed.gguf", general__architecture="bert")
    write_model(paths.models / "mmproj.gguf", general__type="mmproj")
    (paths.models / "cut.gguf").write_bytes(MODEL[:5000])
    ran = run("list")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].split() == ["MODEL", "FOR", "KIND", "PARAMETERS", "TYPE", "SIZE", "CONTEXT", "FROM"]
    assert [line.split()[:2] for line in lines[1:]] == [["Embed", "embedding"], ["*", "Tiny.Q4_0"]]
    assert "cut short" in ran.err
    assert "mmproj" in run("list", "--all").out


def test_the_list_as_json_is_one_document(run: Any, paths: Paths) -> None:
    path = write_model(paths.models / "Tiny.gguf")
    (paths.models / "half.gguf.part").write_bytes(b"12345")
    listed = run("list", "--json").json
    assert listed["default"] == "Tiny"
    assert listed["folders"] == [str(paths.program / "models"), str(paths.models)]
    assert listed["partials"] == [{"path": str(paths.models / "half.gguf.part"), "size_bytes": 5}]
    (model,) = listed["models"]
    assert (model["name"], model["path"], model["purpose"], model["problem"]) == ("Tiny", str(path), "chat", None)
    assert model["size_bytes"] == path.stat().st_size and model["quantization"] == "Q4_0"


def test_an_empty_shelf_says_what_to_do(run: Any) -> None:
    ran = run("list")
    assert (ran.code, ran.out) == (0, "")
    assert "models pull starter" in ran.err and "models scan" in ran.err
    assert run("list", "--json").json["models"] == []
    assert run("list", "-q").err == ""


def test_a_scan_lists_found_models_from_then_on(
    run: Any, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_model(tmp_path / "other" / "theirs.gguf")
    found = [stores.Found(file, "LM Studio"), stores.Found(tmp_path / "gone.gguf", "Jan")]
    monkeypatch.setattr("localllm.models.shelf.find_in_stores", lambda *_: iter(found))
    ran = run("scan")
    assert ran.code == 0 and "theirs" in ran.out and "LM Studio" in ran.out and "gone" in ran.err
    assert [m["name"] for m in run("list", "--json").json["models"]] == ["theirs"]
    assert run("remove", "theirs", "-y").code == 1 and file.exists()


def test_info_tells_what_the_header_says(run: Any, paths: Paths) -> None:
    path = write_model(paths.models / "Tiny.gguf")
    ran = run("info", "tiny", "--json", "--metadata")
    assert ran.json["n_layer"] == 2 and ran.json["n_head_kv"] == 2 and ran.json["chat_template"] is True
    assert ran.json["metadata"]["tokenizer.ggml.tokens"] == "[96]"
    text = run("info", str(path)).out
    assert "architecture" in text and "llama" in text and "4,096" in text


def test_fit_compares_need_and_memory(run: Any, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(paths.models / "Tiny.gguf")
    write_model(paths.models / "Embed.gguf", general__architecture="bert")
    monkeypatch.setattr("localllm.models.ram.available_memory", lambda: 1 << 40)
    (row,) = run("fit", "--json").json["models"]
    assert (row["name"], row["verdict"], row["n_ctx"], row["largest_ctx"]) == ("Tiny", "fits", 4096, 4096)
    assert row["total_bytes"] == sum(row[f"{k}_bytes"] for k in ("weights", "kv_cache", "compute", "draft"))
    smaller = run("fit", "Tiny", "--ctx", "1024", "--kv-type", "q8_0", "--json").json["models"][0]
    assert smaller["kv_cache_bytes"] < row["kv_cache_bytes"] / 4
    assert run("fit", "Tiny", "--draft", "Tiny", "--json").json["models"][0]["draft_bytes"] > 0
    monkeypatch.setattr("localllm.models.ram.available_memory", lambda: 1000)
    assert "does not fit" in run("fit").out


def test_pull_gets_a_file_and_is_quiet_about_nothing(run: Any, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_files() as server:
        server.add("/Tiny.gguf", MODEL)
        ran = run("pull", server.url + "/Tiny.gguf", "--sha256", hashlib.sha256(MODEL).hexdigest(), "--json")
        target = paths.models / "Tiny.gguf"
        assert ran.code == 0
        assert ran.json == {"models": [{"name": "Tiny", "path": str(target), "fetched": True}]}
        assert target.read_bytes() == MODEL and "Downloading Tiny.gguf" in ran.err
        again = run("pull", server.url + "/Tiny.gguf", "--json", "-q")
        assert again.json["models"][0]["fetched"] is False and again.err == ""
        assert len(server.requests) == 1


def test_offline_pulls_nothing(run: Any, paths: Paths) -> None:
    ran = run("pull", "https://models.example/Tiny.gguf", "--offline", "--json")
    assert ran.code == 1 and ran.json["error"]["kind"] == "offline"
    assert "models.example" in ran.json["error"]["message"]
    assert list(paths.models.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="links need a right that users lack there")
def test_add_links_a_file_and_copies_on_request(run: Any, paths: Paths, tmp_path: Path) -> None:
    mine = write_model(tmp_path / "mine" / "Mine.gguf")
    assert run("add", str(mine), "--json").json == {"name": "Mine", "path": str(paths.models / "Mine.gguf")}
    assert (paths.models / "Mine.gguf").is_symlink()
    assert run("add", str(mine)).code == 0  # twice is no mistake
    assert run("remove", "Mine", "-y").code == 0
    assert mine.exists() and not (paths.models / "Mine.gguf").exists()
    assert run("add", str(mine), "--copy").code == 0
    assert not (paths.models / "Mine.gguf").is_symlink()
    other = write_model(tmp_path / "other" / "Mine.gguf")
    assert run("add", str(other)).code == 1


def test_add_refuses_what_is_no_model_or_another_file(run: Any, paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("This is no model.")
    assert "not a GGUF" in run("add", str(tmp_path / "text.gguf")).err
    good = write_model(tmp_path / "good.gguf")
    assert run("add", str(good), "--sha256", "0" * 64, "--json").json["error"]["kind"] == "checksum_mismatch"
    assert run("add", str(tmp_path / "none.gguf")).code == 1
    assert list(paths.models.iterdir()) == []


def test_add_of_a_url_is_a_pull(run: Any, paths: Paths) -> None:
    with serve_files() as server:
        server.add("/Tiny.gguf", MODEL)
        ran = run("add", server.url + "/Tiny.gguf", "--json")
    assert ran.json["models"][0]["path"] == str(paths.models / "Tiny.gguf")


def test_remove_asks_first(run: Any, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(paths.models / "Tiny.gguf")
    assert run("remove", "Tiny").code == 2 and path.exists(), "here nobody can be asked"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.confirm", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run("remove", "Tiny").code == 130 and path.exists()
    ran = run("remove", "Tiny", "-y", "--json")
    assert ran.json["removed"] == [str(path)] and not path.exists()


def test_remove_takes_all_parts_and_only_whole_names(run: Any, paths: Paths) -> None:
    for i in (1, 2):
        write_model(paths.models / f"Big-{i:05d}-of-00002.gguf", split__count=2)
    assert run("remove", "Bi", "-y").code == 1
    assert run("remove", "Big", "-y").code == 0
    assert list(paths.models.iterdir()) == []
    assert run("remove").code == 2


def test_unfinished_downloads_can_be_removed(run: Any, paths: Paths) -> None:
    (paths.models / "a.gguf.part").write_bytes(b"123")
    (paths.models / "a.gguf.part.json").write_text("{}")
    (paths.models / ".b.x.part").mkdir()
    (paths.models / ".b.x.part" / "file").write_bytes(b"12")
    ran = run("remove", "--partials", "-y", "--json")
    assert ran.json["size_bytes"] == 7 and list(paths.models.iterdir()) == []


@pytest.mark.parametrize("arguments", [("info", "nope"), ("fit", "nope"), ("pull", "nope"), ("remove", "nope", "-y")])
def test_an_unknown_name_is_one_line_and_exit_code_1(run: Any, arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert ran.code == 1 and ran.out == "" and len(ran.err.splitlines()) == 1 and "nope" in ran.err
    assert run(*arguments, "--json").json["error"]["kind"] == "model_not_found"


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from localllm.cli.main import main; assert main(args=['models', 'list', '-q']) == 0; "
        "heavy = {'numpy', 'llama_cpp', 'httpx', 'gguf', 'textual', 'jsonschema'}; assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)
