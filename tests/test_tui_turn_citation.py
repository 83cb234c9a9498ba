"""From a question to its source: a real turn over a real library, with nothing scripted but the model's words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.widgets import Static

from localllm.assistant import Assistant
from localllm.events import SupportState
from localllm.history import History
from localllm.rag.answer import open_retriever
from localllm.rules.rulebook import Rulebook
from localllm.settings import Paths, Settings
from localllm_tui.screens.citation import CitationScreen
from localllm_tui.screens.rules import VerdictScreen
from localllm_tui.widgets.sources import SourceView
from tests.fakes import FakeEngine
from tests.libraries import HANDBOOK, make_library
from tests.tui import Opened, opened

SAID = "Replace the seal every 400 hours of operation. Bob painted the office green in 1871."
SPAN = "Replace the seal every 400 hours of operation."
RULES = """
[ruleset]
name = "short"
on_fail = "warn"

[[rule]]
id = "length"
type = "words"
max = 4
"""


@asynccontextmanager
async def asked(folder: Path) -> AsyncIterator[Opened]:
    """A chat whose only question was answered from documents, and against a rule."""
    paths = Paths(folder, folder / "config.toml", folder)
    paths.libraries.mkdir()
    evil = HANDBOOK["pump.md"].replace("Use part", "\x1b[2JUse\x07 part")
    make_library(paths.library("manuals"), {**HANDBOOK, "pump.md": evil}).close()
    rules = folder / "short.toml"
    rules.write_text(RULES)
    assistant = Assistant(
        FakeEngine([SAID]),
        history=History(None),
        settings=Settings(docs="manuals", rules="short"),
        find_library=lambda name: open_retriever(name, paths),
        find_rules=lambda name: Rulebook.load(str(rules)),
    )
    async with opened(folder, settings=assistant.settings, assistant=assistant) as here:
        await here.ask("When is the seal of the pump replaced?")
        yield here


def highlighted(here: Opened) -> list[str]:
    text = here.app.screen.query_one("#citation-text", Static).content
    return [text.plain[s.start : s.end] for s in text.spans if "underline" in str(s.style)]  # type: ignore[union-attr]


async def opened_citation(here: Opened) -> None:
    await here.until(lambda: isinstance(here.app.screen, CitationScreen), "the citation")
    await here.until(lambda: highlighted(here), "the passage")


async def test_a_turn_gives_marks_and_states_that_need_no_colour(tmp_path: Path) -> None:
    async with asked(tmp_path) as here:
        answer = here.history.path(1)[-1]
        assert [c.state for c in answer.citations] == [SupportState.VERIFIED] and len(answer.unsupported) >= 1
        shown = here.text()
        assert f"operation [{answer.citations[0].n}]." in shown, "the mark in the text"
        assert "✓ verified" in shown, "the state in the column of sources"
        view = here.screen.transcript.views[-1]
        rows = "\n".join(row.content.plain for row in view._rows or [])
        assert "1871. ⁇" in rows, "the sign behind what nothing supports"


@pytest.mark.parametrize("way", ["enter", "o", "number", "click", "source by enter", "source by click"])
async def test_every_way_to_a_source_opens_the_passage_with_exactly_the_cited_span(tmp_path: Path, way: str) -> None:
    async with asked(tmp_path) as here:
        n = here.history.path(1)[-1].citations[0].n
        if way == "click":
            lines = here.text().split("\n")
            y = next(i for i, line in enumerate(lines) if f"operation [{n}]" in line)
            await here.pilot.click(offset=(lines[y].index(f"[{n}]") + 1, y))
        elif way.startswith("source"):
            view = next(v for v in here.screen.query(SourceView) if v.passage.n == n)
            if way.endswith("click"):
                await here.pilot.click(view)
            else:
                here.screen.set_focus(view)
                await here.pilot.press("enter")
        else:
            await here.pilot.press("shift+tab", {"number": str(n)}.get(way, way))
        await opened_citation(here)
        assert highlighted(here) == [SPAN]
        shown = here.text()
        assert "pump.md" in shown and "Service" in shown and "score" in shown
        assert "Keep the pump dry" in shown, "its context"
        assert "\x1b" not in shown and "\x07" not in shown and "Use part QX-2291" in shown
        await here.pilot.press("escape")
        await here.until(lambda: here.app.screen is here.screen, "the chat")


async def test_the_verdict_of_a_turn_opens_by_key_and_by_a_click_on_its_badge(tmp_path: Path) -> None:
    async with asked(tmp_path) as here:
        assert "rules 0/1" in here.text()
        await here.pilot.press("shift+tab", "v")
        await here.until(lambda: isinstance(here.app.screen, VerdictScreen) and "length" in here.text(), "the verdict")
        await here.pilot.press("escape")
        await here.until(lambda: here.app.screen is here.screen, "the chat")
        lines = here.text().split("\n")
        y = next(i for i, line in enumerate(lines) if "rules 0/1" in line)
        await here.pilot.click(offset=(lines[y].index("rules 0/1"), y))
        await here.until(lambda: isinstance(here.app.screen, VerdictScreen), "the verdict by a click")
