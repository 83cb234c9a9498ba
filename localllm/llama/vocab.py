"""Vocab: text to token ids and back."""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import Any

from localllm.llama._api import C, quick

_CONTROL = C.LLAMA_TOKEN_ATTR_CONTROL | C.LLAMA_TOKEN_ATTR_UNKNOWN


class Vocab:
    """The vocabulary of one loaded model; valid as long as the model is."""

    def __init__(self, pointer: Any) -> None:
        self._pointer = self.pointer = pointer
        self.n_tokens: int = C.llama_vocab_n_tokens(pointer)
        self.type: int = C.llama_vocab_type(pointer)
        self.add_bos: bool = C.llama_vocab_get_add_bos(pointer)
        self.add_eos: bool = C.llama_vocab_get_add_eos(pointer)
        self.bos: int = C.llama_vocab_bos(pointer)
        self.eos: int = C.llama_vocab_eos(pointer)
        self.eot: int = C.llama_vocab_eot(pointer)
        self.add_sep: bool = C.llama_vocab_get_add_sep(pointer)
        self.sep: int = C.llama_vocab_sep(pointer)
        """Ids of special tokens are -1 where the vocabulary has none."""
        self._pieces: dict[int, bytes] = {}
        self._buffer = ctypes.create_string_buffer(256)

    def tokenize(self, text: str | bytes, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Token ids of `text`.

        Args:
            text: What to cut; lone surrogates become U+FFFD.
            add_special: Add BOS and EOS where the model wants them.
            parse_special: Read ``<|im_end|>`` and the like as control tokens; otherwise they are plain text.
        """
        data = text.encode("utf-8", "replace") if isinstance(text, str) else text
        room = len(data) + 8
        while True:
            buffer = (C.llama_token * room)()
            n = C.llama_tokenize(self._pointer, data, len(data), buffer, room, add_special, parse_special)
            if n >= 0:
                ids: list[int] = buffer[:n]
                return ids
            room = -n

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; control tokens stand for none. Part of a character is possible."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._read_piece(token, special=False)
        return piece

    def text(self, token: int) -> str:
        """How a token is written, control tokens included, for people and for templates."""
        return self._read_piece(token, special=True).decode("utf-8", "replace")

    def _read_piece(self, token: int, *, special: bool) -> bytes:
        if not 0 <= token < self.n_tokens:
            return b""
        while True:
            size = len(self._buffer)
            n = quick.token_to_piece(self._pointer, token, self._buffer, size, 0, special)
            if n >= 0:
                return self._buffer.raw[:n]
            self._buffer = ctypes.create_string_buffer(-n)  # some pieces are longer than any fixed buffer

    @cached_property
    def eog(self) -> frozenset[int]:
        """Tokens that end a turn."""
        return frozenset(t for t in range(self.n_tokens) if quick.is_eog(self._pointer, t))

    @cached_property
    def control(self) -> dict[str, int]:
        """Control tokens by their written form, the longest first."""
        found = {}
        for token in range(self.n_tokens):
            if quick.get_attr(self._pointer, token) & _CONTROL and (text := self.text(token)):
                found[text] = token
        return dict(sorted(found.items(), key=lambda item: -len(item[0])))

    def raw_text(self, token: int) -> str:
        """The token as the file spells it (``Ġthe``, ``##ing``), for word-piece arithmetic and comparisons."""
        text = C.llama_vocab_get_text(self._pointer, token)
        return text.decode("utf-8", "replace") if text else ""
