"""The measures, and a user's own questions put to a library."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.errors import InputError
from localllm.rag.evaluate import (
    Question,
    Refusals,
    evaluate,
    hit_at,
    ndcg,
    precision_recall,
    read_questions,
    span_recall,
)
from localllm.rag.thresholds import thresholds_of
from tests.fakes import FakeEmbedder
from tests.libraries import HANDBOOK, make_library


def test_questions_are_read_from_csv_and_jsonl(tmp_path: Path) -> None:
    table = tmp_path / "q.csv"
    table.write_text(
        'question,expected,sentences\nWhen?,pump.md,At noon. | At night.\n"Who, then?",a.md; b.md\nNothing?,\n', "utf-8"
    )
    lines = tmp_path / "q.jsonl"
    lines.write_text(
        '{"question": "When?", "expected": "pump.md", "sentences": ["At noon.", "At night."]}\n\n'
        '{"question": "Who, then?", "expected": ["a.md", "b.md"]}\n{"question": "Nothing?"}\n',
        "utf-8",
    )
    wanted = [
        Question("When?", ("pump.md",), ("At noon.", "At night.")), Question("Who, then?", ("a.md", "b.md")),
        Question("Nothing?"),
    ]  # fmt: skip
    assert read_questions(table) == read_questions(lines) == wanted


@pytest.mark.parametrize(
    ("name", "text"),
    [("q.jsonl", "{nope\n"), ("q.jsonl", '{"expected": "x"}\n'), ("q.csv", "frage,antwort\na,b\n"), ("q.csv", ""),
     ("q.jsonl", '{"question": "x", "expected": [1]}'), ("q.jsonl", '{"question": "x", "sentences": {"a": 1}}')],
)  # fmt: skip
def test_a_file_without_questions_is_refused_with_its_line(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=name):
        read_questions(path)
    with pytest.raises(InputError):
        read_questions(tmp_path / "missing.csv")


def test_the_report_counts_what_was_found_and_what_was_not(tmp_path: Path) -> None:
    library = make_library(tmp_path / "l.db", HANDBOOK)
    questions = [
        Question("When is the seal replaced?", ("pump.md",)),
        Question("When was the bridge opened?", ("docs/bridge.md",)),
        Question("When does the office close?", ("pump.md",)),
        Question("Who won the cup in Brazil last summer?"),
    ]
    report = evaluate(library, questions, k=1)
    assert report.hit_at_1 == pytest.approx(2 / 3)
    assert report.missed == ("When does the office close?",)
    assert report.mode == "keyword"
    assert report.refusals.unanswerable == 1
    assert report.threshold is None


def test_a_threshold_is_learned_from_the_users_questions(tmp_path: Path) -> None:
    library = make_library(tmp_path / "l.db", HANDBOOK, FakeEmbedder())
    questions = [Question("Replace the seal every 400 hours", ("pump.md",)), Question("zzzz zzzz")]
    before = thresholds_of(library).relevance
    report = evaluate(library, questions, FakeEmbedder(), learn=True)
    assert report.calibrated
    assert thresholds_of(library).relevance > before
    assert evaluate(library, questions, FakeEmbedder()).refusals.f1 == 1.0


def test_the_measures_agree_with_their_definitions() -> None:
    assert ndcg(["a", "b"], {"a": 1}) == 1.0
    assert ndcg(["b", "a"], {"a": 1}) == pytest.approx(1 / math.log2(3))
    assert ndcg(["b"], {"a": 1}) == ndcg([], {}) == 0.0
    assert (hit_at(["b", "a"], {"a": 1}, 1), hit_at(["b", "a"], {"a": 1}, 2)) == (0.0, 1.0)
    assert span_recall([(0, 10)], [(5, 20), (0, 2)]) == pytest.approx(0.7)
    assert precision_recall(["a", "b"], ["b", "c", "d", "e"]) == (0.5, 0.25)
    r = Refusals(answerable=10, unanswerable=10, refused_rightly=6, refused_wrongly=2)
    assert (r.precision, r.recall, r.false_refusals) == (0.75, 0.6, 0.2)
    assert r.f1 == pytest.approx(2 / 3)
    assert Refusals(0, 0, 0, 0).f1 == 0.0
    assert Refusals.of([True, True, False, False, False], [False, True, True, True, False]) == Refusals(2, 3, 2, 1)


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.sets(st.sampled_from("abcdef"), min_size=1))
def test_gain_is_largest_for_the_ideal_order(ranked: list[str], relevant: set[str]) -> None:
    grades = dict.fromkeys(relevant, 1.0)
    ideal = sorted(ranked, key=lambda x: x not in relevant)
    assert 0 <= ndcg(ranked, grades) <= ndcg(ideal, grades) <= 1
