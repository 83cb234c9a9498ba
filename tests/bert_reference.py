"""BERT as its papers describe it: WordPiece and the forward pass in plain numpy, to check converted models against."""

from __future__ import annotations

import json
import math
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localllm.models.safetensors import read_safetensors

Array = NDArray[np.float32]


def split_words(text: str) -> list[str]:
    """Lower case, accents stripped, split at white space, punctuation and Chinese characters."""
    text = unicodedata.normalize("NFD", text.lower())
    words, current = [], ""
    for c in text:
        category = unicodedata.category(c)
        if category == "Mn" or (category.startswith("C") and c not in "\t\n\r"):
            continue
        ascii_symbol = ord(c) < 128 and not c.isalnum() and not c.isspace()
        alone = ascii_symbol or category.startswith("P") or 0x4E00 <= ord(c) <= 0x9FFF
        if c.isspace() or alone:
            words += [current] if current else []
            words += [c] if alone else []
            current = ""
        else:
            current += c
    return words + ([current] if current else [])


_GRID = np.linspace(-6, 6, 60_001)
_ERF = np.array([math.erf(x) for x in _GRID])


def erf(x: Array) -> Array:
    """The error function, to 1e-8, by interpolation between exact values."""
    return np.asarray(np.interp(x, _GRID, _ERF), np.float32)


class Reference:
    """A sentence embedder: mean pooling over all tokens, unit length."""

    def __init__(self, folder: Path) -> None:
        self.weights = read_safetensors(folder / "model.safetensors")
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
        self.ids = {t: i for i, t in enumerate((folder / "vocab.txt").read_text("utf-8").split("\n")) if t}

    def tokenize(self, text: str) -> list[int]:
        """Token ids with [CLS] and [SEP]."""
        ids = [self.ids["[CLS]"]]
        for word in split_words(text):
            start, pieces = 0, []
            while start < len(word):
                ends = range(len(word), start, -1)
                found = [e for e in ends if ("##" if start else "") + word[start:e] in self.ids]
                if not found or len(word) > 100:
                    pieces = [self.ids["[UNK]"]]
                    break
                pieces.append(self.ids[("##" if start else "") + word[start : found[0]]])
                start = found[0]
            ids += pieces
        return [*ids, self.ids["[SEP]"]]

    def embed(self, text: str) -> Array:
        """The vector of one text."""
        mean = self.hidden(self.tokenize(text)).mean(0)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)

    def hidden(self, ids: list[int]) -> Array:
        """The last layer's states, one row per token."""
        w = self.weights
        heads = self.config["num_attention_heads"]
        x = (
            w["embeddings.word_embeddings.weight"][ids]
            + w["embeddings.position_embeddings.weight"][: len(ids)]
            + w["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._norm(x, "embeddings.LayerNorm")
        for i in range(self.config["num_hidden_layers"]):
            layer = f"encoder.layer.{i}."
            q, k, v = (
                self._linear(x, f"{layer}attention.self.{n}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
                for n in ("query", "key", "value")
            )
            scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            attended = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(x.shape)
            x = self._norm(
                x + self._linear(attended, f"{layer}attention.output.dense"), f"{layer}attention.output.LayerNorm"
            )
            inner = self._linear(x, f"{layer}intermediate.dense")
            inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
            x = self._norm(x + self._linear(inner, f"{layer}output.dense"), f"{layer}output.LayerNorm")
        return x

    def _linear(self, x: Array, name: str) -> Array:
        return np.asarray(x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"])

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.config["layer_norm_eps"])
        return np.asarray(scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"])
