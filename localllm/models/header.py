"""The header of a GGUF file: what a model is, how it is stored and how large it is, read without any weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Literal

from localllm.errors import NotGGUF
from localllm.models.cursor import Cursor
from localllm.models.parse import LongArray, Scalar, TensorInfo, Value, parse_header, read_array
from localllm.models.tensor_types import FILE_TYPES

MAX_HEADER_BYTES = 256 << 20
"""No real header comes near; it bounds what a false one can make us read."""

Purpose = Literal["chat", "base", "embedding", "reranker", "projector", "adapter", "vocabulary"]


@dataclass(frozen=True)
class Header:
    """What a GGUF file says about itself."""

    path: Path
    size_bytes: int
    """Of the file; of all files for a model in several."""
    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    tokenizer_hash: str
    """Same for files whose text is cut into the same tokens; empty without a vocabulary."""

    # ---- single values ----

    def integer(self, key: str, default: int = 0) -> int:
        """A whole number of the metadata; `default` where it is absent or of another kind."""
        value = self.metadata.get(key.replace("{arch}", self.architecture))
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def text(self, key: str) -> str:
        """A text of the metadata, empty where it is absent or of another kind."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def per_layer(self, key: str, default: int) -> tuple[int, ...]:
        """A number that is given once or for each layer, as one number per layer."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, tuple):
            numbers = tuple(v if isinstance(v, int) else default for v in value)
            return (*numbers, *([default] * (self.n_layer - len(numbers))))[: self.n_layer]
        return (self.integer(f"{{arch}}.{key}", default),) * self.n_layer

    def values(self, key: str) -> tuple[Scalar, ...]:
        """An array of the metadata, however long; empty where it is absent."""
        value = self.metadata.get(key)
        if isinstance(value, tuple):
            return value
        return read_array(self.path, value) if isinstance(value, LongArray) else ()

    # ---- summary ----

    @property
    def architecture(self) -> str:
        """Such as ``llama`` or ``bert``."""
        return self.text("general.architecture")

    @property
    def name(self) -> str:
        """The model's name for people: that of the file, without ``.gguf`` and shard numbers."""
        return display_name(self.path)

    @property
    def title(self) -> str:
        """The name that its makers gave it; possibly empty."""
        return self.text("general.name")

    @property
    def license(self) -> str:
        """SPDX name, possibly empty."""
        return self.text("general.license")

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(t.n_bytes for t in self.tensors)

    @cached_property
    def n_params(self) -> int:
        """Numbers in all tensors."""
        return sum(t.n_values for t in self.tensors)

    @cached_property
    def quantization(self) -> str:
        """The type of the matrices where all of them share one, else the file's own name for its mix."""
        bytes_by_type: dict[str, int] = {}
        for tensor in self.tensors:
            if len(tensor.shape) > 1 and not tensor.name.startswith(("position_embd", "token_types")):
                bytes_by_type[tensor.type] = bytes_by_type.get(tensor.type, 0) + tensor.n_bytes
        if len(bytes_by_type) == 1:
            return next(iter(bytes_by_type))
        named = FILE_TYPES.get(self.integer("general.file_type", -1))
        return named or max(bytes_by_type, key=lambda kind: bytes_by_type[kind], default="")

    @property
    def n_layer(self) -> int:
        """Repeating blocks; 0 where the header does not say or says nonsense."""
        n = self.integer("{arch}.block_count")
        return n if 0 <= n <= 100_000 else 0

    @property
    def n_ctx_train(self) -> int:
        """Tokens that the model was made for."""
        return self.integer("{arch}.context_length")

    @property
    def n_embd(self) -> int:
        """Width of the residual stream."""
        return self.integer("{arch}.embedding_length")

    @property
    def n_head(self) -> int:
        """Attention heads, the most of any layer."""
        return max(self.per_layer("attention.head_count", 0), default=0)

    @property
    def head_count_kv(self) -> tuple[int, ...]:
        """Key-value heads of each layer; 0 for a layer without attention."""
        return self.per_layer("attention.head_count_kv", self.n_head)

    @property
    def n_vocab(self) -> int:
        """Tokens in the vocabulary."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if isinstance(tokens, LongArray):
            return tokens.count
        return len(tokens) if isinstance(tokens, tuple) else self.integer("{arch}.vocab_size")

    @property
    def chat_template(self) -> str:
        """The Jinja template, empty where there is none."""
        return self.text("tokenizer.chat_template")

    @property
    def has_chat_template(self) -> bool:
        """Whether the file says how a conversation is written."""
        return bool(self.chat_template)

    @property
    def pooling(self) -> str:
        """How an embedder makes one vector of many: ``mean``, ``cls``, ``last``, ``rank``, or empty."""
        names = {1: "mean", 2: "cls", 3: "last", 4: "rank"}
        return names.get(self.integer("{arch}.pooling_type"), "")

    @property
    def max_tokens(self) -> int:
        """Tokens that an embedder should be given at most."""
        return self.integer("localllm.embedding.max_tokens", self.n_ctx_train)

    @property
    def recurrent(self) -> bool:
        """Keeps a running state that can't be rolled back, in some layers or all."""
        return self.architecture.startswith("rwkv") or any(
            key.startswith(self.architecture + part) for key in self.metadata for part in _RECURRENT_KEYS
        )

    @property
    def purpose(self) -> Purpose:
        """What the file can be used for."""
        kind = self.text("general.type")
        if kind in ("adapter", "mmproj", "imatrix") or self.architecture == "clip":
            return "adapter" if kind == "adapter" else "projector"
        if not self.tensors:
            return "vocabulary"
        if self.pooling == "rank":
            return "reranker"
        if self.pooling or "bert" in self.architecture or self.architecture in ("t5encoder", "gemma-embedding"):
            return "embedding"
        return "chat" if self.has_chat_template else "base"

    @property
    def is_embedder(self) -> bool:
        """Makes vectors, not text."""
        return self.purpose == "embedding"

    @property
    def n_files(self) -> int:
        """Files that the model is split into."""
        return max(1, self.integer("split.count", 1))


