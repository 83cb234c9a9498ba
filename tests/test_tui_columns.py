"""The chat where there is much room and where there is little: which columns stand, and that nothing is cut off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from textual.widget import Widget

from localllm.assistant import Assistant
from localllm.history import History
from localllm_tui.actions import BY_ID, key_names
from localllm_tui.widgets.hints import HINTS, Hints
from tests.fakes import FakeEngine
from tests.test_assistant_seams import PASSAGE, FakeGrounding, FakeLibrary
from tests.tui import Opened, opened

QUESTION = "When is the seal of the pump in the boiler house replaced, and by whom is that to be done?"
SAID = (
    "It is replaced every 400 hours of operation [1], by somebody who has stopped the pump before and holds the key to "
    "the boiler house."
)
CODE = "def hours(days):"
WIDE, NARROW = (200, 30), (60, 30)


@asynccontextmanager
async def asked(folder: Path, size: tuple[int, int]) -> AsyncIterator[Opened]:
    """A chat with one answer from documents."""
    engine = FakeEngine([f"{SAID}\n\n```python\n{CODE}\n    return days * 24\n```\n"])
    assistant = Assistant(engine, history=History(None), library=FakeLibrary(FakeGrounding(notes=())))
    async with opened(folder, assistant=assistant, size=size) as here:
        await here.ask(QUESTION)
        await here.until(lambda: here.screen.has_class("-has-sources") and here.screen.transcript.at_end, "the end")
        yield here


def seen_in(here: Opened, widget: Widget) -> str:
    """The words that stand within a widget."""
    region = widget.region
    lines = here.text().split("\n")[region.y : region.bottom]
    return " ".join(" ".join(line[region.x : region.right] for line in lines).split())


def is_seen(here: Opened, widget: Widget, text: str) -> bool:
    return text in seen_in(here, widget)


def all_is_seen(here: Opened) -> bool:
    """Whether question, answer and code stand whole within the transcript, and the prompt in its place."""
    transcript, prompt = seen_in(here, here.screen.transcript), seen_in(here, here.screen.prompt)
    return all(text in transcript for text in (QUESTION, SAID, CODE)) and prompt == " ".join(
        "Ask anything. @ attach a file / commands".split()
    )


def hints(here: Opened) -> list[str]:
    """The keys in the row of hints, each with what it does."""
    row = here.screen.query_one(Hints)
    line = here.text().split("\n")[row.region.y]
    return [hint.strip() for hint in line.split("   ") if hint.strip()]


async def test_two_hundred_columns_hold_chats_transcript_and_sources_side_by_side(tmp_path: Path) -> None:
    async with asked(tmp_path, WIDE) as here:
        screen = here.screen
        await here.until(lambda: all_is_seen(here), "the whole answer")
        chats, middle, sources = (w.region for w in (screen.chat_list, screen.query_one("#middle"), screen.sources))
        assert (chats.x, chats.right, middle.right, sources.right) == (0, middle.x, sources.x, 200)
        assert middle.width > 2 * max(chats.width, sources.width), "most of it is for the text"
        assert f"[1] {PASSAGE.source}" in seen_in(here, screen.sources)
        assert "✓ verified" in seen_in(here, screen.sources) and PASSAGE.text in seen_in(here, screen.sources)
        whole = [f"{key_names(BY_ID[name], most=1)} {BY_ID[name].hint}" for name in HINTS if name != "stop"]
        assert hints(here) == whole
        for part in ("Fake-1B Q4_0", "context", "CPU 2 threads", "local"):
            assert part in seen_in(here, screen.status)


async def test_sixty_columns_hold_the_transcript_alone(tmp_path: Path) -> None:
    async with asked(tmp_path, NARROW) as here:
        screen = here.screen
        await here.until(lambda: all_is_seen(here), "the whole answer")
        assert not screen.chat_list.display and not screen.sources.display
        middle = screen.query_one("#middle").region
        assert (middle.x, middle.width) == (0, 60)
        whole = {f"{key_names(BY_ID[name], most=1)} {BY_ID[name].hint}" for name in HINTS}
        assert hints(here) and set(hints(here)) <= whole, "no hint is cut"
        assert all(len(line) <= 60 for line in here.text().split("\n"))


async def test_at_sixty_columns_sources_and_chats_come_over_the_transcript_and_go(tmp_path: Path) -> None:
    async with asked(tmp_path, NARROW) as here:
        screen = here.screen
        for key, column, words in (
            ("ctrl+o", screen.sources, PASSAGE.text),
            ("ctrl+l", screen.chat_list, "Search"),
        ):
            await here.pilot.press(key)
            await here.until(partial(is_seen, here, column, words), f"{words} by {key}")
            assert 0 <= column.region.x < column.region.right <= 60
            await here.pilot.press("escape")
            await here.until(lambda: all_is_seen(here), "the transcript alone")


async def test_columns_fold_and_come_back_with_the_width_of_the_window(tmp_path: Path) -> None:
    async with asked(tmp_path, WIDE) as here:
        screen = here.screen
        await here.until(lambda: all_is_seen(here), "the whole answer")
        before = here.text()
        await here.pilot.resize_terminal(*NARROW)
        await here.until(lambda: not screen.chat_list.display and all_is_seen(here), "the transcript alone")
        await here.pilot.resize_terminal(*WIDE)
        await here.until(lambda: here.text() == before, "the columns")
