"""Fair comparison on a noisy machine: alternating pairs in one run, medians, and the spread of their ratios."""

from __future__ import annotations

import datetime
import json
import os
import platform
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Pairs:
    """Paired measurements of two ways to do the same work; larger is better."""

    name: str
    ours: tuple[float, ...]
    peer: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.ours, self.peer, strict=True) if b > 0]

    @property
    def ratio(self) -> float:
        """Median of the paired ratios."""
        return statistics.median(self.ratios)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the median ratio, by bootstrap over the pairs (seeded)."""
        rng, ratios = random.Random(0), self.ratios
        medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
        return medians[50], medians[1949]

    def row(self) -> str:
        low, high = self.interval
        ours, peer = statistics.median(self.ours), statistics.median(self.peer)
        spread = f"{self.ratio:5.3f}  [{low:.3f}, {high:.3f}]  n={len(self.ours)}"
        return f"{self.name:<44} {ours:>9.1f} {peer:>9.1f}   {spread}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio, "interval": self.interval}


HEADER = f"{'':<44} {'ours':>9} {'peer':>9}   ratio  95 % interval"


def alternate(name: str, ours: Callable[[], float], peer: Callable[[], float], n: int) -> Pairs:
    """Run both once to warm up, then `n` pairs in ABBA order."""
    ours(), peer()
    a: list[float] = []
    b: list[float] = []
    for i in range(n):
        if i % 2:
            b.append(peer())
            a.append(ours())
        else:
            a.append(ours())
            b.append(peer())
    return Pairs(name, tuple(a), tuple(b))


def machine() -> dict[str, Any]:
    """What a reader needs to judge the figures."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor()
    versions = {}
    for package in ("localllm", "llama-cpp-python", "numpy", "textual", "llguidance"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def write(name: str, results: Sequence[Any]) -> Path:
    """Write ``bench/results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    rows = [r.as_json() if isinstance(r, Pairs) else r for r in results]
    path.write_text(json.dumps({"machine": machine(), "results": rows}, indent=1, default=str), "utf-8")
    print(f"wrote {path.relative_to(RESULTS.parent.parent)}")
    return path
