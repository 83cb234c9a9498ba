"""The app: asking, stopping, going on, on a fake engine."""

from __future__ import annotations

from pathlib import Path

from localllm.history import MessageState
from tests.fakes import FakeEngine
from tests.tui import opened


async def test_a_question_is_answered_on_the_screen(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeEngine(["The **answer** is 42."])) as here:
        await here.ask("What is it?")
        assert "What is it?" in here.text()
        assert "The answer is 42." in here.text()
        assert [m.state for m in here.history.path(1)] == [MessageState.COMPLETE] * 2
