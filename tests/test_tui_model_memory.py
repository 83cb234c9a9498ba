"""What an empty chat says of the models here, and the memory of one that is given back."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.models.shelf import Model
from localllm.settings import Settings
from localllm_tui.screens.models import ModelsScreen
from localllm_tui.widgets.welcome import also
from tests.fakes import FakeEngine
from tests.test_tui_chat_options import Shelf, shelf
from tests.tui import opened

__all__ = ["shelf"]


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([], ""),
        (["Fake-1B"], ""),
        (["Fake-1B", "Big-7B"], "Also on this computer: Big-7B. F3 switches.\n"),
        (["a", "b", "c", "d", "e"], "Also on this computer: a, b, c and 2 more. F3 switches.\n"),
    ],
)
def test_an_empty_chat_names_the_first_of_the_other_models(others: list[str], said: str) -> None:
    assert also("Fake-1B", others) == said


async def test_the_welcome_names_what_lies_in_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Model(path=f"/{name}.gguf", name=name, source="localllm", size_bytes=1, purpose="chat")
        for name in ("Big-7B", "Small-1B")
    ]
    monkeypatch.setattr("localllm.models.shelf.list_models", lambda paths: found)
    async with opened(tmp_path) as here:
        await here.until(lambda: "Also on this computer: Big-7B, Small-1B. F3 switches." in here.text(), "the models")
        assert "Fake-1B.Q4_0 is ready." in here.text()


async def test_an_unloaded_model_is_closed_and_the_next_question_loads_it(tmp_path: Path, shelf: Shelf) -> None:
    engine = FakeEngine(["Before."])
    async with opened(tmp_path, engine, settings=Settings(model="Big-7B")) as here:
        await here.ask("One")
        await here.pilot.press("f3")
        await here.until(lambda: isinstance(here.app.screen, ModelsScreen) and "u unload" in here.text(), "the models")
        await here.pilot.press("u")
        await here.until(lambda: "model unloaded" in here.text(), "the status")
        assert engine.closed and not shelf.opened
        await here.ask("Two")
        assert shelf.opened == ["Big-7B"] and here.history.path(1)[-1].content == "I am Big-7B."
        assert "model unloaded" not in here.text()


async def test_no_model_is_unloaded_while_it_answers(tmp_path: Path) -> None:
    engine = FakeEngine(["A long answer. " * 60], seconds_per_token=0.004, hold=40)
    async with opened(tmp_path, engine) as here:
        here.screen.prompt.put("Go")
        await here.pilot.press("enter")
        await here.until(lambda: here.screen.turn and here.screen.turn.n_tokens > 10, "some text")
        here.screen.action_unload()
        await here.pilot.pause()
        assert not engine.closed
        await here.pilot.press("escape")
        await here.until(lambda: here.screen.turn is None, "the end")
        await here.until(lambda: "Continue" in here.text(), "the way on")
