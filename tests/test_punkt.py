"""Sentences and tokens as the reference checkers of IFEval and IFBench find them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.rules import punkt, treebank


def split(text: str) -> list[str]:
    return [text[a:b] for a, b in punkt.sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Hall paid $3.50. He left.", ["Dr. Hall paid $3.50.", "He left."]),
        ("See e.g. the pump.", ["See e.g.", "the pump."]),
        ("He said so. and then went.", ["He said so.", "and then went."]),
        ("# Title\n* one\n* two", ["# Title\n* one\n* two"]),
        ("1. Wash it\n2. Dry it", ["1.", "Wash it\n2.", "Dry it"]),
        ("At 5 p.m. we met.", ["At 5 p.m. we met."]),
        ("At 5 p.m. The bell rang.", ["At 5 p.m.", "The bell rang."]),
        ("By J. Miller and K. Ode.", ["By J. Miller and K. Ode."]),
        ("A. Costs\nB. Gains", ["A.", "Costs\nB.", "Gains"]),
        ('He said "No." Then he ran.', ['He said "No."', "Then he ran."]),
        ("(It works.) Good.", ["(It works.)", "Good."]),
        ("Well... maybe. Yes.", ["Well... maybe.", "Yes."]),
        ("!?! Why not", ["!", "?!", "Why not"]),
        ("P.S. Write soon.", ["P.S.", "Write soon."]),
        ("Price: 3.5 and 4.", ["Price: 3.5 and 4."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_a_stop_ends_a_sentence_where_the_method_says_so(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@given(st.text(alphabet=st.sampled_from("aAbB .!?\"')(\n-*1,\u00a0é"), max_size=60))
def test_nothing_but_white_space_stands_outside_the_sentences(text: str) -> None:
    spans = punkt.sentences(text)
    assert all(0 <= a < b <= len(text) for a, b in spans)
    edges = [0, *itertools.chain.from_iterable(spans), len(text)]
    assert all(not text[a:b].strip() for a, b in zip(edges[::2], edges[1::2], strict=True))


@pytest.mark.parametrize(
    ("text", "capitals"),
    [
        ("Q&A", ["Q", "A"]),
        ("Shi'A", ["A"]),
        ("P's and D's.", ["P", "D"]),
        ("X=1, Y:2 and Z:A", ["X=1", "Y:2", "Z", "A"]),
        ("U.S. NASA's A/B STATE-OF-THE-ART", ["U.S.", "NASA", "A/B", "STATE-OF-THE-ART"]),
        ("Section IV*done", ["IV"]),
        ("I CAN'T. CANNOT", ["I", "CA", "N'T", "CAN", "NOT"]),
        ("`I.` and ``BASH", ["I.", "BASH"]),
        ("HAT***RED", ["HAT", "RED"]),
        ("P.P.S more", ["P.P.S"]),
    ],
)
def test_words_in_capitals_are_tokens_of_the_treebank(text: str, capitals: list[str]) -> None:
    assert [token for token in treebank.tokens(text) if token.isupper()] == capitals


@given(st.text(max_size=80))
def test_tokens_lose_no_letter_and_invent_none(text: str) -> None:
    kept = [c for c in "".join(treebank.tokens(text)) if c.isalnum()]
    assert kept == [c for c in text if c.isalnum()]
