"""A long chat: only a stretch of it stands on the screen, and all of it can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.events import Role
from localllm.history import History
from localllm_tui.markdown import blocks, stream
from localllm_tui.window import MOST, STEP, Window, around, newest
from tests.fakes import FakeEngine
from tests.tui import Opened, opened

N = 2_000


@given(n=st.integers(0, 3_000), at=st.integers(0, 3_000), moves=st.lists(st.booleans(), max_size=60))
def test_a_window_lies_within_the_branch_and_is_never_longer_than_allowed(n: int, at: int, moves: list[bool]) -> None:
    window = around(min(at, n), n)
    for earlier in moves:
        window = window.earlier(n) if earlier else window.later(n)
        assert 0 <= window.first <= window.end(n) <= n
        assert window.end(n) - window.first <= MOST


@given(n=st.integers(1, 3_000), data=st.data())
def test_around_shows_the_message_and_both_ends_are_reached(n: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, n - 1))
    window = around(at, n)
    assert window.first <= at < window.end(n)
    up = down = window
    for _ in range(n // STEP + 1):
        up, down = up.earlier(n), down.later(n)
    assert up.first == 0 and down.last is None


def test_the_newest_window_grows_with_the_branch() -> None:
    assert newest(10) == Window(0, None)
    assert newest(N) == Window(N - STEP, None)


def fill(folder: Path) -> None:
    """One chat of many messages."""
    with History(folder / "history.db") as history:
        chat, parent = history.create_chat(), None
        for n in range(N):
            role = Role.ASSISTANT if n % 2 else Role.USER
            parent = history.add_message(chat.id, role, f"Message number {n}, *marked*.", parent=parent).id


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often Markdown was parsed: one entry each time."""
    times: list[int] = []

    def counting(text: str, finished: bool = True) -> list[blocks.Block]:
        times.append(1)
        return blocks.parse(text, finished)

    monkeypatch.setattr(stream, "parse", counting)
    return times


async def test_a_chat_of_two_thousand_messages_opens_and_scrolls_for_what_is_seen_of_it(
    tmp_path: Path, parsed: list[int]
) -> None:
    fill(tmp_path)
    async with opened(tmp_path, FakeEngine(["The newest."])) as here:
        transcript = here.screen.transcript
        await here.until(lambda: f"number {N - 1}" in here.text(), "the end of the chat")
        assert len(transcript.views) == STEP and f"↑ {N - STEP:,} earlier messages" in titles(here)
        assert len(parsed) <= 4 * STEP
        shown = len(parsed)
        for key in ("pageup", "pageup", "pagedown", "pageup"):
            await here.pilot.press(key)
        assert len(parsed) == shown, "scrolling parses nothing again"
        await here.ask("One more")
        assert "The newest." in here.text() and len(transcript.views) <= STEP + 2


async def test_keys_alone_lead_to_the_first_message_and_back(tmp_path: Path) -> None:
    fill(tmp_path)
    async with opened(tmp_path) as here:
        await here.until(lambda: f"number {N - 1}" in here.text(), "the end")
        await here.pilot.press("shift+tab", "home")
        await here.until(lambda: "Message number 0," in here.text(), "the beginning")
        assert len(here.screen.transcript.views) <= MOST
        assert f"↓ {N - MOST:,} later messages" in titles(here)
        await here.pilot.press("end")
        await here.until(lambda: f"number {N - 1}" in here.text(), "the end again")
        assert here.screen.transcript.focused_view is here.screen.transcript.views[-1]


async def test_above_the_first_message_shown_more_are_loaded_and_the_focus_goes_on(tmp_path: Path) -> None:
    fill(tmp_path)
    async with opened(tmp_path) as here:
        await here.until(lambda: f"number {N - 1}" in here.text(), "the end")
        views = here.screen.transcript.views
        here.screen.set_focus(views[0])
        await here.pilot.pause()
        here.screen.transcript.scroll_home(animate=False)  # what is not wholly in sight would scroll first
        await here.until(lambda: here.screen.transcript.scroll_offset.y == 0, "the first message in sight")
        await here.pilot.press("up")
        await here.until(lambda: len(here.screen.transcript.views) == 2 * STEP, "more of them")
        await here.until(lambda: here.screen.transcript.focused_view, "the focus")
        focused = here.screen.transcript.focused_view
        assert focused is not None and focused.message.content.startswith(f"Message number {N - STEP - 1},")


async def test_what_is_found_far_up_is_shown_with_its_surroundings_and_a_question_leads_back(tmp_path: Path) -> None:
    fill(tmp_path)
    async with opened(tmp_path, FakeEngine(["The newest."])) as here:
        await here.until(lambda: f"number {N - 1}" in here.text(), "the end")
        here.screen.prompt.put("/find 777")
        await here.pilot.press("enter")
        await here.until(lambda: "Message number 777," in here.text(), "the place found")
        assert len(here.screen.transcript.views) <= MOST
        here.screen.set_focus(here.screen.prompt)
        here.screen.prompt.put("Where was I?")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn is None and "The newest." in here.text(), "the answer")
        assert here.screen.window.last is None


def titles(here: Opened) -> list[str]:
    """What stands on the rows that load more."""
    return [str(link.render()) for link in here.screen.query(".more")]
