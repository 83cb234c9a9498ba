"""The walk finds the user's files, and names everything it leaves out with a reason."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from localllm.rag.folders import Found, walk


def found(root: Path, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> dict[str, Found]:
    return {item.relpath: item for item in walk(root, include, exclude)}


def files(root: Path, **patterns: tuple[str, ...]) -> set[str]:
    return {relpath for relpath, item in found(root, **patterns).items() if item.state == "file"}


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_files_come_with_paths_sizes_and_formats(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b.md", "hello")
    item = found(tmp_path)["a/b.md"]
    assert (item.size, item.format, item.state) == (5, "markdown", "file")


def test_ignore_files_hold_for_their_folder_and_the_deepest_wins(tmp_path: Path) -> None:
    write(tmp_path / ".gitignore", "*.log\n/build/\nkept.txt\n")
    write(tmp_path / "deep" / ".localllmignore", "!kept.txt\nsecret*\n")
    for name in ("a.log", "a.txt", "build/x.txt", "kept.txt", "deep/kept.txt", "deep/secret.md", "deep/build/x.txt"):
        write(tmp_path / name)
    assert files(tmp_path) == {"a.txt", "deep/kept.txt", "deep/build/x.txt"}
    reasons = {relpath: item.reason for relpath, item in found(tmp_path).items() if item.state == "ignored"}
    assert set(reasons) == {"a.log", "build/", "kept.txt", "deep/secret.md"}
    assert set(reasons.values()) == {"left out by an ignore file"}


def test_include_and_exclude_choose_files(tmp_path: Path) -> None:
    for name in ("a.md", "b.txt", "c/d.md", "c/old.md"):
        write(tmp_path / name)
    assert files(tmp_path, include=("*.md",), exclude=("old*",)) == {"a.md", "c/d.md"}


@pytest.mark.parametrize("name", [".env", "server.pem", "id_rsa", "ID_ED25519.pub", "credentials.json", "x.kdbx"])
def test_files_that_may_hold_secrets_are_left_out_and_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert (found(tmp_path)[name].state, found(tmp_path)[name].reason) == ("skipped", "may hold secrets")


@pytest.mark.parametrize("name", ["node_modules", ".git", "__pycache__", ".venv", ".hidden"])
def test_folders_of_tools_and_hidden_ones_stay_closed(tmp_path: Path, name: str) -> None:
    write(tmp_path / name / "a.md")
    assert list(found(tmp_path)) == [name + "/"]
    assert found(tmp_path)[name + "/"].reason


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_named_and_not_followed_so_loops_end(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b.md")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "outside").symlink_to("/etc")
    (tmp_path / "broken").symlink_to("nowhere")
    all_found = found(tmp_path)
    assert {r for r, item in all_found.items() if item.state == "file"} == {"a/b.md"}
    assert {"a/loop", "outside", "broken"} <= set(all_found)
    assert all("link" in all_found[r].reason for r in ("a/loop", "outside", "broken"))


@pytest.mark.skipif(sys.platform == "win32", reason="no such files there")
def test_pipes_and_sockets_are_named_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        assert {item.reason for item in walk(tmp_path)} == {"not a regular file"}


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes of any kind on Linux")
def test_a_name_that_is_no_text_is_named_by_its_bytes(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md")).write_text("x")
    except OSError:
        pytest.skip("this file system takes text only")
    item = found(tmp_path)["caf\\xe9.md"]
    assert (item.state, item.reason) == ("skipped", "its name is not valid text")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    write(tmp_path / "closed" / "a.md")
    (tmp_path / "closed").chmod(0)
    try:
        assert found(tmp_path)["closed/"].state == "closed"
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(walk(tmp_path / "none"))


def test_a_very_deep_folder_ends(tmp_path: Path) -> None:
    write(tmp_path / "/".join(["d"] * 70) / "a.md")
    assert any("folders deep" in item.reason for item in walk(tmp_path))


def test_a_junction_is_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows' other kind of link, which may lead to a folder around it."""
    write(tmp_path / "a" / "b.md")
    monkeypatch.setattr("localllm.rag.folders.getattr", lambda *_: 0xA0000003, raising=False)
    assert "a link" in found(tmp_path)["a"].reason


def test_a_file_that_is_only_in_the_cloud_is_named_and_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.md")
    monkeypatch.setattr("localllm.rag.folders.getattr", lambda *_: 0x00400000, raising=False)
    assert (found(tmp_path)["a.md"].state, found(tmp_path)["a.md"].reason) == (
        "skipped", "not on this computer (cloud storage)"
    )  # fmt: skip
