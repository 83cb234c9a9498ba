"""Every function can be reached by keyboard and by mouse: shown on the running app, one action after another."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from localllm_tui.actions import ACTIONS, BY_ID, Action
from localllm_tui.screens.help import Help, help_text
from tests.tui import Opened, opened


def record(here: Opened, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Actions of the registry are noted instead of done, whichever way they are started."""
    done: list[str] = []

    def noting(name: str) -> Callable[[], object]:
        async def later() -> None:
            done.append(name)

        is_async = inspect.iscoroutinefunction(getattr(here.screen, f"action_{name}"))
        return later if is_async else lambda: done.append(name)

    for action in ACTIONS:
        if action.id not in ("help", "new_line"):
            monkeypatch.setattr(here.screen, f"action_{action.id}", noting(action.id))
    return done


async def test_every_action_is_done_by_a_click_on_its_line_in_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, size=(120, 140)) as here:
        done = record(here, monkeypatch)
        page = help_text("default").plain.split("\n")
        x, y = place(here.text(), "F1 help")  # help itself stands in the row of hints
        await here.pilot.click(offset=(x, y))
        await here.until(lambda: isinstance(here.app.screen, Help) and "Ctrl+Q" in here.text(), "help")
        shown = here.text()
        # it stays open: to open it sixty times takes half a minute
        monkeypatch.setattr(Help, "dismiss", lambda page, result=None: here.screen._from_help(result))
        for action in ACTIONS:
            if action.id in ("help", "new_line"):
                continue
            line = next(line for line in page if line[20:].startswith(action.title))
            await here.pilot.click(offset=place(shown, line[:40]))
            await here.until(partial(_ends_with, done, action.id), f"{action.id} by a click")


def _ends_with(done: list[str], action_id: str, n_before: int = 0) -> bool:
    return len(done) > n_before and done[-1] == action_id


def place(shown: str, text: str) -> tuple[int, int]:
    """Where the text stands: column and row."""
    lines = shown.split("\n")
    y = next(n for n, line in enumerate(lines) if text in line)
    return lines[y].index(text), y


@pytest.mark.parametrize("where", ["anywhere", "prompt", "transcript"])
async def test_every_key_of_the_registry_does_its_action_where_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    async with opened(tmp_path) as here:
        await here.ask("One")
        done = record(here, monkeypatch)
        for action in ACTIONS:
            if action.where != where or action.id in ("help", "new_line"):
                continue
            for key in action.key_list("default"):
                _focus(here, action)
                await here.pilot.pause()
                n = len(done)
                await here.pilot.press(key)
                await here.until(partial(_ends_with, done, action.id, n), f"{key} for {action.id}")


def _focus(here: Opened, action: Action) -> None:
    if action.where == "transcript":
        here.screen.set_focus(here.screen.transcript.views[-1])
    else:
        here.screen.set_focus(here.screen.prompt)


def test_what_has_no_key_has_a_command() -> None:
    assert [a.id for a in ACTIONS if not a.keys and not a.slash] == []
    assert BY_ID["help"].slash and BY_ID["help"].keys
