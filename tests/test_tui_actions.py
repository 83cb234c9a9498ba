"""One registry of actions: keys don't clash, docs and help follow it, everything can be reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm_tui.actions import ACTIONS, BY_SLASH, KEY_SETS, as_markdown, clashes, key_name
from localllm_tui.screens.chat import ChatScreen
from localllm_tui.screens.help import help_text

DOCS = Path(__file__).parent.parent / "docs" / "keys.md"


@pytest.mark.parametrize("key_set", KEY_SETS)
def test_no_key_means_two_things_in_one_place(key_set: str) -> None:
    assert list(clashes(key_set)) == []


@pytest.mark.parametrize("key_set", KEY_SETS)
def test_keys_of_the_whole_app_are_free_in_every_place(key_set: str) -> None:
    everywhere = {k for a in ACTIONS if a.where == "anywhere" for k in a.keys_in(key_set).split(",") if k}
    for action in ACTIONS:
        if action.where != "anywhere":
            taken = everywhere & set(action.keys_in(key_set).split(",")) - {"escape"}
            assert not taken, (action.id, taken)


def test_keys_that_terminals_can_not_tell_apart_are_not_used() -> None:
    for action in ACTIONS:
        for key_set in KEY_SETS:
            assert not {"ctrl+i", "ctrl+m", "ctrl+h", "ctrl+["} & set(action.keys_in(key_set).split(",")), action.id


def test_the_page_of_keys_is_what_the_registry_says() -> None:
    assert DOCS.read_text("utf-8") == as_markdown()


@pytest.mark.parametrize("key_set", KEY_SETS)
def test_help_lists_every_action_and_a_click_does_it(key_set: str) -> None:
    page = help_text(key_set)
    clicks = {str(span.style) for span in page.spans}
    for action in ACTIONS:
        assert action.title in page.plain
        assert any(f"screen.do('{action.id}')" in click for click in clicks), action.id


def test_every_action_is_a_method_and_reachable_without_knowing_a_key() -> None:
    for action in ACTIONS:
        assert callable(getattr(ChatScreen, f"action_{action.id}"))
        assert action.keys or action.slash, action.id


def test_slash_names_are_unique() -> None:
    assert len(BY_SLASH) == sum(1 for action in ACTIONS if action.slash)


def test_keys_are_named_as_people_write_them() -> None:
    assert [key_name(k) for k in ("ctrl+k", "f1", "Y", "alt+less_than_sign", "escape")] == [
        "Ctrl+K",
        "F1",
        "Y",
        "Alt+<",
        "Esc",
    ]
