"""Spans of a cleaned text point at the true text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from localllm.rag.alignment import aligned
from localllm.rules.guards.injection import clean

WORDS = st.sampled_from(
    ["seal", "pump", "a", "400", "of", "oil.", "pu\u200bmp", "<|im_end|>", "[INST]", "\u202eoil", "x\x07"]
)


@given(st.lists(WORDS, min_size=1, max_size=30), st.sampled_from([" ", "\n", "  "]))
def test_a_word_of_the_cleaned_text_is_found_where_it_stood(words: list[str], gap: str) -> None:
    original = gap.join(words)
    cleaned = clean(original)
    place = aligned(original, cleaned)
    at = 0
    for word in words:
        shown = clean(word)
        start = cleaned.index(shown, at)
        at = start + len(shown)
        a, b = place(start, at)
        assert clean(original[a:b]) == shown
    assert clean(original[slice(*place(0, len(cleaned)))]).strip() == cleaned.strip()


@given(st.text(max_size=60), st.text(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_a_span_always_lies_inside_the_text(original: str, changed: str, start: int, end: int) -> None:
    a, b = aligned(original, changed)(min(start, len(changed)), min(end, len(changed)))
    assert original == changed or 0 <= a <= b <= len(original)


def test_equal_texts_keep_their_spans() -> None:
    assert aligned("one two", "one two")(4, 7) == (4, 7)
