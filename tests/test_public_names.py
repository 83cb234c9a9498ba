"""The public names: complete, sorted, importable, and free until they are used."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import localllm
from tests.models import CHAT, need


def test_all_is_sorted_and_without_doubles() -> None:
    assert localllm.__all__ == sorted(set(localllm.__all__))


@pytest.mark.parametrize("name", localllm.__all__)
def test_every_public_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    value = getattr(localllm, name)
    if isinstance(value, type) or callable(value):
        assert (value.__doc__ or "").strip()


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(localllm.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    names = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(names) == localllm.__all__


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="telepathy"):
        _ = localllm.telepathy
    assert set(localllm.__all__) <= set(dir(localllm))


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    code = "import sys, localllm; print([m for m in sys.modules if m.startswith('localllm.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_is_that_of_the_changelog_and_the_project() -> None:
    root = Path(localllm.__file__).parent.parent
    assert f'version = "{localllm.__version__}"' in (root / "pyproject.toml").read_text("utf-8")


@pytest.mark.model
def test_the_example_of_the_package_runs(tmp_path: Path) -> None:
    need(CHAT)
    lines = (localllm.__doc__ or "").splitlines()
    code = "\n".join(line[4:] for line in lines if line.startswith("    ") or not line.strip())
    assert "open_assistant" in code and len(code.strip().splitlines()) <= 15
    env = {**os.environ, "LOCALLLM_HOME": str(tmp_path), "LOCALLLM_DRAFT": "none"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0 and done.stderr == "" and "sky" in done.stdout
