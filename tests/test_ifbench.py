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
DIFFERS = {"format:quotes", "format:emoji", "format:sub-bullets", "format:no_bullets_bullets"}
"""Kinds that decide otherwise on purpose; docs/rules.md says why."""


@pytest.mark.skipif(not DATA.is_dir(), reason="LOCALLLM_BENCH_DATA is not set")
def test_verdicts_are_the_references_but_for_the_kinds_listed() -> None:
    from bench.rules import agreement

    table = agreement(DATA)
    table.pop("not implemented")
    same, total = map(int, table.pop("all implemented kinds").split("/"))
    assert {kind for kind, text in table.items() if "differs" in text} <= DIFFERS
    assert same / total >= 0.96


def follows(id: str, text: str, **values: Any) -> bool:
    kind = kinds()[id]
    return kind.check(read_fields(kind, values, id), text, Context()).passed


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
            name: "x" if name.startswith(("keyword", "word", "sep", "options", "prompt")) else 1 for name in kind.fields
        }
        assert not kind.check(read_fields(kind, values, kind.name), "  ", Context()).passed
