"""Numbers are told with the right form of what they count."""

from __future__ import annotations

import pytest

from localllm.counted import counted


@pytest.mark.parametrize(
    ("n", "told"),
    [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1000, "1,000 files"), (1_000_001, "1,000,001 files")],
)
def test_one_is_told_in_the_singular_and_all_others_in_the_plural(n: int, told: str) -> None:
    assert counted(n, "file") == told


def test_a_plural_of_its_own_is_used() -> None:
    assert counted(1, "sentence is", "sentences are") == "1 sentence is"
    assert counted(3, "sentence is", "sentences are") == "3 sentences are"
