"""The shelf finds the models of this computer and says clearly when there is none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from localllm.errors import ModelError, ModelNotFound, NotGGUF
from localllm.models import shelf
from localllm.models.catalog import STARTER, STARTER_EMBEDDERS
from localllm.settings import Paths
from tests.gguf_files import write_model


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    home = tmp_path / "home"
    (tmp_path / "program" / "models").mkdir(parents=True)
    (home / "models").mkdir(parents=True)
    return Paths(home, home / "config.toml", tmp_path / "program")


def names(models: list[shelf.Model]) -> list[str]:
    return [m.name for m in models]


def test_models_beside_the_program_and_of_the_user_are_listed(paths: Paths) -> None:
    write_model(paths.program / "models" / "b.gguf")
    write_model(paths.models / "sub" / "A.GGUF")
    (paths.models / "notes.txt").write_text("no model")
    (paths.models / ".hidden.gguf").write_text("no model")
    (paths.models / "c.gguf.part").write_text("half a model")
    found = shelf.own_models(paths)
    assert names(found) == ["A", "b"]
    assert all(m.source == shelf.OWN and m.quantization == "Q4_0" and m.usable for m in found)


def test_a_name_in_both_folders_is_the_one_beside_the_program(paths: Paths) -> None:
    write_model(paths.models / "m.gguf")
    first = write_model(paths.program / "models" / "m.gguf")
    assert [m.path for m in shelf.own_models(paths)] == [str(first)]


def test_a_split_model_is_listed_once_with_the_size_of_all(paths: Paths) -> None:
    parts = [write_model(paths.models / f"Big-{i:05d}-of-00002.gguf", split__count=2) for i in (1, 2)]
    (model,) = shelf.own_models(paths)
    assert (model.name, model.n_files, model.path) == ("Big", 2, str(parts[0]))
    assert model.size_bytes == sum(p.stat().st_size for p in parts)
    assert shelf.find_model("big", paths) == parts[0]
    parts[1].unlink()
    (model,) = shelf.own_models(paths)
    assert "Big-00002-of-00002.gguf" in model.problem
    with pytest.raises(NotGGUF, match="missing"):
        shelf.find_model("Big", paths)


def test_a_damaged_model_is_listed_with_its_problem(paths: Paths) -> None:
    (paths.models / "cut.gguf").write_bytes(write_model(paths.models / "whole.gguf").read_bytes()[:5000])
    cut, whole = shelf.own_models(paths)
    assert "cut short" in cut.problem and not cut.usable
    assert whole.problem == ""
    with pytest.raises(NotGGUF, match="cut short"):
        shelf.find_model("cut", paths)


@pytest.mark.parametrize("name", ["Tiny-Chat.Q4_0", "tiny-chat.q4_0", "Tiny-Chat.Q4_0.gguf", "tiny", "CHAT"])
def test_a_name_is_found_in_any_case_and_by_an_unmistakable_part(paths: Paths, name: str) -> None:
    path = write_model(paths.models / "Tiny-Chat.Q4_0.gguf")
    write_model(paths.models / "other.gguf")
    assert shelf.find_model(name, paths) == path


def test_a_part_that_fits_several_names_is_refused_with_the_names(paths: Paths) -> None:
    write_model(paths.models / "tiny-a.gguf")
    write_model(paths.models / "tiny-b.gguf")
    with pytest.raises(ModelNotFound, match="tiny-a, tiny-b"):
        shelf.find_model("tiny", paths)
    assert shelf.find_model("tiny-a", paths).name == "tiny-a.gguf"


def test_a_path_is_taken_as_it_is(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path / "elsewhere" / "my model.bin")
    assert shelf.find_model(str(path), paths) == path
    monkeypatch.chdir(path.parent)
    assert shelf.find_model("my model.bin", paths) == Path("my model.bin")


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("", ModelNotFound, "models pull starter"),
        ("nope", ModelNotFound, "models pull starter"),
        ("/no/such/file.gguf", ModelNotFound, "no such file"),
        ("./none.gguf", ModelNotFound, "no such file"),
        ("{folder}", NotGGUF, "folder"),
        ("{text}", NotGGUF, "not a GGUF"),
        ("a\0b.gguf", ModelNotFound, "file name"),
    ],
)
def test_what_is_not_there_is_one_clear_line(
    paths: Paths, tmp_path: Path, name: str, error: type[ModelError], words: str
) -> None:
    (tmp_path / "notes.gguf").write_text("This is no model.")
    name = name.format(folder=tmp_path, text=tmp_path / "notes.gguf")
    with pytest.raises(error) as caught:
        shelf.find_model(name, paths)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_near_name_is_suggested(paths: Paths) -> None:
    write_model(paths.models / "SmolLM2-135M.gguf")
    with pytest.raises(ModelNotFound, match="Near: SmolLM2-135M"):
        shelf.find_model("smolm2-135", paths)


def test_an_embedder_is_no_chat_model_and_the_other_way_round(paths: Paths) -> None:
    write_model(paths.models / "embed.gguf", general__architecture="bert", llama__pooling_type=None)
    write_model(paths.models / "chat.gguf")
    with pytest.raises(ModelError, match="embedding"):
        shelf.find_model("embed", paths)
    with pytest.raises(ModelError, match="writes text"):
        shelf.find_embedder("chat", paths)
    assert shelf.find_embedder("embed", paths) == paths.models / "embed.gguf"


def test_the_default_is_the_starter_then_the_newest(paths: Paths) -> None:
    assert shelf.find_embedder("", paths) is None
    old, new = write_model(paths.models / "a-old.gguf"), write_model(paths.models / "b-new.gguf")
    os.utime(old, (1, 1))
    write_model(paths.models / "e.gguf", general__architecture="bert")
    assert shelf.find_model("", paths) == new
    assert shelf.find_embedder("", paths) == paths.models / "e.gguf"
    starter = write_model(paths.models / STARTER)
    embedder = write_model(paths.models / STARTER_EMBEDDERS[1], general__architecture="bert")
    assert shelf.find_model("", paths) == starter
    assert shelf.find_embedder("", paths) == embedder


def test_the_starter_embedder_of_an_earlier_version_goes_on_being_used_where_it_is_alone(paths: Paths) -> None:
    earlier = write_model(paths.models / STARTER_EMBEDDERS[-1], general__architecture="bert")
    newer = write_model(paths.models / "other.gguf", general__architecture="bert")
    os.utime(earlier, (1, 1))
    assert shelf.find_embedder("", paths) == earlier != newer
    now = write_model(paths.models / STARTER_EMBEDDERS[1], general__architecture="bert")
    assert shelf.find_embedder("", paths) == now


def test_a_damaged_starter_is_passed_over(paths: Paths) -> None:
    (paths.models / STARTER).write_bytes(b"GGUF")
    good = write_model(paths.models / "good.gguf")
    assert shelf.find_model("", paths) == good


# ---- other applications -------------------------------------------------------------------------------------------


def ollama_model(home: Path, name: str, tag: str = "latest", layer: str = "model") -> Path:
    digest = f"{abs(hash(name)):064x}"[-64:]
    blob = write_model(home / ".ollama" / "models" / "blobs" / f"sha256-{digest}")
    manifest = home / ".ollama" / "models" / "manifests" / "registry.ollama.ai" / "library" / name / tag
    manifest.parent.mkdir(parents=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "0" * 64},
        {"mediaType": f"application/vnd.ollama.image.{layer}", "digest": f"sha256:{digest}"},
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return blob


def hugging_face_model(home: Path, file: str) -> Path:
    repository = home / ".cache" / "huggingface" / "hub" / "models--org--name"
    blob = write_model(repository / "blobs" / "abc")
    link = repository / "snapshots" / "0123" / file
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(blob)
    return link


def fill(home: Path) -> None:
    ollama_model(home, "tinyllama", "1b")
    ollama_model(home, "safetensors", layer="tensor")
    hugging_face_model(home, "hf.Q4_0.gguf")
    write_model(home / ".lmstudio" / "models" / "pub" / "repo" / "studio.gguf")
    custom = home / "big disk"
    (home / ".lmstudio" / "settings.json").write_text(json.dumps({"downloadsFolder": str(custom)}))
    write_model(custom / "pub" / "repo" / "custom.gguf")
    write_model(home / ".cache" / "llama.cpp" / "org_model.gguf")
    write_model(home / ".local" / "share" / "nomic.ai" / "GPT4All" / "g4a.gguf")
    (home / ".local" / "share" / "nomic.ai" / "GPT4All" / "incomplete-g4a2.gguf").write_bytes(b"GG")
    write_model(home / ".local" / "share" / "Jan" / "data" / "llamacpp" / "models" / "org" / "m" / "jan.gguf")


def snapshot(folder: Path) -> dict[str, tuple[int, float]]:
    return {str(p): (p.lstat().st_mode, p.lstat().st_mtime) for p in sorted(folder.rglob("*"))}


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname != "Linux", reason="the places are those of Linux")
def test_a_scan_finds_the_models_of_other_applications_and_changes_nothing(paths: Paths, tmp_path: Path) -> None:
    home = tmp_path / "user"
    fill(home)
    before = snapshot(home)
    found = shelf.scan(paths, {}, home)
    assert {(m.source, m.name) for m in found} == {
        ("Ollama", "tinyllama:1b"),
        ("Hugging Face", "hf.Q4_0"),
        ("LM Studio", "studio"),
        ("LM Studio", "custom"),
        ("llama.cpp", "org_model"),
        ("GPT4All", "g4a"),
        ("Jan", "jan"),
    }
    assert all(m.usable for m in found)
    assert snapshot(home) == before


@pytest.mark.skipif(os.name == "nt", reason="links need a right that users lack there")
def test_found_models_stay_listed_until_they_change_and_can_be_loaded(paths: Paths, tmp_path: Path) -> None:
    home = tmp_path / "user"
    fill(home)
    own = write_model(paths.models / "own.gguf")
    assert names(shelf.list_models(paths)) == ["own"]
    shelf.scan(paths, {}, home)
    listed = shelf.list_models(paths)
    assert listed[0].path == str(own) and "tinyllama:1b" in names(listed)
    assert shelf.find_model("tinyllama:1b", paths).name.startswith("sha256-")
    (home / ".lmstudio" / "models" / "pub" / "repo" / "studio.gguf").unlink()
    assert "studio" not in names(shelf.list_models(paths))


def test_the_variables_of_the_applications_are_honoured(paths: Paths, tmp_path: Path) -> None:
    write_model(tmp_path / "hub" / "models--a--b" / "snapshots" / "1" / "hf.gguf")
    write_model(tmp_path / "llama" / "cpp.gguf")
    environ = {"HF_HUB_CACHE": str(tmp_path / "hub"), "LLAMA_CACHE": str(tmp_path / "llama")}
    assert names(shelf.scan(paths, environ, tmp_path / "nobody")) == ["hf", "cpp"]


def test_a_broken_store_or_cache_stops_nothing(paths: Paths, tmp_path: Path) -> None:
    home = tmp_path / "user"
    manifests = home / ".ollama" / "models" / "manifests" / "r" / "n" / "m"
    manifests.mkdir(parents=True)
    (manifests / "latest").write_text("{no json")
    (manifests / "strange").write_text(
        '{"layers": [1, {"mediaType": "application/vnd.ollama.image.model", "digest": "../x"}]}'
    )
    assert shelf.scan(paths, {}, home) == []
    for broken in ("", "{}", "[1, 2]", '[{"name": 1}]', "\xff"):
        (paths.home / "found-models.json").write_text(broken, "latin-1")
        assert shelf.list_models(paths) == []


def test_the_same_name_in_two_applications_stays_apart(paths: Paths, tmp_path: Path) -> None:
    home = tmp_path / "user"
    write_model(home / ".cache" / "llama.cpp" / "same.gguf")
    write_model(home / ".lmstudio" / "models" / "p" / "r" / "same.gguf")
    found = shelf.scan(paths, {}, home)
    assert sorted(names(found)) in (["same", "same (LM Studio)"], ["same", "same (llama.cpp)"])
