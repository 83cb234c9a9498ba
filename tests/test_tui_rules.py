"""Rules in the app: gauges while an answer is written, one key to repair, the audit trail of an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from localllm.assistant import Assistant
from localllm.history import History
from localllm.rules.audit import AuditLog
from localllm.rules.gauges import Gauge, GaugeState
from localllm.rules.rulebook import Rulebook
from localllm.settings import Settings
from localllm_tui.screens.rules import VerdictScreen
from localllm_tui.screens.show_text import ShowText
from localllm_tui.widgets.gauges import Gauges, gauges_line
from tests.fakes import FakeEngine
from tests.tui import Opened, opened

RULES = """
[ruleset]
name = "short"
on_fail = "warn"

[[rule]]
id = "length"
type = "words"
min = 2
max = 8

[[rule]]
id = "list"
type = "bullets"
max = 3

[[rule]]
id = "loop"
type = "repetition"
"""
LONG = "This answer has more words than the eight that are allowed here."


@asynccontextmanager
async def ruled(folder: Path, engine: FakeEngine) -> AsyncIterator[Opened]:
    (folder / "rules").mkdir()
    file = folder / "rules" / "short.toml"
    file.write_text(RULES)
    settings = Settings(rules="short")
    log = AuditLog(folder / "logs")
    assistant = Assistant(
        engine, history=History(None), settings=settings, find_rules=lambda name: Rulebook.load(str(file), audit=log)
    )
    async with opened(folder, settings=settings, assistant=assistant) as here:
        yield here


async def test_gauges_stand_above_the_prompt_while_an_answer_is_written_and_then_go(tmp_path: Path) -> None:
    async with ruled(tmp_path, FakeEngine(["- one\n- two\n" + "word " * 400], seconds_per_token=0.01)) as here:
        gauges = here.screen.query_one(Gauges)
        assert not gauges.display
        here.screen.prompt.put("Go")
        await here.pilot.press("enter")
        await here.until(lambda: "✗ words" in here.text(), "the lost count")
        shown = here.text()
        assert "2 to 8" in shown and "✓ bullets" in shown and "2, at most 3" in shown
        assert "1 checked at the end" in shown
        await here.pilot.press("escape")
        await here.until(lambda: here.screen.turn is None and not gauges.display, "the end")


async def test_without_rules_there_are_no_gauges(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["word " * 300], seconds_per_token=0.005)) as here:
        here.screen.prompt.put("Go")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn and here.screen.turn.n_tokens > 20, "some text")
        assert not here.screen.query_one(Gauges).display


async def test_one_key_answers_again_with_the_faults_told_and_keeps_both_answers(tmp_path: Path) -> None:
    engine = FakeEngine([LONG, "Short now."])
    async with ruled(tmp_path, engine) as here:
        await here.ask("Say")
        await here.pilot.press("f8")
        await here.until(lambda: here.screen.turn is None and "Short now." in here.text(), "the repair")
        told = engine.requests[-1].messages[-1].content
        assert told.startswith("Say\n\nYour last answer broke rules. length: ") and "2 to 8 words" in told
        assert LONG not in told
        assert [m.content for m in here.history.messages(1)] == ["Say", LONG, "Short now."]
        assert "‹ 2/2 ›" in here.text()
        n = len(engine.requests)
        await here.pilot.press("f8")
        await here.until(lambda: any("Every rule is kept" in x.message for x in here.app._notifications), "the no")
        assert len(engine.requests) == n


async def test_the_audit_trail_opens_from_the_verdict(tmp_path: Path) -> None:
    async with ruled(tmp_path, FakeEngine(["Short now."])) as here:
        await here.ask("Say")
        here.screen.run_by_id("verdict")
        await here.until(lambda: isinstance(here.app.screen, VerdictScreen), "the verdict")
        await here.until(lambda: "audit trail" in here.text(), "the key")
        await here.pilot.press("a")
        await here.until(lambda: isinstance(here.app.screen, ShowText), "the trail")
        await here.until(lambda: "Attempt 1  ✓ kept" in here.text(), "the record")
        assert "length" in here.text() and "rules short" in here.text()
        await here.pilot.press("escape", "escape")
        await here.until(lambda: here.app.screen is here.screen, "the chat")


def test_what_is_lost_comes_first_and_stays_when_there_is_little_room() -> None:
    gauges = [
        Gauge("a", "bullets", "2, at most 3", GaugeState.KEPT, 0.6),
        Gauge("b", "words", "12, at most 8", GaugeState.LOST, 1.0),
    ]
    wide, narrow = gauges_line(gauges, 3, 100).plain, gauges_line(gauges, 3, 24).plain
    assert wide == "✗ words ▓▓▓▓▓▓ 12, at most 8   ✓ bullets ▓▓▓▓░░ 2, at most 3   3 checked at the end"
    assert narrow == "✗ words 12, at most 8"
