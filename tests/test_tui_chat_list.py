"""The list of chats is narrow: what was searched for is seen in it."""

from __future__ import annotations

import pytest

from localllm.history.records import Hit
from localllm_tui.widgets.chat_list import found_entry


@pytest.mark.parametrize(
    "before", ["", "called ", "due to a process called ", "an incomprehensibilities of ", "x" * 30 + " "]
)
def test_the_words_in_front_of_a_match_leave_room_for_it(before: str) -> None:
    row = found_entry(Hit(1, "The sky", 2, f"{before}\x02Rayleigh\x03 scattering")).plain.split("\n")[1]
    assert row.index("Rayleigh") + len("Rayleigh") <= 20
    assert row.split("Rayleigh")[0].strip() in before
