"""Tokens per second in the app against `localllm ask`, on the same prompts, in alternating pairs.

    python -m bench.app [--pairs 6] [--prompts prose] [--tokens 300] [--as-shipped]

The app runs in a pseudo-terminal of 110 columns and 32 rows, is typed at, and is read as a terminal would read it;
`ask` writes into a pipe and draws nothing. Each run is a process of its own with a model of its own, at temperature 0,
so that both write the same text; both figures come from the engine's own last event. A worker decides when it starts,
by what else runs at that instant, how many threads it uses and how they wait, and a factor of three hangs on that: both
sides are told instead, unless `--as-shipped` is given. Not for Windows.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.pairs import HEADER, Pairs, machine, write
from localllm.engine.threads import physical_cores
from localllm.events import Stats
from localllm.history import History, MessageState

COLUMNS, ROWS = 110, 32
PATIENCE = 120.0
"""Seconds for one step."""
PROMPTS = {
    "prose": "Write a very long story about a dragon and the sea.",
    "code": "Write a long Python program that manages the books of a library, with many functions.",
}


@dataclass(frozen=True)
class Run:
    """One answer."""

    speed: float
    """Tokens per second after the first."""
    n_tokens: int
    cpu: float
    """CPU seconds of the asking process while the answer was written; 0 where that was not seen."""
    seconds: float
    """From the first token to the last."""
    text: str


def asked(prompt: str, environ: dict[str, str]) -> Run:
    """One answer of `localllm ask`."""
    command = [sys.executable, "-m", "localllm_tui", "ask", "--json", "--temporary", prompt]
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    speed, n = answer["timing"]["decode_tokens_per_second"], answer["usage"]["completion_tokens"]
    return Run(speed, n, 0.0, (n - 1) / speed, answer["text"])


def typed(prompt: str, environ: dict[str, str], home: Path) -> Run:
    """One answer in the app, which knows no chat yet."""
    for path in home.glob("history.db*"):
        path.unlink()
    with app(environ) as (pid, terminal):
        read_until(terminal, lambda seen: b"is ready." in seen)
        rest(terminal, 1.0)
        with History(home / "history.db") as history:
            os.write(terminal, prompt.encode())
            rest(terminal, 0.3)
            before = cpu_seconds(pid)
            os.write(terminal, b"\r")
            stats, text = Stats(), ""

            def answered(_: bytes) -> bool:
                nonlocal stats, text
                for chat in history.chats():
                    last = history.path(chat.id)[-1:]
                    if last and last[0].state is not MessageState.STREAMING and last[0].stats is not None:
                        stats, text = last[0].stats, last[0].content
                        return True
                return False

            read_until(terminal, answered, every=1.0)  # looking takes time from the engine, too
            cpu = cpu_seconds(pid) - before
        rest(terminal, 0.5)
        os.write(terminal, b"\x11")
    return Run(stats.decode_tokens_per_second, stats.completion_tokens, cpu, stats.decode_seconds, text)


@contextmanager
def app(environ: dict[str, str]) -> Iterator[tuple[int, int]]:
    """The app in a terminal: its process, and what stands for the terminal's screen and keys."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.execve(sys.executable, [sys.executable, "-m", "localllm_tui"], environ)
    try:
        yield pid, terminal
        read_until(terminal, lambda _: os.waitpid(pid, os.WNOHANG)[0] != 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(terminal)


def read_until(terminal: int, true: Callable[[bytes], bool], every: float = 0.2) -> None:
    """Take what the app draws until `true(everything drawn lately)` holds, which is asked every so many seconds."""
    seen, end, next_look = b"", time.monotonic() + PATIENCE, 0.0
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 0.1)
        if ready:
            try:
                seen = (seen + os.read(terminal, 1 << 16))[-(1 << 16) :]
            except OSError:  # the other end is closed
                time.sleep(0.05)
        if time.monotonic() >= next_look:
            if true(seen):
                return
            next_look = time.monotonic() + every
    raise TimeoutError("the app did not get there")


def rest(terminal: int, seconds: float) -> None:
    """Take what the app draws for a while."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            os.read(terminal, 1 << 16)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far; 0 where the system doesn't tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--prompts", default="prose")
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--as-shipped", action="store_true", help="the worker decides about its threads")
    parser.add_argument("--name", default="app", help="the file of results")
    options = parser.parse_args()
    results: list[Pairs | dict[str, object]] = [
        {"machine": machine(), "tokens": options.tokens, "as_shipped": options.as_shipped}
    ]
    print(HEADER.replace(" ours", "  app").replace("peer", " ask"))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o700)
        # Without drafts: the controller weighs them by the clock, and would decide otherwise from run to run.
        settings = f'temperature = 0.0\nmax_tokens = {options.tokens}\ndraft = "none"\n'
        if not options.as_shipped:
            settings += f"threads = {physical_cores()}\n"
        (home / "config.toml").write_text(settings, "utf-8")
        environ = {k: v for k, v in os.environ.items() if not k.startswith("LOCALLLM_")}
        environ |= {"LOCALLLM_HOME": str(home), "TERM": "xterm-256color"}
        if not options.as_shipped:
            environ["OMP_WAIT_POLICY"] = "active"
        asked(PROMPTS["prose"], environ)  # measures the machine, fills the caches
        for name in options.prompts.split(","):
            runs: list[tuple[Run, Run]] = []
            for n in range(options.pairs):
                if n % 2:
                    peer = asked(PROMPTS[name], environ)
                    runs.append((typed(PROMPTS[name], environ, home), peer))
                else:
                    ours = typed(PROMPTS[name], environ, home)
                    runs.append((ours, asked(PROMPTS[name], environ)))
            pairs = Pairs(f"{name}, tokens/s", tuple(a.speed for a, _ in runs), tuple(b.speed for _, b in runs))
            shares = [a.cpu / a.seconds for a, _ in runs if a.seconds]
            same = sum(a.text == b.text for a, b in runs)
            print(
                f"{pairs.row()}   {runs[0][0].n_tokens} tokens, the app's own CPU {statistics.median(shares):.1%} of a"
                f" core, same text {same} of {len(runs)}",
                flush=True,
            )
            results += [pairs, {"cpu_share": shares, "tokens": [a.n_tokens for a, _ in runs], "same_text": same}]
    write(options.name, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
