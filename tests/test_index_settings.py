"""The package index is the user's own: what pip and uv are told counts, in their own order."""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path

import pytest

from localllm.errors import SettingsError
from localllm.models.index_settings import PYPI, IndexSettings, read_index_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without settings, on a system without settings."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr("localllm.models.index_settings.ETC", tmp_path / "etc")
    (tmp_path / "prefix").mkdir()
    return tmp_path


def read(home: Path, **environ: str) -> IndexSettings:
    return read_index_settings({"XDG_CONFIG_DIRS": str(home / "xdg"), "PIP_CONFIG_FILE": "", **environ}, home)


def alone(home: Path, **environ: str) -> IndexSettings:
    """Without the files of this machine's system."""
    return read_index_settings({"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1", **environ}, home)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_without_settings_it_is_the_public_index(home: Path) -> None:
    assert alone(home) == IndexSettings()
    assert alone(home).indexes == (PYPI,)


def test_the_variables_of_pip_count(home: Path) -> None:
    found = alone(
        home,
        PIP_INDEX_URL="https://a.example/simple/",
        PIP_EXTRA_INDEX_URL="https://b.example/simple file:///srv/simple",
        PIP_FIND_LINKS="/wheels https://c.example/page.html",
        PIP_CERT="/etc/my certs.pem",
        PIP_PROXY="http://proxy:3128",
        PIP_TRUSTED_HOST="a.example b.example:8443",
    )
    assert found.indexes == ("https://a.example/simple", "https://b.example/simple", "file:///srv/simple")
    assert found.find_links == ("/wheels", "https://c.example/page.html")
    assert (found.cert, found.proxy) == ("/etc/my certs.pem", "http://proxy:3128")
    assert found.trusted_hosts == ("a.example", "b.example:8443")


@pytest.mark.skipif(sys.platform == "win32", reason="the places are those of Linux and macOS")
def test_files_of_pip_are_read_later_ones_winning(home: Path) -> None:
    write(home / "xdg" / "pip" / "pip.conf", "[global]\nindex-url = https://system/s\nproxy = http://system:1\n")
    write(home / ".pip" / "pip.conf", "[global]\nindex-url = https://legacy/s\n")
    write(
        home / ".config" / "pip" / "pip.conf",
        "[global]\nindex_url = https://user/s\nextra-index-url =\n  https://x/s\n  https://y/s\n",
    )
    found = read(home)
    assert found.indexes == ("https://user/s", "https://x/s", "https://y/s")
    assert found.proxy == "http://system:1"
    write(home / "prefix" / "pip.conf", "[install]\nindex-url = https://site/s\n")
    assert read(home).indexes[0] == "https://site/s"
    assert read(home, PIP_INDEX_URL="https://variable/s").indexes[0] == "https://variable/s"


@pytest.mark.skipif(sys.platform == "win32", reason="the places are those of Linux and macOS")
def test_a_named_configuration_file_replaces_that_of_the_user(home: Path) -> None:
    write(home / ".config" / "pip" / "pip.conf", "[global]\nindex-url = https://user/s\nproxy = http://user:1\n")
    named = write(home / "named.conf", "[global]\nindex-url = https://named/s\n")
    found = read(home, PIP_CONFIG_FILE=str(named))
    assert found.indexes == ("https://named/s",) and found.proxy == ""


def test_broken_files_are_passed_over(home: Path) -> None:
    write(home / ".config" / "pip" / "pip.conf", "no section = here\n[global\n")
    write(home / ".config" / "uv" / "uv.toml", "index-url = \n")
    (home / ".pip").mkdir()
    (home / ".pip" / "pip.conf").write_bytes(b"[global]\nindex-url = \xff\xfe\n")
    assert PYPI in read(home).indexes


def test_the_variables_of_uv_count(home: Path) -> None:
    found = alone(
        home,
        UV_DEFAULT_INDEX="https://default/s",
        UV_INDEX_URL="https://old-name/s",
        UV_INDEX="https://first/s named=https://second/s",
        UV_INDEX_NAMED_USERNAME="me",
        UV_INDEX_NAMED_PASSWORD="p@ss",
        UV_FIND_LINKS="/one,/two",
        UV_INSECURE_HOST="first",
    )
    assert found.indexes == ("https://first/s", "https://me:p%40ss@second/s", "https://default/s")
    assert found.find_links == ("/one", "/two") and found.trusted_hosts == ("first",)
    assert alone(home, UV_INDEX_URL="https://old-name/s").indexes == ("https://old-name/s",)
    assert alone(home, UV_EXTRA_INDEX_URL="https://extra/s").indexes == ("https://extra/s", PYPI)


def test_the_file_of_uv_counts(home: Path) -> None:
    named = write(
        home / "uv.toml",
        """
        find-links = ["/flat"]
        [[index]]
        url = "https://extra/s"
        [[index]]
        name = "main"
        url = "https://main/s"
        default = true
        [[index]]
        name = "torch"
        url = "https://torch/s"
        explicit = true
        [[index]]
        url = "https://files/page"
        format = "flat"
        """,
    )
    found = read_index_settings({"PIP_CONFIG_FILE": os.devnull, "UV_CONFIG_FILE": str(named)}, home)
    assert found.indexes == ("https://extra/s", "https://main/s")
    assert found.find_links == ("/flat", "https://files/page")


def test_the_index_of_pip_comes_before_that_of_uv(home: Path) -> None:
    found = alone(
        home, PIP_INDEX_URL="https://pip/s", UV_DEFAULT_INDEX="https://uv/s", PIP_FIND_LINKS="/a", UV_FIND_LINKS="/b"
    )
    assert found.indexes == ("https://pip/s",) and found.find_links == ("/a", "/b")


@pytest.mark.parametrize("variable", ["PIP_NO_INDEX", "UV_NO_INDEX"])
def test_no_index_leaves_the_folders(home: Path, variable: str) -> None:
    found = alone(home, PIP_FIND_LINKS="/wheels", **{variable: "1"})
    assert found.indexes == () and found.find_links == ("/wheels",)


def test_a_netrc_file_gives_the_credentials_of_its_hosts(home: Path) -> None:
    write(home / ".netrc", "machine a.example login me password secret\n").chmod(0o600)
    found = alone(
        home, PIP_INDEX_URL="https://a.example/s", PIP_EXTRA_INDEX_URL="https://b.example/s https://u:p@a.example/t"
    )
    assert found.indexes == ("https://me:secret@a.example/s", "https://b.example/s", "https://u:p@a.example/t")


def test_certificates_are_checked_unless_the_host_is_trusted(home: Path) -> None:
    assert alone(home).network("https://a.example/s").verify is True
    trusting = alone(home, PIP_TRUSTED_HOST="a.example b.example:8443")
    assert trusting.network("https://a.example/s").verify is False
    assert trusting.network("https://b.example:8443/s").verify is False
    assert trusting.network("https://b.example/s").verify is True
    ours = alone(home, PIP_CERT=ssl.get_default_verify_paths().cafile or str(write(home / "empty.pem", "")))
    if ours.cert != str(home / "empty.pem"):
        assert isinstance(ours.network("https://a.example/s").verify, ssl.SSLContext)
    with pytest.raises(SettingsError, match=r"none\.pem"):
        alone(home, PIP_CERT=str(home / "none.pem")).network("https://a.example/s")
