"""JsonPosition: what is open in a JSON text that is cut anywhere into tokens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.engine.json_position import JsonPosition, values_behind

values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(alphabet='ab",[]{}\\.é\n', max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text('k",{\\', max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=values, cut=st.integers(0, 1 << 20), step=st.integers(1, 7))
def test_what_is_open_at_a_cut_is_what_the_rest_ends(value: Any, cut: int, step: int) -> None:
    data = json.dumps(value, ensure_ascii=False).encode()
    cut %= len(data) + 1
    position = JsonPosition()
    for start in range(0, cut, step):
        position.feed(data[start : min(cut, start + step)])
    rest = JsonPosition()
    rest.open = list(position.open)
    rest._escaped = position._escaped
    rest.feed(data[cut:])
    assert rest.open == []
    assert position.n_tokens == -(-cut // step)
    if position.open and position.open[-1].kind == '"':
        assert position.ends_string(data[cut:])


@given(value=values, cut=st.integers(0, 1 << 20))
def test_the_first_comma_of_a_token_is_found_where_it_separates_values(value: Any, cut: int) -> None:
    data = json.dumps(value, ensure_ascii=False).encode()
    cut %= len(data) + 1
    position = JsonPosition()
    position.feed(data[:cut])
    outer = list(position.open)
    at, depth = position.comma(data[cut:])
    follow = JsonPosition()
    follow.open, follow._escaped = list(outer), position._escaped
    found, least = -1, len(outer)
    for i, byte in enumerate(data[cut:]):
        inside_string = bool(follow.open) and follow.open[-1].kind == '"'
        if byte == 0x2C and not inside_string:
            found = i
            break
        follow._feed(byte)
        least = min(least, len(follow.open))
    assert at == found
    if found >= 0:
        assert depth == (len(follow.open) if len(follow.open) <= least else 0)


@pytest.mark.parametrize(
    ("rest", "in_string", "levels", "values"),
    [
        ('", "b": "", "c": {"d": 0, "e": 1}}', True, 0, 3),
        ('a, b\\", c"}', True, 0, 0),
        ('], "b": [1, 2], "c": 0}', False, 1, 3),
        ('", "y", {"z": [1, 2]}], "b": 0}', True, 1, 1),
        ("}", False, 1, 0),
    ],
)
def test_values_behind_what_is_open_are_counted(rest: str, in_string: bool, levels: int, values: int) -> None:
    assert values_behind(rest.encode(), in_string, levels) == values


def test_an_open_string_knows_whether_a_sentence_ended() -> None:
    position = JsonPosition()
    position.feed(b'{"a": "It leaks.')
    assert position.sentence_ended
    position.feed(b" The")
    assert not position.sentence_ended


@given(value=values, step=st.integers(1, 11))
def test_a_piece_read_at_once_is_read_as_its_bytes_are(value: Any, step: int) -> None:
    data = json.dumps(["Ends. ", "b\\c, ", value], ensure_ascii=False).encode()
    whole, single = JsonPosition(), JsonPosition()
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        whole.feed(piece)
        for byte in piece:
            single.feed(bytes([byte]))
        assert [o.kind for o in whole.open] == [o.kind for o in single.open]
        assert (whole.sentence_ended, whole._escaped) == (single.sentence_ended, single._escaped)
