"""What must never reach the terminal is taken out, wherever it is cut; formulas become Unicode or stay source."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localllm_tui.markdown.clean import Cleaner, clean, clean_line
from localllm_tui.markdown.latex import to_unicode
from localllm_tui.markdown.layout import column_widths
from localllm_tui.markdown.wrap import wrap

NASTY = st.text(
    alphabet=st.sampled_from("ab \n\r\t\x1b[]0;m\x07\\\x9b\x90P\x00\x7f\u202e\u2066\u2028\ufeff\U000e0041\ud800"),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(NASTY, st.integers(1, 9))
def test_cleaning_does_not_depend_on_where_a_text_is_cut(text: str, size: int) -> None:
    cleaner = Cleaner()
    assert "".join(cleaner.feed(text[i : i + size]) for i in range(0, len(text), size)) == clean(text)


@settings(max_examples=300, deadline=None)
@given(NASTY)
def test_no_control_character_is_left(text: str) -> None:
    for c in clean(text):
        assert c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f"), repr(c)
        assert c not in "\u202e\u2066\u2028\ufeff\U000e0041"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;aGk=\x1b\\text", "text"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("safe \u202egnp.exe", "safe gnp.exe"),
    ],
)
def test_sequences_leave_whole(raw: str, expected: str) -> None:
    assert clean(raw) == expected


def test_a_title_is_one_line() -> None:
    assert clean_line(" a\n\tb\x1b[2J ") == "a b"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (r"x^2 + y_1", "x² + y₁"),
        (r"\frac{a}{b}", "a/b"),
        (r"\frac{1}{2}", "½"),
        (r"\alpha \leq \beta", "α ≤ β"),
        (r"\sqrt{x+1}", "√(x+1)"),
        (r"\mathbb{R}^n", "ℝⁿ"),
        (r"90^\circ", "90°"),
        (r"\unknownmacro{x}", None),
        (r"\begin{matrix}1\end{matrix}", None),
        (r"\sqrt[3]{x}", None),
        ("{x", None),
    ],
)
def test_formulas_become_unicode_or_stay_source(source: str, expected: str | None) -> None:
    assert to_unicode(source) == expected


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab 你好👩‍é.、"), max_size=60), st.integers(1, 20))
def test_wrapping_loses_only_white_space(text: str, width: int) -> None:
    spans = wrap(text, width)
    kept = "".join(text[a:b] for a, b in spans)
    assert "".join(kept.split()) == "".join(text.split())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 12)), min_size=1, max_size=8), st.integers(1, 120))
def test_columns_fit_their_room(columns: list[tuple[int, int]], room: int) -> None:
    natural = [max(n, s) for n, s in columns]
    smallest = [s for _, s in columns]
    widths = column_widths(natural, smallest, room)
    if widths is None:
        assert sum(smallest) > room
    else:
        assert sum(widths) <= max(room, sum(natural) if sum(natural) <= room else room)
        assert all(s <= w <= n for s, w, n in zip(smallest, widths, natural, strict=True))
