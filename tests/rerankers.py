"""A small reranker with random weights: a real GGUF file, and the same arithmetic in numpy to check it against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from localllm.models import convert
from tests.bert_reference import Array, Reference
from tests.test_convert_embedder import ORIGIN, tiny_checkpoint


class ReferenceReranker:
    """BERT with a classifier on the first token.

    Args:
        folder: Gets the checkpoint and `reranker.gguf`.
        n_outputs: One number, or one per label.
        template: How question and passage are put; empty puts separators between them.
    """

    def __init__(self, folder: Path, n_outputs: int = 1, template: str = "") -> None:
        self.path = folder / "reranker.gguf"
        self.bert = Reference(tiny_checkpoint(folder))
        random = np.random.default_rng(11)
        dim = self.bert.config["hidden_size"]
        shapes: dict[str, tuple[int, ...]] = {
            "cls.weight": (dim, dim), "cls.bias": (dim,), "cls.output.weight": (n_outputs, dim),
            "cls.output.bias": (n_outputs,),
        }  # fmt: skip
        self.head: dict[str, Array] = {n: random.normal(0, 0.2, s).astype(np.float32) for n, s in shapes.items()}
        self._write(folder, n_outputs, template)

    def _write(self, folder: Path, n_outputs: int, template: str) -> None:
        rename, add_metadata = convert._rename, convert._add_metadata

        def with_head(*arguments: Any) -> dict[str, Array]:
            return {**rename(*arguments), **self.head}

        def with_labels(writer: gguf.GGUFWriter, *rest: Any) -> None:
            add_metadata(writer, *rest)
            if n_outputs > 1:
                writer.add_array("bert.classifier.output_labels", [f"label{i}" for i in range(n_outputs)])
            if template:
                writer.add_string("tokenizer.chat_template.rerank", template)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convert, "_rename", with_head)
            patch.setattr(convert, "_add_metadata", with_labels)
            patch.setattr(convert, "_pooling", lambda _: gguf.PoolingType.RANK)
            convert.convert_embedder(folder, self.path, ORIGIN, "F32")

    def outputs(self, ids: list[int]) -> Array:
        """What the classifier says of these tokens."""
        first = self.bert.hidden(ids)[0]
        inner = np.tanh(self.head["cls.weight"] @ first + self.head["cls.bias"])
        return np.asarray(self.head["cls.output.weight"] @ inner + self.head["cls.output.bias"])

    def score(self, query: str, text: str, room: int = 96) -> float:
        """Relevance, 0 to 1, of a pair that is read as [CLS] query [SEP] text [SEP], cut to `room` tokens."""
        start, *asked, end = self.bert.tokenize(query)
        said = self.bert.tokenize(text)[1:-1][: room - len(asked) - 3]
        return float(1 / (1 + np.exp(-self.outputs([start, *asked, end, *said, end])[0])))
