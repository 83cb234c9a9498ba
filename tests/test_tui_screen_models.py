"""The models screen: what is here, whether it fits, and how the starter set is fetched."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import OptionList

from localllm.errors import Offline
from localllm.models.download import Progress
from localllm.models.memory import Estimate
from localllm.models.shelf import Model
from localllm.settings import Paths, Settings
from localllm_tui.screens import models
from localllm_tui.screens.models import Entry, ModelsScreen, describe
from tests.tui_stage import Stage, screen_text, wait_until

SMALL = Model(
    "Small-135M.Q4_1", "/m/Small-135M.Q4_1.gguf", "localllm", 98_000_000, purpose="chat", quantization="Q4_1",
    n_params=134_515_008, n_ctx_train=8192,
)  # fmt: skip
EMBEDDER = Model("Embedder.F16", "/m/Embedder.F16.gguf", "localllm", 46_000_000, purpose="embedder")
BROKEN = Model("Broken", "/m/Broken.gguf", "localllm", 12, problem="the file is cut short")


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path / "config.toml", tmp_path)


def shelf(monkeypatch: pytest.MonkeyPatch, *found: Model) -> None:
    monkeypatch.setattr(models, "list_models", lambda paths: list(found))


async def test_enter_gives_the_path_of_the_highlighted_model(monkeypatch: pytest.MonkeyPatch, paths: Paths) -> None:
    shelf(monkeypatch, EMBEDDER, SMALL)
    screen = ModelsScreen(paths, Settings())
    app = Stage(screen)
    async with app.run_test(size=(110, 30)) as pilot:
        await wait_until(pilot, lambda: screen.query_one(OptionList).option_count == 2, "the list")
        await pilot.press("enter")
        await wait_until(pilot, lambda: bool(app.results), "the result")
    assert app.results == [SMALL.path]


async def test_what_cannot_chat_is_listed_with_the_reason_and_cannot_be_chosen(
    monkeypatch: pytest.MonkeyPatch, paths: Paths
) -> None:
    shelf(monkeypatch, BROKEN, EMBEDDER)
    screen = ModelsScreen(paths, Settings())
    app = Stage(screen)
    async with app.run_test(size=(110, 30)) as pilot:
        await wait_until(pilot, lambda: screen.query_one(OptionList).option_count == 2, "the list")
        shown = screen_text(app)
        assert "the file is cut short" in shown and "not for chatting: embedder" in shown
        assert "no model that can chat yet" in shown
        await pilot.press("enter")
        await pilot.press("escape")
        await wait_until(pilot, lambda: bool(app.results), "the result")
    assert app.results == [None]


async def test_the_starter_set_is_fetched_once_with_progress_and_listed_then(
    monkeypatch: pytest.MonkeyPatch, paths: Paths
) -> None:
    shelf(monkeypatch)
    go_on, calls = threading.Event(), []

    def get(report: Callable[[Progress], None]) -> None:
        calls.append(1)
        report(Progress("SmolLM2", 40_000_000, 98_000_000))
        assert go_on.wait(10)
        shelf(monkeypatch, SMALL)

    screen = ModelsScreen(paths, Settings(), get_starter=get)
    app = Stage(screen)
    async with app.run_test(size=(110, 30)) as pilot:
        await pilot.press("g", "g")
        await wait_until(pilot, lambda: "SmolLM2: 40 % of 98 MB" in screen_text(app), "the progress")
        go_on.set()
        await wait_until(pilot, lambda: "Small-135M" in screen_text(app), "the model in the list")
    assert calls == [1]


async def test_a_failed_download_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, paths: Paths) -> None:
    shelf(monkeypatch)

    def get(report: Callable[[Progress], None]) -> None:
        raise Offline("A network connection was needed.", "Leave out --offline.")

    screen = ModelsScreen(paths, Settings(), get_starter=get)
    app = Stage(screen)
    said: list[str] = []
    monkeypatch.setattr(screen, "_say", said.append)
    async with app.run_test(size=(110, 30)) as pilot:
        await pilot.press("g")
        await wait_until(pilot, lambda: any("network connection was needed" in text for text in said), "the failure")


@pytest.mark.parametrize(
    ("available", "word"), [(10_000_000_000, "✓ fits"), (1_150_000_000, "! tight"), (500_000_000, "✗ too big")]
)
def test_the_memory_need_and_the_verdict_are_words_not_colours(available: int, word: str) -> None:
    estimate = Estimate("Small", 8192, 700_000_000, 300_000_000, 100_000_000, 0, available)
    text = describe(Entry(SMALL, estimate), here=True).plain
    assert "needs 1.1 GB at 8,192" in text and word in text and text.startswith("● ")


def test_control_sequences_in_a_models_name_never_reach_the_terminal() -> None:
    model = Model("evil\x1b[2J\x1b]0;x\x07", "/m/x", "localllm", 1, purpose="chat", quantization="\x9b31m")
    assert "\x1b" not in describe(Entry(model, None), here=False).plain
