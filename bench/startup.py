"""How fast the command line starts: `localllm --help` against a bare `python -c "import click"`, in alternating pairs.

    python bench/startup.py [PAIRS]

Prints a table, writes bench/results/startup.json. The target is a ratio of at most 1.5.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "import click": [sys.executable, "-c", "import click"],
    "localllm --help": [sys.executable, "-m", "localllm_tui", "--help"],
    "localllm chats list": [sys.executable, "-m", "localllm_tui", "chats", "list"],
}


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 31
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for name, command in COMMANDS.items():
        seconds(command)  # fill the caches
        assert times[name] == []
    for n in range(pairs):
        order = list(COMMANDS) if n % 2 else list(reversed(COMMANDS))
        for name in order:
            times[name].append(seconds(COMMANDS[name]))
    base = times["import click"]
    rows = []
    for name, values in times.items():
        ratios = sorted(v / b for v, b in zip(values, base, strict=True))
        rows.append(
            {
                "command": name,
                "median_ms": 1000 * statistics.median(values),
                "ratio": statistics.median(ratios),
                "ratio_low": ratios[len(ratios) // 4],
                "ratio_high": ratios[-1 - len(ratios) // 4],
            }
        )
    print(f"{'command':<22} {'median ms':>10} {'ratio':>7}   middle half")
    for row in rows:
        print(
            f"{row['command']:<22} {row['median_ms']:>10.1f} {row['ratio']:>7.2f}   "
            f"{row['ratio_low']:.2f} to {row['ratio_high']:.2f}"
        )
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    record = {"python": platform.python_version(), "machine": platform.machine(), "pairs": pairs, "rows": rows}
    (results / "startup.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
