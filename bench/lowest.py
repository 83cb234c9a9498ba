"""Prints the lower bound of every dependency as a pin: `pip install $(python bench/lowest.py)` makes the oldest
environment that localllm promises to work in. `make test-lowest` runs the tests in it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
print(" ".join(re.sub(r">=([^,]+).*", r"==\1", dependency) for dependency in project["dependencies"]))
