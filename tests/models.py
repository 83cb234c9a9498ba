"""Where the starter models are, and a visible skip where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.models.catalog import STARTER_EMBEDDERS

FOLDER = Path(__file__).parent.parent / "models"
CHAT = FOLDER / "SmolLM2-135M-Instruct.Q4_1.gguf"
_EMBEDDERS = [FOLDER / name for name in STARTER_EMBEDDERS]
EMBEDDER = next((path for path in _EMBEDDERS if path.exists()), _EMBEDDERS[0])
"""The starter embedder, in whatever type it is here."""


def need(*paths: Path) -> None:
    """Skip where a model is missing."""
    for path in paths:
        if not path.exists():
            pytest.skip(f"{path.name} is missing; `make starter` gets it")
