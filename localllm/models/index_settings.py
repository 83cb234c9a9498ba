"""The user's own package index: read from the settings that pip and uv use, so that nothing has to be said twice.

Neither program is called: the packaged binary has none. What is read: pip's configuration files and ``PIP_*``
variables (https://pip.pypa.io/en/stable/topics/configuration/), uv's ``uv.toml`` and ``UV_*`` variables.
"""

from __future__ import annotations

import configparser
import os
import re
import ssl
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from localllm.errors import SettingsError
from localllm.models.download import Network
from localllm.models.urls import split_credentials

PYPI = "https://pypi.org/simple"
ETC = Path("/etc")


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Where packages come from, in the order of asking."""

    find_links: tuple[str, ...] = ()
    """Folders, file URLs and pages with links to packages."""
    indexes: tuple[str, ...] = (PYPI,)
    """Simple-API roots; credentials may be inside."""
    cert: str = ""
    """A file of trusted certificates."""
    client_cert: str = ""
    proxy: str = ""
    trusted_hosts: tuple[str, ...] = ()
    """Hosts whose certificates are not checked, as ``host`` or ``host:port``."""

    def network(self, url: str, offline: bool = False) -> Network:
        """How to connect to `url` under these settings.

        Raises:
            SettingsError: The certificate file can't be read.
        """
        return Network(offline=offline, verify=self._verify(url), proxy=self.proxy)

    def _verify(self, url: str) -> ssl.SSLContext | bool:
        parts = urlsplit(url)
        if {parts.hostname, f"{parts.hostname}:{parts.port}"} & set(self.trusted_hosts):
            return False
        if not (self.cert or self.client_cert):
            return True
        try:
            folder = Path(self.cert).is_dir() if self.cert else False
            context = ssl.create_default_context(
                cafile=None if folder else self.cert or None, capath=self.cert if folder else None
            )
            if self.client_cert:
                context.load_cert_chain(self.client_cert)
        except (OSError, ssl.SSLError) as error:
            name = self.cert or self.client_cert
            raise SettingsError(f"The certificate file {name} of your pip settings can't be read: {error}.") from error
        return context


def read_index_settings(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> IndexSettings:
    """What pip's and uv's settings say together.

    pip's index (or uv's default index) replaces PyPI; extra indexes and find-links of both are added. Broken
    configuration files are passed over: they are not ours to complain about.
    """
    home = home or Path.home()
    pip = _pip_values(environ, home)
    uv = _uv_values(environ, home)
    default = pip.get("index-url") or uv.get("default-index")
    indexes = [*uv.get("index", []), *(default or [PYPI])[:1], *pip.get("extra-index-url", [])]
    if any(v and v[0].lower() in ("1", "true", "yes", "on") for v in (pip.get("no-index"), uv.get("no-index"))):
        indexes = []
    netrc = _netrc(environ, home)
    return IndexSettings(
        find_links=_once([*pip.get("find-links", []), *uv.get("find-links", [])]),
        indexes=_once(_with_netrc(url.rstrip("/"), netrc) for url in indexes),
        cert=_first(pip, "cert"),
        client_cert=_first(pip, "client-cert"),
        proxy=_first(pip, "proxy"),
        trusted_hosts=_once([*pip.get("trusted-host", []), *uv.get("insecure-host", [])]),
    )


# ---- pip ----------------------------------------------------------------------------------------------------------

_PIP_KEYS = (
    "index-url", "extra-index-url", "find-links", "no-index", "cert", "client-cert", "proxy", "trusted-host",
)  # fmt: skip


def _pip_values(environ: Mapping[str, str], home: Path) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for path in _pip_files(environ, home):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        for section in ("global", "download", "install"):
            for key, text in parser.items(section) if parser.has_section(section) else ():
                if (key := key.replace("_", "-")) in _PIP_KEYS and text.strip():
                    values[key] = text.split()
    for key in _PIP_KEYS:
        if text := environ.get("PIP_" + key.upper().replace("-", "_"), "").strip():
            values[key] = text.split()
    for key in ("cert", "client-cert", "proxy"):  # single values may hold spaces
        if key in values:
            values[key] = [" ".join(values[key])]
    return values


def _pip_files(environ: Mapping[str, str], home: Path) -> list[Path]:
    """Later files win: of the system, of the user, of the environment, then the one that PIP_CONFIG_FILE names."""
    own = environ.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:
        return []
    name = "pip.ini" if sys.platform == "win32" else "pip.conf"
    if sys.platform == "win32":
        system = [Path(environ.get("PROGRAMDATA", "C:\\ProgramData")) / "pip" / name]
        user = [home / "pip" / name, Path(environ.get("APPDATA", home / "AppData" / "Roaming")) / "pip" / name]
    else:
        config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
        folders = [f for f in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep) if f]
        system = [*(Path(f) / "pip" / name for f in reversed(folders)), ETC / name]
        user = [home / ".pip" / name, config / "pip" / name]
        if sys.platform == "darwin":
            system.insert(0, Path("/Library/Application Support/pip") / name)
            user.append(home / "Library" / "Application Support" / "pip" / name)
    if own and Path(own).exists():
        return [*system, Path(sys.prefix) / name, Path(own)]
    return [*system, *user, Path(sys.prefix) / name]


# ---- uv -----------------------------------------------------------------------------------------------------------


def _uv_values(environ: Mapping[str, str], home: Path) -> dict[str, list[str]]:
    """`index` (asked first), `default-index`, `find-links`, `no-index`, `insecure-host`."""
    values: dict[str, list[str]] = {}
    for path in _uv_files(environ, home):
        try:
            table = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            continue
        for level in (table.get("pip"), table):
            if isinstance(level, dict):
                values |= _uv_table(level, environ)
    for variable, key, separator in (
        ("UV_EXTRA_INDEX_URL", "index", None),
        ("UV_INDEX", "index", None),
        ("UV_INDEX_URL", "default-index", None),
        ("UV_DEFAULT_INDEX", "default-index", None),
        ("UV_FIND_LINKS", "find-links", ","),
        ("UV_NO_INDEX", "no-index", None),
        ("UV_INSECURE_HOST", "insecure-host", None),
    ):
        if words := [w.strip() for w in environ.get(variable, "").split(separator) if w.strip()]:
            values[key] = [_named(word, environ) for word in words] if "index" in key else words
    return values


def _uv_files(environ: Mapping[str, str], home: Path) -> list[Path]:
    if environ.get("UV_NO_CONFIG", "") not in ("", "0", "false"):
        return []
    if own := environ.get("UV_CONFIG_FILE", ""):
        return [Path(own)]
    if sys.platform == "win32":
        roots = (environ.get("PROGRAMDATA", "C:\\ProgramData"), environ.get("APPDATA", home / "AppData" / "Roaming"))
        return [Path(root) / "uv" / "uv.toml" for root in roots]
    folders = [f for f in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep) if f]
    system = [ETC / "uv" / "uv.toml", *(Path(f) / "uv" / "uv.toml" for f in reversed(folders))]
    return [*system, Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml"]


def _uv_table(table: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, list[str]]:
    def texts(key: str) -> list[str]:
        value = table.get(key)
        return [str(v) for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]

    values: dict[str, list[str]] = {}
    for key, source in (
        ("index", "extra-index-url"),
        ("default-index", "index-url"),
        ("find-links", "find-links"),
        ("insecure-host", "allow-insecure-host"),
    ):
        if found := texts(source):
            values[key] = found
    if table.get("no-index") is True:
        values["no-index"] = ["true"]
    entries = table.get("index")
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
            continue
        url = _with_named_credentials(entry["url"], str(entry.get("name", "")), environ)
        if entry.get("format") == "flat":
            values.setdefault("find-links", []).append(url)
        elif entry.get("default") is True:
            values["default-index"] = [url]
        elif entry.get("explicit") is not True:  # those serve only packages that name them
            values.setdefault("index", []).append(url)
    return values


def _named(word: str, environ: Mapping[str, str]) -> str:
    """uv allows ``name=url``; credentials may stand in variables of that name."""
    match = re.match(r"([A-Za-z0-9._-]+)=(.*)", word)
    return _with_named_credentials(match[2], match[1], environ) if match else word


def _with_named_credentials(url: str, name: str, environ: Mapping[str, str]) -> str:
    variable = "UV_INDEX_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
    user, password = environ.get(variable + "_USERNAME", ""), environ.get(variable + "_PASSWORD", "")
    return _with_credentials(url, user, password) if name and (user or password) else url


# ---- credentials --------------------------------------------------------------------------------------------------


def _with_credentials(url: str, user: str, password: str) -> str:
    if split_credentials(url)[1] or "://" not in url:
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


def _netrc(environ: Mapping[str, str], home: Path) -> Mapping[str, tuple[str, str]]:
    """Names and passwords by host, as pip and uv take them from the user's netrc file."""
    import netrc

    named = environ.get("NETRC", "")
    for path in [Path(named)] if named else [home / ".netrc", home / "_netrc"]:
        try:
            hosts = netrc.netrc(str(path)).hosts
        except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
            continue
        return {host: (login or "", password or "") for host, (login, _, password) in hosts.items()}
    return {}


def _with_netrc(url: str, hosts: Mapping[str, tuple[str, str]]) -> str:
    host = urlsplit(url).hostname or ""
    return _with_credentials(url, *hosts[host]) if host in hosts else url


def _first(values: Mapping[str, list[str]], key: str) -> str:
    return (values.get(key) or [""])[0]


def _once(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(item for item in items if item))
