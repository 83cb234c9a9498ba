"""Parse the header of a GGUF file.

Layout: magic, version, counts, metadata as typed key-value pairs, tensor descriptions, then aligned tensor data
(https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Every length is checked against the file before it is used.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from localllm.errors import NotGGUF
from localllm.models.cursor import Cursor
from localllm.models.tensor_types import TENSOR_TYPES

LONGEST_NAME = 65_535
"""Bytes of a key, as the format allows; tensor names are far shorter."""
SMALL_ARRAY = 4096
"""Arrays up to this length are decoded at once, longer ones on request."""

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class LongArray:
    """An array of the header that was stepped over; `Header.values` decodes it."""

    element: str
    count: int
    start: int
    end: int


Value = Scalar | tuple[Scalar, ...] | LongArray


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: its shape has the innermost dimension first."""

    name: str
    shape: tuple[int, ...]
    type: str
    n_bytes: int
    offset: int
    """Of its data, from the start of the file."""

    @property
    def n_values(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


class Parsed(NamedTuple):
    """What a header holds."""

    version: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    tokenizer_hash: str


def parse_header(cursor: Cursor) -> Parsed:
    """Parse from the file's beginning.

    Raises:
        NotGGUF: Not a GGUF file, cut short, or a header that can't be true.
    """
    return _Parser(cursor).header()


_U32, _U64 = Struct("<I"), Struct("<Q")
_SCALARS: dict[int, tuple[str, Struct]] = {
    0: ("u8", Struct("<B")), 1: ("i8", Struct("<b")), 2: ("u16", Struct("<H")), 3: ("i16", Struct("<h")),
    4: ("u32", _U32), 5: ("i32", Struct("<i")), 6: ("f32", Struct("<f")), 7: ("bool", Struct("<?")),
    10: ("u64", _U64), 11: ("i64", Struct("<q")), 12: ("f64", Struct("<d")),
}  # fmt: skip
_TEXT, _ARRAY = 8, 9
_LEAST_PAIR, _LEAST_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8


class _Parser:
    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.path = cursor.path

    def header(self) -> Parsed:
        cursor = self.cursor
        self._magic()
        version = int(cursor.unpack(_U32, "the version"))
        if version not in (2, 3):
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in (2, 3)
            why = "is stored for big-endian machines" if swapped else f"has format version {version}, known are 2 and 3"
            raise NotGGUF(self.path, f"the file {why}", "Look for a newer file of this model.")
        n_tensors = self._count("tensors", _LEAST_TENSOR)
        n_pairs = self._count("metadata entries", _LEAST_PAIR)
        metadata: dict[str, Value] = {}
        digest = hashlib.sha256()
        for _ in range(n_pairs):
            key = cursor.text("a key", LONGEST_NAME)
            if key in metadata:
                raise NotGGUF(self.path, f"its header names {_shown(key)} twice")
            start = cursor.position
            metadata[key] = self._value(_shown(key))
            if key in _TOKENIZER_KEYS:
                digest.update(key.encode() + cursor.raw(start, cursor.position))
        tensors = [self._tensor() for _ in range(n_tensors)]
        placed = self._place(tensors, metadata)
        hashed = digest.hexdigest() if "tokenizer.ggml.tokens" in metadata else ""
        return Parsed(version, metadata, placed, hashed)

    def _magic(self) -> None:
        if self.cursor.size < 4:
            raise NotGGUF(self.path, f"the file has only {self.cursor.size} bytes")
        start = self.cursor.need(4, "the magic number")
        magic = self.cursor.raw(start, start + 4)
        if magic == b"GGUF":
            return
        if magic[:4] in (b"ggml", b"lmgg", b"tjgg", b"ggjt", b"fmgg"):
            raise NotGGUF(self.path, "it is in the old GGML format", "Look for a GGUF file of this model.")
        if magic[:2] == b"PK" or magic == b"\x80\x02\x8a\x0a":
            raise NotGGUF(self.path, "it is a PyTorch or zip file, not GGUF", "Look for a GGUF file of this model.")
        raise NotGGUF(self.path, "it is not a GGUF file")

    def _count(self, what: str, least: int) -> int:
        count = int(self.cursor.unpack(_U64, f"the number of {what}"))
        self.cursor.expect(count * least, f"{count:,} {what}")
        return count

    def _value(self, what: str) -> Value:
        kind = int(self.cursor.unpack(_U32, what))
        if kind == _TEXT:
            return self.cursor.text(what)
        if kind == _ARRAY:
            return self._array(what)
        return self.cursor.unpack(self._scalar(kind, what)[1], what)

    def _array(self, what: str) -> Value:
        kind = int(self.cursor.unpack(_U32, what))
        count = int(self.cursor.unpack(_U64, what))
        width = 8 if kind == _TEXT else self._scalar(kind, what)[1].size
        self.cursor.expect(count * width, f"{count:,} values of {what}")
        start = self.cursor.position
        if kind == _TEXT:
            self.cursor.skip_texts(count, what)
        else:
            self.cursor.need(count * width, what)
        array = LongArray("text" if kind == _TEXT else _SCALARS[kind][0], count, start, self.cursor.position)
        return _decode(self.cursor.raw(start, array.end), array) if count <= SMALL_ARRAY else array

    def _scalar(self, kind: int, what: str) -> tuple[str, Struct]:
        if kind not in _SCALARS:
            raise NotGGUF(self.path, f"its header gives {what} the unknown type {kind}")
        return _SCALARS[kind]

    def _tensor(self) -> TensorInfo:
        name = self.cursor.text("a tensor's name", LONGEST_NAME)
        n_dims = int(self.cursor.unpack(_U32, _shown(name)))
        if n_dims > 4:
            raise NotGGUF(self.path, f"its header gives the tensor {_shown(name)} {n_dims:,} dimensions")
        shape = tuple(int(self.cursor.unpack(_U64, _shown(name))) for _ in range(n_dims))
        kind = int(self.cursor.unpack(_U32, _shown(name)))
        offset = int(self.cursor.unpack(_U64, _shown(name)))
        if kind not in TENSOR_TYPES:
            hint = "A newer localllm may know it."
            raise NotGGUF(self.path, f"the tensor {_shown(name)} has the unknown type {kind}", hint)
        type_name, block, size = TENSOR_TYPES[kind]
        if shape and shape[0] % block:
            raise NotGGUF(self.path, f"the rows of {_shown(name)} are no multiple of {block}, as {type_name} needs")
        return TensorInfo(name, shape, type_name, math.prod(shape) // block * size, offset)

    def _place(self, tensors: list[TensorInfo], metadata: Mapping[str, Value]) -> tuple[TensorInfo, ...]:
        """Offsets from the start of the file, checked to lie inside it."""
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1) or alignment > 1 << 20:
            raise NotGGUF(self.path, "its header gives an alignment that is no power of two")
        if len({t.name for t in tensors}) < len(tensors):
            raise NotGGUF(self.path, "its header describes a tensor twice")
        start = -(-self.cursor.position // alignment) * alignment
        placed = tuple(replace(t, offset=start + t.offset) for t in tensors)
        end = max((t.offset + t.n_bytes for t in placed), default=0)
        if end > self.cursor.size:
            if end > 1 << 50:
                raise NotGGUF(self.path, f"its header claims {end:,} bytes of weights, which can't be true")
            raise NotGGUF(self.path, f"the file is cut short: {self.cursor.size:,} of {end:,} bytes")
        return placed


_TOKENIZER_KEYS = {
    "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges", "tokenizer.ggml.scores",
}  # fmt: skip


def _shown(name: str) -> str:
    """A name from the file, fit for a message of one line."""
    return "".join(c if c.isprintable() else "?" for c in name[:80])


def _decode(raw: bytes, array: LongArray) -> tuple[Scalar, ...]:
    if array.element != "text":
        letter = next(layout.format[-1] for name, layout in _SCALARS.values() if name == array.element)
        return Struct(f"<{array.count}{letter}").unpack(raw)
    texts, position = [], 0
    for _ in range(array.count):
        length = _U64.unpack_from(raw, position)[0]
        texts.append(raw[position + 8 : position + 8 + length].decode("utf-8", "replace"))
        position += 8 + length
    return tuple(texts)


def read_array(path: Path, array: LongArray) -> tuple[Scalar, ...]:
    """Decode an array that was stepped over when the header of `path` was read."""
    with Cursor(path, array.end) as cursor:
        cursor.need(array.end, "an array")
        return _decode(cursor.raw(array.start, array.end), array)
