"""Imports point one way: the picture in docs/architecture.md, checked over the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Each room may import the rooms listed, and itself. `engine.protocol` is open to rag, rules and prompt.
BOTTOM = {"counted", "errors", "events", "settings"}
ALLOWED: dict[str, set[str]] = {
    "counted": set(),
    "errors": set(),
    "events": set(),
    "settings": {"errors"},
    "llama": BOTTOM,
    "models": BOTTOM | {"llama"},
    "engine": BOTTOM | {"llama", "models"},
    "prompt": BOTTOM | {"engine.protocol"},
    "rag": BOTTOM | {"engine.protocol", "models"},
    "rules": BOTTOM | {"engine.protocol"},
    "history": BOTTOM,
    "presets": BOTTOM | {"history"},
    "assistant": BOTTOM | {"prompt", "engine", "rag", "rules", "models", "history"},
    "open": BOTTOM | {"assistant", "prompt", "engine", "rag", "rules", "models", "history"},
    "server": BOTTOM | {"open", "assistant", "prompt", "engine", "rag", "rules", "models", "history"},
    "cli": BOTTOM
    | {"open", "assistant", "server", "prompt", "engine", "rag", "rules", "models", "history", "presets", "llama"},
}
FOREIGN = {"textual", "rich", "localllm_tui"}


def modules() -> list[Path]:
    return sorted((ROOT / "localllm").rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT / "localllm").parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_each_room_imports_only_rooms_below_it(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] not in FOREIGN, f"{path.name} imports the screen: {name}"
        if parts[0] == "llama_cpp":
            assert here == "llama", f"only localllm/llama may import llama_cpp, not {path}"
        if parts[0] != "localllm" or len(parts) == 1 or parts[1] == here or parts[1] == "__version__":
            continue
        allowed = ALLOWED[here]
        assert parts[1] in allowed or ".".join(parts[1:3]) in allowed, f"{path} must not import {name}"
