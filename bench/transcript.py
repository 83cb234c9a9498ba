"""The transcript against stock Markdown widgets, and an answer that streams through the whole app.

    python -m bench.transcript [--messages 60] [--rounds 3]

Times of mounting, of a change of focus, of a theme and of a size are CPU seconds of the thread that draws, both sides
in the same process and in turn. Streaming is wall time: 800 tokens at 200 tokens/s through a scripted engine, with the
longest gap of a ticker that runs beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.widgets import Markdown

from bench.pairs import RESULTS, machine
from bench.plot import line_chart
from localllm.events import Role
from localllm.history import MessageState, StoredMessage
from localllm_tui.themes import OWN, with_markdown_colours
from localllm_tui.widgets.transcript import Transcript

IMAGES = RESULTS.parent.parent / "docs" / "images"

RICH = """## Part {n}

A paragraph with **bold**, *italic* and `code`, long enough to be wrapped over two or three rows of the screen at 100
columns, as most paragraphs of an answer are.

1. The first point, with a [link](https://example.org/{n}).
2. The second point
   - a nested one
   - another one
3. The third point

```python
def part_{n}(x: int) -> int:
    return x * {n} + 1
```

| Name | Value | Remark |
|---|---:|---|
| alpha | {n} | short |
| beta | 2 | a remark that is somewhat longer than the others |
"""


def rich_message(n: int) -> str:
    """Markdown with a heading, a paragraph, a list, code and a table."""
    return RICH.replace("{n}", str(n))


class _Stage(App[None]):
    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self.texts = texts
        self.animation_level = "none"
        for theme in OWN:
            self.register_theme(theme)
        self.theme = OWN[0].name

    def get_css_variables(self) -> dict[str, str]:
        return with_markdown_colours(super().get_css_variables())

    async def fill(self) -> None:
        raise NotImplementedError


class Ours(_Stage):
    """The app's transcript."""

    CSS = "#transcript { height: 1fr; } .message { height: auto; margin: 0 0 1 0; }"

    def compose(self) -> ComposeResult:
        yield Transcript()

    async def fill(self) -> None:
        messages = [
            (StoredMessage(n, 1, n - 1 or None, Role.ASSISTANT, text, MessageState.COMPLETE, 0.0), (1, 1))
            for n, text in enumerate(self.texts, 1)
        ]
        await self.query_one(Transcript).fill(messages)


class Stock(_Stage):
    """One Markdown widget per message."""

    def compose(self) -> ComposeResult:
        yield VerticalScroll()

    async def fill(self) -> None:
        await self.query_one(VerticalScroll).mount_all([Markdown(text) for text in self.texts])


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one side, and its widgets."""

    widgets: int
    mount: float
    focus: float
    """Focus of the terminal lost and gained."""
    theme: float
    resize: float


async def cost(make: Callable[[list[str]], _Stage], n: int) -> Cost:
    """Mount `n` rich messages and do what a terminal does to them."""
    app = make([rich_message(k) for k in range(1, n + 1)])
    gc.collect()
    gc.freeze()  # what the process held before is not part of the cost: a full collection would fall on one of the two
    try:
        return await _costs(app)
    finally:
        gc.unfreeze()


async def _costs(app: _Stage) -> Cost:
    async with app.run_test(size=(100, 40)) as pilot:
        mount = await _cpu(pilot, app.fill)
        widgets = sum(1 for _ in app.screen.walk_children()) - 1

        async def focus() -> None:
            for value in (False, True):
                app.app_focus = value
                await pilot.pause()

        async def theme() -> None:
            app.theme = OWN[1].name

        async def resize() -> None:
            await pilot.resize_terminal(90, 40)

        return Cost(widgets, mount, await _cpu(pilot, focus), await _cpu(pilot, theme), await _cpu(pilot, resize))


async def _cpu(pilot: Pilot[None], act: Callable[[], Awaitable[None]]) -> float:
    await pilot.pause()
    started = time.thread_time()
    await act()
    await pilot.pause()
    await pilot.pause()
    return time.thread_time() - started


# ---- streaming ------------------------------------------------------------------------------------------------------

N_TOKENS, RATE, CHARACTERS = 800, 200.0, 4


def long_answers() -> dict[str, str]:
    """One block of 800 tokens of four characters each, per kind: what is hardest to stream."""
    size = N_TOKENS * CHARACTERS
    prose = "Water that stands still for long enough grows clear, and one can see the ground. "
    return {
        "prose": (prose * 60)[:size],
        "list": "".join(f"- point {n} says a little more than its number\n" for n in range(100))[:size],
        "table": ("| a | b | c |\n|---|---|---|\n" + "".join(f"| {n} | value {n} | words |\n" for n in range(200)))[
            :size
        ],
        "fence": ("```python\n" + "".join(f"value_{n} = compute({n}, x)\n" for n in range(200)))[: size - 4] + "\n```",
    }


@dataclass(frozen=True)
class Streamed:
    """One answer through the app."""

    wall: float
    """Seconds from the start of the turn to the end on the screen."""
    ideal: float
    """Seconds that the engine alone takes, measured in the same run."""
    cpu: float
    """CPU seconds of the thread that draws."""
    worst_stall: float
    """Longest time that the loop answered nothing else, in seconds."""
    worst_cpu_stall: float
    """The most CPU time that the loop spent in one go: what the stall would be on a machine with nothing else to do."""
    stalls: tuple[float, ...]
    lost: bool
    """The screen does not hold what the engine said."""


async def streamed(text: str) -> Streamed:
    """Stream a text through the app on a scripted engine."""
    from localllm.engine.protocol import Request
    from localllm.events import Message
    from tests.fakes import FakeEngine
    from tests.tui import opened

    pause = 1 / RATE
    alone = FakeEngine([text], seconds_per_token=pause, chunk=CHARACTERS, n_ctx=1 << 16)
    began = time.perf_counter()
    for _ in alone.stream(Request(messages=(Message(Role.USER, "Go."),))):
        pass
    ideal = time.perf_counter() - began
    engine = FakeEngine([text], seconds_per_token=pause, chunk=CHARACTERS, n_ctx=1 << 16)
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder), engine, size=(100, 40)) as here:
            gaps: list[tuple[float, float]] = []
            ticker = asyncio.create_task(_tick(gaps))
            here.screen.prompt.put("Go.")
            await here.pilot.press("enter")
            started, cpu = time.perf_counter(), time.thread_time()
            await _until(lambda: here.screen.turn is None and len(here.screen.transcript.views) == 2)
            wall, cpu = time.perf_counter() - started, time.thread_time() - cpu
            ticker.cancel()
            shown = here.screen.transcript.views[-1].text
            wall_gaps, cpu_gaps = zip(*gaps, strict=True)
            stalls = tuple(round(gap, 4) for gap in wall_gaps)
            return Streamed(wall, ideal, cpu, max(wall_gaps), max(cpu_gaps), stalls, shown != text)


def streamed_apart(name: str) -> Streamed:
    """`streamed` in a process of its own: what other measurements leave behind would be collected in the middle."""
    code = (
        "import asyncio, dataclasses, json; from bench.transcript import long_answers, streamed;"
        "from localllm_tui.settle import settle; import tests.tui; settle();"  # as the app does after its first paint
        f"print(json.dumps(dataclasses.asdict(asyncio.run(streamed(long_answers()[{name!r}])))))"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return Streamed(**json.loads(done.stdout))


async def _until(true: Callable[[], bool]) -> None:
    # pilot.pause would wait for every widget, and be measured too
    while not true():
        await asyncio.sleep(0.005)


async def _tick(gaps: list[tuple[float, float]]) -> None:
    """Note (wall, CPU) seconds that the loop was away, every 5 ms."""
    before, cpu = time.perf_counter(), time.thread_time()
    while True:
        await asyncio.sleep(0.005)
        now, used = time.perf_counter(), time.thread_time()
        gaps.append((max(0.0, now - before - 0.005), used - cpu))
        before, cpu = now, used


# ---- the bench ------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3, help="of mounting and the rest; 0 leaves them out")
    options = parser.parse_args()
    pairs = [
        (asyncio.run(cost(Ours, options.messages)), asyncio.run(cost(Stock, options.messages)))
        for _ in range(options.rounds)
    ]
    if pairs:
        print(f"{options.messages} rich messages, CPU seconds, median of {options.rounds}")
        print(f"{'':<10}{'ours':>9}{'stock':>9}{'ratio':>8}")
    for name in ("widgets", "mount", "focus", "theme", "resize") if pairs else ():
        ours, stock = (statistics.median(getattr(pair[i], name) for pair in pairs) for i in (0, 1))
        print(f"{name:<10}{ours:>9.3f}{stock:>9.3f}{stock / ours:>8.1f}")
    runs = {name: streamed_apart(name) for name in long_answers()}
    print(f"\n{N_TOKENS} tokens at {RATE:.0f} tokens/s through the app")
    print(f"{'':<10}{'wall':>8}{'engine':>8}{'ratio':>8}{'cpu':>8}{'stall':>9}{'of it CPU':>11}  lost")
    for name, run in runs.items():
        print(
            f"{name:<10}{run.wall:>8.2f}{run.ideal:>8.2f}{run.wall / run.ideal:>8.2f}{run.cpu:>8.2f}"
            f"{1000 * run.worst_stall:>6.0f} ms{1000 * run.worst_cpu_stall:>8.0f} ms  {'yes' if run.lost else 'no'}"
        )
    line_chart(
        IMAGES / "streaming.svg",
        "Pauses of the screen while 800 tokens stream at 200 tokens/s",
        "share of the pauses (%)",
        "ms",
        {
            name: [(100 * k / len(run.stalls), 1000 * g) for k, g in enumerate(sorted(run.stalls))]
            for name, run in runs.items()
        },
    )
    record = {
        "machine": machine(),
        "messages": options.messages,
        "cost": [{"ours": asdict(a), "stock": asdict(b)} for a, b in pairs],
        "streaming": {name: {k: v for k, v in asdict(run).items() if k != "stalls"} for name, run in runs.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "transcript.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return 1 if any(run.lost for run in runs.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
