"""Rows of the public collections that LOCALLLM_BENCH_DATA holds."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read(path: Path) -> Iterable[Any]:
    """The rows of a ``.jsonl.gz`` file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)
