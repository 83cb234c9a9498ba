"""Finding by a few letters: what is found, what comes first, and that no text or query takes long."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.style import Style

from localllm_tui.fuzzy import SPREAD, find
from localllm_tui.markdown.clean import clean_line


@pytest.mark.parametrize(
    ("query", "text", "letters"),
    [
        ("tides", "Explain the tides", "tides"),
        ("TIDES explain", "Explain the tides", "Explaintides"),
        ("whpump", "Which pump is the best?", "Whpump"),
        ("tiny1b", "Tiny-1B.Q4_0", "Tiny1B"),
        ("c++", "Learn C++ now", "C++"),
        ("[/b]", "a [/b] c", "[/b]"),
        ("eal", "Replace the seal", "eal"),
        ("世界", "你好 世界", "世界"),
    ],
)
def test_these_letters_are_found(query: str, text: str, letters: str) -> None:
    found = find(query, text)
    assert found is not None and "".join(text[i] for i in found.offsets) == letters


@pytest.mark.parametrize(
    ("query", "text"),
    [("tides", "Something else"), ("pump tides", "Which pump?"), ("", "text"), ("  ", "text"), ("a", ""),
     ("xyz", f"x{'.' * SPREAD * 3}yz")],
)  # fmt: skip
def test_these_are_not(query: str, text: str) -> None:
    assert find(query, text) is None


def test_what_stands_there_as_typed_comes_first() -> None:
    texts = ["model", "the model", "remodel", "my old elm", "m.o.d.e.l"]
    scores = [found.score for text in texts if (found := find("model", text)) is not None]
    assert len(scores) == len(texts) and scores == sorted(scores, reverse=True)


def test_brackets_are_shown_and_the_letters_are_marked() -> None:
    text = "[red]x[/] [/b] tides"
    found = find("tides", text)
    assert found is not None
    marked = found.marked(text, Style(bold=True))
    assert marked.plain == text
    assert sorted(marked.plain[span.start] for span in marked.spans) == sorted("tides")


def test_the_work_grows_with_the_text_and_not_with_the_ways_to_match_it() -> None:
    steps = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal steps
        steps += event == "c_call"

    sys.setprofile(count)
    try:
        found = find("abababababababababababx", "ab" * 60 + "y")
        other = find("abababababababababab c", "ab." * 40 + "c")
    finally:
        sys.setprofile(None)
    assert found is None and other is not None
    assert steps < 10_000, "there are far more ways to choose the letters than could be gone through"


@given(st.text("abAB [/", max_size=8), st.text("abcAB [/]", max_size=30))
def test_every_letter_of_the_query_is_among_those_that_are_marked(query: str, text: str) -> None:
    found = find(query, text)
    if found is not None:
        assert set(query.lower()) - {" "} <= {text[i].lower() for i in found.offsets}


@given(st.text(max_size=12), st.text(max_size=40))
def test_no_text_is_too_odd(query: str, text: str) -> None:
    text = clean_line(text)
    found = find(query, text)
    if found is not None:
        assert found.marked(text, Style(bold=True)).plain == text
        assert list(found.offsets) == sorted(set(found.offsets) & set(range(len(text))))
