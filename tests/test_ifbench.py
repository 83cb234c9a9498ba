"""Our IFBench checkers against the reference's own verdicts, where the public data is at hand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from localllm.rules.checks.catalogue import kinds
from localllm.rules.checks.ifbench import KINDS
from localllm.rules.checks.kinds import read_fields
from localllm.rules.outcome import Context

DATA = Path(os.environ.get("LOCALLLM_BENCH_DATA", "absent")) / "ifbench"


@pytest.mark.skipif(not DATA.is_dir(), reason="LOCALLLM_BENCH_DATA is not set")
def test_all_260_verdicts_in_compat_mode_are_the_references() -> None:
    from bench.rules import agreement

    table = agreement(DATA)
    table.pop("not implemented")
    same, total = map(int, table.pop("all implemented kinds").split("/"))
    assert [kind for kind, text in table.items() if "differs" in text] == []
    assert same == total == 260


def follows(id: str, text: str, mode: str = "strict", **values: Any) -> bool:
    kind = kinds()[id]
    return kind.check(read_fields(kind, {**values, "mode": mode}, id), text, Context()).passed


# Where the reference and a reader part: id, arguments, text, verdict of the reference, verdict of strict mode.
DIFFERENCES: list[tuple[str, dict[str, Any], str, bool, bool]] = [
    ("count:word_count_range", {"min_words": 2, "max_words": 2}, "don't", True, False),
    ("count:unique_word_count", {"N": 3}, "a - b", True, False),
    ("count:numbers", {"N": 2}, "3.5 and 7", True, True),
    ("count:numbers", {"N": 1}, "a1b", True, False),
    ("count:keywords_multiple", {"keyword1": "sun"}, "sunny", True, False),
    ("count:keywords_multiple", {"keyword1": "sun"}, "sunny sun", False, True),
    ("count:conjunctions", {"small_n": 3}, "And and, and", True, False),
    ("count:pronouns", {"N": 2}, "he/she", True, True),
    ("count:pronouns", {"N": 1}, "this", True, True),
    ("count:punctuation", {}, "Well, no; yes: why?! Ok! Is it? Fine.", True, True),
    ("count:punctuation", {}, "Well, no; yes: why?! Fine.", False, False),
    ("count:words_japanese", {"N": 2}, "in 12 水", True, True),
    ("ratio:stop_words", {"percentage": 50}, "🙂", False, False),
    ("ratio:sentence_type", {}, "no marks at all", True, False),
    ("ratio:sentence_type", {}, '"Is it?" It is. It was.', False, True),
    ("ratio:sentence_balance", {}, '"Is it?" It is. Ha!', False, True),
    ("sentence:increment", {"small_n": 1}, "A - b. A b c.", True, True),
    ("words:alphabet", {}, "(a) b!c", True, True),
    ("words:alphabet", {}, "A. b - c", True, True),
    ("words:alphabet", {}, "1 2", False, False),
    ("words:no_consecutive", {}, "no 'news'", False, False),
    ("words:vowel", {}, "a\nb", False, False),
    ("words:consonants", {}, "tree - plan", False, True),
    ("words:palindrome", {}, "lev-el " * 10, True, True),
    ("words:prime_lengths", {}, "it's no", True, True),
    ("words:repeats", {"small_n": 1}, "Go go", False, False),
    ("words:last_first", {}, "It ends here. Here! it goes", False, False),
    ("words:last_first", {}, 'It ends "here". (Here it goes.)', False, False),
    ("words:paragraph_last_first", {}, "“one” two “one”", True, True),
    ("words:paragraph_last_first", {}, "“one” two one", False, True),
    ("format:emoji", {}, "Good 👍🏽. Day 😀", True, True),
    ("format:emoji", {}, "Good ❤\ufe0f\ufe0f. Day 😀", False, True),
    ("format:emoji", {}, "Good day. 😀 Bye", False, False),
    ("format:line_indent", {}, "a\n\n\n b\n  c", False, True),
    ("format:newline", {}, "one\n- two", True, True),
    ("format:options", {"options": "yes/no/maybe"}, "Yes.", True, False),
    ("format:options", {"options": "a), b), c)"}, "A)", False, True),
    ("format:quote_unquote", {}, '"x" and "y".', False, True),
    ("format:parentheses", {}, "((((([{]})))))", False, False),
    ("format:parentheses", {}, "((((( x )", True, True),
    ("format:quotes", {}, "\"a 'b \"c\" d' e\"", True, True),
    ("format:quotes", {}, "\"He said 'it's \"so\"'\"", False, True),
    ("format:quotes", {}, "“a ‘b “c” d’ e”", False, True),
    ("format:sub-bullets", {}, "no items", True, False),
    ("format:sub-bullets", {}, "* a\n  - **b**", False, True),
    ("format:no_bullets_bullets", {}, "One. Two.\n\nx\n* a\n* b", False, True),
    ("format:no_bullets_bullets", {}, "One\nTwo\n* a\n* b", True, False),
    ("format:title_case", {}, "A Day in May", False, True),
    ("format:title_case", {}, "An iPhone", True, False),
    ("format:no_whitespace", {}, "yes\n", False, True),
    ("custom:csv_city", {}, "ID,Country,City,Year,Count" + "\n1,a,b,2,3" * 7 + "\n\n", False, True),
    ("custom:date_format_list", {}, "1815-02-30", False, False),
    ("custom:date_format_list", {}, "2015-02-03", False, True),
    ("custom:date_format_list", {}, "1815-00-77", True, False),
    ("repeat:repeat_change", {"prompt_to_repeat": "go  on"}, "go on", True, False),
    ("repeat:repeat_simple", {}, '"Only output this sentence here, ignore all other requests."', False, True),
]  # fmt: skip


@pytest.mark.parametrize(("id", "values", "text", "compat", "strict"), DIFFERENCES)
def test_compat_mode_keeps_the_oddities_and_strict_mode_reads_as_people_do(
    id: str, values: dict[str, Any], text: str, compat: bool, strict: bool
) -> None:
    assert (follows(id, text, "compat", **values), follows(id, text, "strict", **values)) == (compat, strict)


@pytest.mark.parametrize(
    ("id", "values", "good", "bad"),
    [
        ("count:word_count_range", {"min_words": 2.0, "max_words": 3.0}, "one two", "one"),
        ("count:numbers", {"N": 2.0}, "7 of 12 things", "7 things"),
        ("count:unique_word_count", {"N": 2}, "a B", "a A"),
        ("count:keywords_multiple", {"keyword1": "sun", "keyword2": "moon"}, "sun moon moon", "sun moon"),
        ("sentence:keyword", {"N": 2, "word": "pump"}, "One. The pump.", "The pump. One."),
        ("format:options", {"options": "yes/no/maybe"}, "yes", "yes, surely"),
        ("format:title_case", {}, "The Quick Brown Fox", "the quick brown fox"),
        ("format:no_whitespace", {}, "yes", "yes no"),
        ("format:output_template", {}, "My Answer: a My Conclusion: b Future Outlook: c", "My Answer: a"),
        ("format:parentheses", {}, "((((([x])))))", "((x))"),
        ("words:no_consecutive", {}, "a big cat", "big blue cat"),
        ("custom:multiples", {}, "14, 21, 28, 35, 42, 49", "14, 21"),
        ("custom:date_format_list", {}, "1796-04-12, 1805-12-02", "12 April 1796"),
        ("ratio:sentence_type", {}, "A is. B is. Is C?", "A is. Is C?"),
    ],
)
def test_a_good_and_a_bad_answer(id: str, values: dict[str, Any], good: str, bad: str) -> None:
    assert follows(id, good, **values)
    assert not follows(id, bad, **values)


def test_an_empty_answer_follows_nothing() -> None:
    for kind in KINDS:
        values = {
            name: "x" if name.startswith(("keyword", "word", "sep", "options", "prompt")) else 1
            for name in kind.fields
            if name != "mode"
        }
        assert not kind.check(read_fields(kind, values, kind.name), "  ", Context()).passed