_RECURRENT_KEYS = (".ssm.", ".wkv.", ".shortconv.")
"""Metadata that only models with a running state have."""

_SHARD = re.compile(r"^(?P<stem>.+)-(?P<no>\d{5})-of-(?P<count>\d{5})\.gguf$", re.IGNORECASE)


def display_name(path: Path) -> str:
    """The file's name without ``.gguf`` and without ``-00001-of-00003``."""
    if shard := _SHARD.match(path.name):
        return shard["stem"]
    return path.name[: -len(".gguf")] if path.name.lower().endswith(".gguf") else path.name


def shard_files(path: Path) -> tuple[Path, ...]:
    """All files of the model that `path` belongs to, first to last, whether they exist or not."""
    shard = _SHARD.match(path.name)
    if not shard or not 1 <= int(shard["count"]) <= 10_000:
        return (path,)
    count = int(shard["count"])
    return tuple(path.with_name(f"{shard['stem']}-{i:05d}-of-{count:05d}.gguf") for i in range(1, count + 1))


def read_model_header(path: Path) -> Header:
    """The header of a model in one file or several: the first file's metadata, the tensors of all.

    Raises:
        ModelNotFound: There is no such file.
        NotGGUF: A file is damaged or missing; the message names it.
    """
    files = shard_files(path)
    if len(files) == 1:
        return read_header(path)
    if missing := [f.name for f in files if not f.exists()]:
        raise NotGGUF(path, f"{len(missing)} of its {len(files)} files are missing, the first is {missing[0]}")
    headers = [read_header(file) for file in files]
    tensors = tuple(chain.from_iterable(h.tensors for h in headers))
    return replace(headers[0], size_bytes=sum(h.size_bytes for h in headers), tensors=tensors)


def read_header(path: Path) -> Header:
    """Read one file's header, in milliseconds, without touching its weights.

    Raises:
        ModelNotFound: There is no such file.
        NotGGUF: Not a GGUF file, cut short, or a header that can't be true.
    """
    with Cursor(path, MAX_HEADER_BYTES) as cursor:
        return Header(path, cursor.size, *parse_header(cursor))
