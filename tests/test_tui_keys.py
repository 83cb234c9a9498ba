"""The user's own keys: given by pressing them, refused where they clash, kept in a file, used at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.widgets import OptionList

from localllm.settings import Paths
from localllm_tui.actions import ACTIONS, BY_ID, KEY_SETS, Keys, keymap, shared
from localllm_tui.own_keys import complaint_about, keys_file, read_own_keys, save_own_keys
from localllm_tui.screens.help import Help
from localllm_tui.screens.keys import KeysScreen, PressKey
from tests.tui import Opened, opened


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path / "config.toml", tmp_path)


def test_keys_come_back_as_they_were_kept(paths: Paths) -> None:
    own = {"help": "f11", "export": "alt+x,f12"}
    save_own_keys(own, paths)
    assert read_own_keys(paths) == (own, "")
    if sys.platform != "win32":
        assert keys_file(paths).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["= [", 'nonsense = "f1"', "help = 3", 'help = "f1,,f2"'])
def test_a_file_that_can_not_be_used_leaves_the_key_set_and_says_why(paths: Paths, text: str) -> None:
    keys_file(paths).write_text(text)
    own, problem = read_own_keys(paths)
    assert own == {} and "keys.toml" in problem


@pytest.mark.parametrize(
    ("action", "key", "why"),
    [
        ("help", "f2", "What the model was sent"),
        ("help", "x", "typing"),
        ("send", "y", "typing"),
        ("help", "ctrl+i", "terminals"),
        ("copy_message", "f1", "Help"),
        ("find_next", "N", "The place found before"),
        ("help", "f11", ""),
        ("copy_message", "x", ""),
    ],
)
def test_a_key_is_refused_with_the_reason(action: str, key: str, why: str) -> None:
    complaint = complaint_about(BY_ID[action], key, Keys())
    assert (why in complaint) if why else complaint == ""


@given(st.sampled_from(KEY_SETS), st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from(
    ["f1", "f2", "f11", "alt+q", "x", "y", "Y", "ctrl+n", "ctrl+p", "end"]))))  # fmt: skip
def test_no_row_of_accepted_changes_makes_a_clash(key_set: str, changes: list[tuple[object, str]]) -> None:
    own: dict[str, str] = {}
    for action, key in changes:
        if not complaint_about(action, key, Keys(key_set, own)):  # type: ignore[arg-type]
            own[action.id] = key  # type: ignore[attr-defined]
    keys = Keys(key_set, own)
    for name in own:
        for other in ACTIONS:
            if other.id != name and shared(other, BY_ID[name]):
                assert own[name] not in other.key_list(keys), (name, other.id)
        assert keymap(keys).get(name, BY_ID[name].keys) == own[name]


async def choose(here: Opened, action: str, opening: str = "enter") -> None:
    """Open the screen, go to an action, and ask for a key."""
    if not isinstance(here.app.screen, KeysScreen):
        here.screen.run_by_id("rebind")
        await here.until(lambda: isinstance(here.app.screen, KeysScreen), "the screen")
    listing = here.app.screen.query_one(OptionList)
    await here.until(lambda: listing.option_count > len(ACTIONS), "the list")
    listing.highlighted = listing.get_option_index(f"k-{action}")
    await here.pilot.press(opening)


async def test_a_pressed_key_does_it_at_once_the_old_one_no_more_and_help_and_hints_follow(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await choose(here, "help")
        await here.until(lambda: isinstance(here.app.screen, PressKey), "the question")
        await here.pilot.press("f11")
        await here.until(lambda: "Help: F11." in here.text(), "the note")
        assert read_own_keys(here.screen.paths) == ({"help": "f11"}, "")
        await here.pilot.press("escape")
        await here.until(lambda: "F11 help" in here.text(), "the hint")
        await here.pilot.press("f1")
        await here.pilot.pause()
        assert here.app.screen is here.screen
        await here.pilot.press("f11")
        await here.until(lambda: isinstance(here.app.screen, Help) and "F11" in here.text(), "help")


async def test_an_action_without_a_key_can_be_given_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await choose(here, "rebind")
        await here.until(lambda: isinstance(here.app.screen, PressKey), "the question")
        await here.pilot.press("f11")
        await here.until(lambda: isinstance(here.app.screen, KeysScreen), "the list")
        await here.pilot.press("escape")
        await here.until(lambda: here.app.screen is here.screen, "the chat")
        await here.pilot.press("f11")
        await here.until(lambda: isinstance(here.app.screen, KeysScreen), "the screen by its key")


async def test_a_clash_changes_nothing_a_further_key_is_added_and_reset_takes_both_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as here:
        await choose(here, "inspect")
        await here.until(lambda: isinstance(here.app.screen, PressKey), "the question")
        await here.pilot.press("f1")
        await here.until(lambda: "F1 was not taken: it means already: Help." in here.text(), "the refusal")
        assert read_own_keys(here.screen.paths) == ({}, "")
        await choose(here, "inspect", "a")
        await here.until(lambda: isinstance(here.app.screen, PressKey), "the question")
        await here.pilot.press("f11")
        await here.until(lambda: here.screen.own_keys == {"inspect": "f2,f11"}, "both keys")
        await choose(here, "inspect", "r")
        await here.until(lambda: here.screen.own_keys == {}, "the key set's own")
        assert keys_file(here.screen.paths).read_text() == ""


async def test_own_keys_hold_from_the_start_and_a_torn_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys.toml").write_text('help = "f11"\nnonsense = "f12"\n')
    async with opened(tmp_path) as here:
        assert any("nonsense" in n.message for n in here.app._notifications)
        await here.pilot.press("f11")
        await here.until(lambda: isinstance(here.app.screen, Help), "help")
