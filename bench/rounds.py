"""Rounds of the speculation benchmark on disk, one JSON line each, and the cells that they add up to.

A round is one prompt answered by every contestant, one after the other. Cells grow by rounds, in as many runs of the
program as the machine has quiet minutes for.
"""

from __future__ import annotations

import json
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Key = tuple[int, str, str, str]
"""Layers of the target, quantization, draft, workload."""


@dataclass
class Cell:
    """All rounds of one workload with one target and draft."""

    key: Key
    rounds: list[dict[str, Any]] = field(default_factory=list)

    def ratios(self, ours: str, other: str) -> list[float]:
        """Paired ratios of the rounds in which both took part."""
        rates = [r["rates"] for r in self.rounds]
        return [r[ours] / r[other] for r in rates if r.get(ours, 0) > 0 and r.get(other, 0) > 0]

    @property
    def plain(self) -> list[float]:
        """Ratios of our speculation to our plain decoding."""
        return self.ratios("auto", "plain")

    @property
    def peers(self) -> list[str]:
        """Names of the peers measured."""
        return list(dict.fromkeys(name for r in self.rounds for name in r["rates"] if name not in ("auto", "plain")))

    def same_text(self, peer: str) -> str:
        """In how many rounds a peer wrote what our plain decoding did."""
        same = [r["peers_same"][peer] for r in self.rounds if peer in r.get("peers_same", {})]
        return f"  same text {sum(same)}/{len(same)}" if same else ""

    def rate(self, name: str) -> float:
        """Median tokens per second of a contestant."""
        return float(statistics.median(r["rates"][name] for r in self.rounds if name in r["rates"]))

    def total(self, fact: str) -> float:
        """Sum of a fact over the rounds."""
        return float(sum(r["facts"][fact] for r in self.rounds))

    @property
    def acceptance(self) -> float | None:
        """Accepted of drafted tokens."""
        drafted = self.total("drafted")
        return self.total("accepted") / drafted if drafted else None

    @property
    def lengths(self) -> Counter[int]:
        """Steps by the length drafted, 0 included."""
        count: Counter[int] = Counter()
        for r in self.rounds:
            count.update({int(k): v for k, v in r["facts"]["lengths"].items()})
        return count

    @property
    def mean_length(self) -> float:
        """Of the drafts that were sent."""
        sent = {k: v for k, v in self.lengths.items() if k}
        return sum(k * v for k, v in sent.items()) / sum(sent.values()) if sent else 0.0

    @property
    def ledger_loss(self) -> float:
        """Net loss by the ledger over tokens; negative where it gained."""
        return self.total("ledger") / max(self.total("ledger_tokens"), 1)

    @property
    def copied(self) -> float:
        """Share of the plain answer's tokens that continue the prompt."""
        return statistics.fmean(r["copied"] for r in self.rounds)


def interval(ratios: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the median, by bootstrap (seeded)."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[50], medians[1949]


class Results:
    """The file of rounds.

    Args:
        path: Appended to, line by line; a line that was cut short is left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cells: dict[Key, Cell] = {}
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                try:
                    self._take(json.loads(line))
                except (ValueError, KeyError):
                    continue

    def count(self, key: Key, contestants: Sequence[str]) -> int:
        """Rounds of this cell in which all of these took part."""
        cell = self.cells.get(key)
        return sum(all(c in r["rates"] for c in contestants) for r in cell.rounds) if cell is not None else 0

    def add(self, key: Key, round_: dict[str, Any]) -> None:
        """Append a round."""
        round_ = {"key": list(key), **round_}
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(round_) + "\n")
        self._take(round_)

    def _take(self, round_: dict[str, Any]) -> None:
        layers, quant, draft, workload = round_["key"]
        key = (int(layers), str(quant), str(draft), str(workload))
        self.cells.setdefault(key, Cell(key)).rounds.append(round_)


def show(cells: Sequence[Cell]) -> None:
    """Print a row for each cell, its peers below it, and what they add up to."""
    for cell in cells:
        layers, quant, draft, workload = cell.key
        acceptance = f"{cell.acceptance:.0%}" if cell.acceptance is not None else "-"
        low, high = interval(cell.plain)
        print(
            f"{layers:>4} {quant:<6} {draft:<8} {workload:<10} n={len(cell.plain):<3} {cell.rate('plain'):6.1f} -> "
            f"{cell.rate('auto'):6.1f} t/s  x{statistics.median(cell.plain):5.3f} [{low:.3f}, {high:.3f}]  "
            f"accepted {acceptance:>4}  length {cell.mean_length:4.1f}  ledger {cell.ledger_loss:+.2%}  "
            f"copied {cell.copied:.0%}"
        )
        for name in cell.peers:
            ratios = cell.ratios("auto", name)
            low, high = interval(ratios)
            print(
                f"{'':<21}{name:<38} {cell.rate(name):6.1f} t/s  ours x{statistics.median(ratios):5.3f} "
                f"[{low:.3f}, {high:.3f}]  plain x{statistics.median(cell.ratios('plain', name)):5.3f}"
                f"{cell.same_text(name)}"
            )
    if cells:
        mean = statistics.geometric_mean([statistics.median(c.plain) for c in cells])
        worst = max(c.ledger_loss for c in cells)
        below = [c.key for c in cells if interval(c.plain)[1] < 0.97]
        print(f"geometric mean of {len(cells)} ratios to plain: {mean:.3f}; largest ledger loss {worst:+.2%}; "
              f"intervals wholly below 0.97: {len(below)}")  # fmt: skip
        for cell in cells:
            if cell.key[2] == "perfect":
                print(f"lengths, {cell.key[0]} {cell.key[1]} perfect {cell.key[3]}: " + ", ".join(
                    f"{k}: {v}" for k, v in sorted(cell.lengths.items())))  # fmt: skip
