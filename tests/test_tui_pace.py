"""How often a growing answer is drawn, and how much of it: counted, not timed."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from textual.app import App, ComposeResult

from localllm.events import Role
from localllm.history import MessageState, StoredMessage
from localllm_tui.markdown.layout import Row
from localllm_tui.screens.asking import LONGEST_PAUSE, SHARE, SHARE_OF_THE_ENGINE, SHORTEST_PAUSE, rows_ahead
from localllm_tui.widgets.message_view import MessageView
from localllm_tui.widgets.transcript import Transcript
from tests.fakes import FakeEngine
from tests.tui import opened


@pytest.mark.parametrize(
    ("layers", "cpu", "pause"),
    [
        (0, 0.002, 0.002 / SHARE_OF_THE_ENGINE),
        (0, 0.1, LONGEST_PAUSE),
        (0, 0.0, SHORTEST_PAUSE),
        (9, 0.02, 0.02 / SHARE),
        (9, 0.002, SHORTEST_PAUSE),
    ],
)
async def test_the_pause_is_made_of_all_that_was_spent_since_the_last_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: int, cpu: float, pause: float
) -> None:
    engine = FakeEngine()
    engine._info = replace(engine.info, n_gpu_layers=layers, n_threads=os.cpu_count() or 1)
    async with opened(tmp_path, engine) as here:
        here.screen._cpu = 5.0
        with monkeypatch.context() as patch:  # painting is part of it: it happens between two calls
            patch.setattr(time, "thread_time", lambda: 5.0 + cpu)
            patch.setattr(time, "monotonic", lambda: 100.0)
            here.screen._pace()
        assert here.screen._next_draw == pytest.approx(100.0 + pause)


def test_rows_are_taken_in_advance_for_about_a_second() -> None:
    assert [rows_ahead(speed, 80) for speed in (0, 5, 40, 120, 5_000)] == [0, 0, 2, 6, 8]
    assert rows_ahead(40, 0) == 8


class Stage(App[None]):
    CSS = "#transcript { height: 1fr; } .message { height: auto; }"

    def compose(self) -> ComposeResult:
        yield Transcript()


@pytest.mark.parametrize("ahead", [0, 6])
async def test_of_a_growing_paragraph_only_the_rows_that_change_are_drawn(
    monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    drawn: list[int] = []
    strip = MessageView._strip

    def counting(view: MessageView, row: Row, y: int, width: int, base: object) -> object:
        drawn.append(y)
        return strip(view, row, y, width, base)  # type: ignore[arg-type]

    app = Stage()
    async with app.run_test(size=(60, 40)) as pilot:
        transcript = app.query_one(Transcript)
        await transcript.fill([(StoredMessage(1, 1, None, Role.ASSISTANT, "", MessageState.STREAMING, 0.0), (1, 1))])
        await pilot.pause()
        view = transcript.views[0]
        view.rows_ahead = ahead
        monkeypatch.setattr(MessageView, "_strip", counting)
        n_pieces = 200
        for n in range(n_pieces):
            transcript.grow(view, f"word{n} ")
            await pilot.pause()
        rows = len(view._lay_out(view.size.width))
        assert rows > 20 and len(drawn) <= 2 * n_pieces + 2 * rows, "two rows per piece, at a line's end"
        assert view.size.height - rows in range(ahead + 1)
        view.show(replace(view.message, content=view.text, state=MessageState.COMPLETE), (1, 1))
        await pilot.pause()
        assert view.size.height == len(view._lay_out(view.size.width)), "nothing is left in advance at the end"


async def test_right_to_left_text_keeps_its_letters_in_their_order(tmp_path: Path) -> None:
    text = "שלום עולם, هذا نص عربي with English 123 inside."
    async with opened(tmp_path, FakeEngine([text])) as here:
        await here.ask("أين؟")
        assert text in here.text() and "أين؟" in here.text()  # which way they run is the terminal's to decide
