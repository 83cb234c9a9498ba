"""Where the starter models are, and a visible skip where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "models"
CHAT = FOLDER / "SmolLM2-135M-Instruct.Q4_1.gguf"
EMBEDDER = FOLDER / "all-MiniLM-L6-v2.F16.gguf"


def need(*paths: Path) -> None:
    """Skip where a model is missing."""
    for path in paths:
        if not path.exists():
            pytest.skip(f"{path.name} is missing; `make starter` gets it")
