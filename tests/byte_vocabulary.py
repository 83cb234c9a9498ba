"""Real grammars on a vocabulary of single bytes: constraints in the decode loop without weights."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localllm.engine.vocabulary import GrammarVocabulary
from tests.fake_backend import FakeBackend

END = 261
"""The end of a turn; 256 to 260 are control tokens."""

N_VOCAB = 262


class ByteVocabulary(GrammarVocabulary):
    """llguidance's own vocabulary of bytes."""

    def __init__(self) -> None:
        super().__init__(None, [END])

    def _build(self) -> Any:
        from llguidance import LLTokenizer

        return LLTokenizer("byte")


class ByteBackend(FakeBackend):
    """A backend whose logits depend on the last tokens alone, by a seed."""

    eog = frozenset({END})
    n_vocab = N_VOCAB

    def __init__(self, seed: int, likely: bytes, n_ctx: int = 4096) -> None:
        super().__init__(lambda _: 0, n_ctx=n_ctx)
        self._rows = np.zeros((self.n_outputs_max, N_VOCAB), np.float32)
        self._seed = seed
        self._likely = np.frombuffer(likely, np.uint8)

    def piece(self, token: int) -> bytes:
        return bytes([token]) if token < 256 else b""

    def _logits(self, held: list[int]) -> NDArray[np.float32]:
        rng = np.random.default_rng([self._seed, *held[-4:]])
        row = rng.standard_normal(N_VOCAB).astype(np.float32)
        row[self._likely] += 2.5
        return row


def random_schema(rng: random.Random, depth: int = 0) -> Any:
    """A schema that the decoder enforces to the letter, with required and optional parts, bounds, and free text."""
    n = rng.randrange

    def inner() -> Any:
        return random_schema(rng, depth + 1)

    kinds = ["string", "integer", "number", "boolean", "enum", "date", "pattern"]
    if depth < 3:
        kinds += ["array", "object", "map", "anyOf"] * (2 if depth == 0 else 1)
    match rng.choice(kinds):
        case "string":
            return {"type": "string", **rng.choice([{}, {}, {"minLength": n(6)}, {"maxLength": n(1, 60)}])}
        case "integer":
            return {"type": "integer", **rng.choice([{}, {"minimum": n(-9, 200)}, {"maximum": n(-9, 2000)}])}
        case "number":
            return {"type": "number"}
        case "boolean":
            return {"type": "boolean"}
        case "enum":
            return {"enum": rng.sample(["alpha", "beta", "gamma delta", 3, None, True], n(1, 4))}
        case "date":
            return {"type": "string", "format": "date"}
        case "pattern":
            return {"type": "string", "pattern": rng.choice(["^[A-Z]{2}-[0-9]{3,8}$", "^[a-z]+$", "^(ab){2,9}$"])}
        case "array":
            bounds = rng.choice([{}, {"minItems": n(1, 4)}, {"maxItems": n(1, 9)}])
            return {"type": "array", "items": inner(), **bounds}
        case "map":
            return {"type": "object", "additionalProperties": inner()}
        case "anyOf":
            return {"anyOf": [inner() for _ in range(n(1, 4))]}
        case _:
            names = rng.sample(["name", "part", "ü", "x y", "notes", "n"], n(1, 5))
            return {
                "type": "object",
                "properties": {name: inner() for name in names},
                "required": names[: n(len(names) + 1)],
                "additionalProperties": rng.random() < 0.2,
            }
