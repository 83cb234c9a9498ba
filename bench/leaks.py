"""Does anything grow? 200 turns in one worker, 50 model switches and 50 worker restarts: memory and file descriptors.

python -m bench.leaks [--turns 200] [--switches 50] [--restarts 50]
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from pathlib import Path

from bench.memory import children
from bench.pairs import write
from bench.plot import line_chart
from localllm.engine import measure
from localllm.engine.client import start_engine
from localllm.engine.protocol import EngineSpec, Request, Sampling
from localllm.errors import EngineDied
from localllm.events import Message, Role
from localllm.settings import Paths

ROOT = Path(__file__).parent.parent


def resident(pid: int) -> float:
    """Resident memory in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--switches", type=int, default=50)
    parser.add_argument("--restarts", type=int, default=50)
    options = parser.parse_args()
    me = os.getpid()
    rows: dict[str, list[tuple[float, float]]] = {"worker, turns": [], "client, switches": [], "client, restarts": []}
    fds: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        paths = Paths(home, home / "config.toml", ROOT)
        spec = EngineSpec(options.model, n_ctx=2048)

        def ask(engine: object, i: int) -> None:
            message = Message(Role.USER, f"Say something about {measure.words(3, i)}.")
            request = Request((message,), max_tokens=24, sampling=Sampling(temperature=0.8, seed=i))
            measure.answer(engine, request)  # type: ignore[arg-type]

        engine = start_engine(spec, paths)
        for i in range(options.turns):
            ask(engine, i)
            worker = children()[0]
            rows["worker, turns"].append((i, resident(worker)))
            fds["worker, turns"].append((i, descriptors(worker)))
        engine.close()
        for i in range(options.switches):
            engine = start_engine(EngineSpec(options.model, n_ctx=1024 + 256 * (i % 4)), paths)
            ask(engine, i)
            engine.close()
            rows["client, switches"].append((i, resident(me)))
            fds["client, switches"].append((i, descriptors(me)))
        engine = start_engine(spec, paths)
        for i in range(options.restarts):
            os.kill(children()[0], signal.SIGKILL)
            for _ in range(100):
                try:
                    ask(engine, i)
                    break
                except EngineDied:
                    time.sleep(0.05)
            rows["client, restarts"].append((i, resident(me)))
            fds["client, restarts"].append((i, descriptors(me)))
        engine.close()
        left = children()
    for name, line in rows.items():
        half = len(line) // 2
        middle, end = line[half][1], line[-1][1]
        print(
            f"{name:<18} {line[0][1]:7.1f} MB at first, {middle:7.1f} half way, {end:7.1f} at the end "
            f"({end - middle:+.1f} MB in the second half); descriptors {fds[name][0][1]:.0f} to {fds[name][-1][1]:.0f}"
        )
    print(f"workers left behind: {len(left)}")
    line_chart(ROOT / "docs" / "images" / "leaks.svg", "Resident memory over the soak", "turn", "MB", rows)
    write("leaks", [{"memory": rows, "descriptors": fds, "left": len(left)}])


if __name__ == "__main__":
    main()
