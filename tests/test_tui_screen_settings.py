"""The settings screen: made from the declarations, checked, written at once."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from textual.widgets import Input, OptionList

from localllm.settings import Paths, Settings, load_settings
from localllm_tui.screens.settings import SettingsScreen, typed
from tests.tui_stage import Stage, screen_text, wait_until


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path / "config.toml", tmp_path)


def go_to(screen: SettingsScreen, name: str) -> None:
    listing = screen.query_one("#settings", OptionList)
    listing.highlighted = listing.get_option_index(name)


async def test_every_declared_setting_is_listed(paths: Paths) -> None:
    screen = SettingsScreen(Settings(), paths)
    async with Stage(screen).run_test(size=(100, 40)):
        ids = {option.id for option in screen.query_one("#settings", OptionList).options}
        assert {field.name for field in fields(Settings)} <= ids


async def test_a_number_is_typed_checked_and_written(paths: Paths) -> None:
    seen: list[tuple[str, Settings]] = []
    screen = SettingsScreen(Settings(), paths, lambda name, settings: seen.append((name, settings)))
    app = Stage(screen)
    async with app.run_test(size=(100, 40)) as pilot:
        go_to(screen, "temperature")
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.screen is not screen, "the dialog")
        app.screen.query_one(Input).value = "0.2"
        await pilot.press("enter")
        await wait_until(pilot, lambda: screen.settings.temperature == 0.2, "the new value")
        assert seen == [("temperature", screen.settings)]
    assert load_settings(paths, {}).temperature == 0.2


async def test_a_value_out_of_range_is_refused_and_nothing_is_written(paths: Paths) -> None:
    screen = SettingsScreen(Settings(), paths)
    app = Stage(screen)
    async with app.run_test(size=(100, 40), notifications=True) as pilot:
        assert not screen.change("temperature", 99.0)
        assert not screen.change("threads", "many")
        await wait_until(pilot, lambda: "must be at most 10" in screen_text(app), "the reason")
        assert screen.settings == Settings()
    assert not paths.config.exists()


async def test_yes_and_no_change_places_at_once(paths: Paths) -> None:
    screen = SettingsScreen(Settings(), paths)
    async with Stage(screen).run_test(size=(100, 40)) as pilot:
        go_to(screen, "offline")
        await pilot.press("enter")
        await wait_until(pilot, lambda: screen.settings.offline, "the switch")
        await pilot.press("d")
        await wait_until(pilot, lambda: not screen.settings.offline, "the default")
    assert load_settings(paths, {}).offline is False


async def test_a_choice_is_picked_from_its_declaration(paths: Paths) -> None:
    screen = SettingsScreen(Settings(), paths)
    app = Stage(screen)
    async with app.run_test(size=(100, 40)) as pilot:
        go_to(screen, "keys")
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.screen is not screen, "the dialog")
        await pilot.press("down", "enter")
        await wait_until(pilot, lambda: screen.settings.keys == "vim", "the key set")


async def test_search_leaves_what_matches_and_says_when_nothing_does(paths: Paths) -> None:
    screen = SettingsScreen(Settings(), paths)
    app = Stage(screen)
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("slash", *"likeliest token")
        await pilot.pause()
        ids = [option.id for option in screen.query_one("#settings", OptionList).options if option.id]
        assert "temperature" in ids and "docs" not in ids
        screen.query_one("#settings-search", Input).value = "nosuchword"
        await pilot.pause()
        assert "No setting has these words" in screen_text(app)


async def test_leaving_gives_the_settings_back(paths: Paths) -> None:
    screen = SettingsScreen(Settings(), paths)
    app = Stage(screen)
    async with app.run_test(size=(100, 40)) as pilot:
        screen.change("top_k", 5)
        await pilot.press("escape")
        await wait_until(pilot, lambda: bool(app.results), "the result")
    assert app.results[0].top_k == 5


def test_what_is_no_number_stays_text() -> None:
    assert typed(" 12 ", int) == 12
    assert typed("0.5", float) == 0.5
    assert typed("many", int) == "many"
