"""Scores of answers: right and wrong citations, refusals before and after the model, words that nothing supports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localllm.cli.main import main
from localllm.models import shelf
from localllm.rag.answer_scores import AnswerScores, score_answers
from localllm.rag.evaluate import Question, Refusals
from localllm.settings import find_paths
from tests.fakes import FakeEngine
from tests.libraries import HANDBOOK, make_library
from tests.models import CHAT, need

NOTES = {f"note{i}.txt": f"The weather of day {i} was fair.\n" for i in range(30)}
SEAL = Question("When is the seal replaced?", ("pump.md",), ("Replace the seal every 400 hours of operation.",))
CUP = Question("Who won the cup in Brazil last summer?")


def scores(tmp_path: Path, questions: list[Question], answers: list[str], *, extractive: bool = False) -> AnswerScores:
    library = make_library(tmp_path / "l.db", HANDBOOK | NOTES)
    return score_answers(library, questions, FakeEngine(answers), extractive=extractive)


def test_a_right_citation_counts_whole_and_its_sentence_too(tmp_path: Path) -> None:
    found = scores(tmp_path, [SEAL], ["Replace the seal every 400 hours of operation [1]."])
    assert (found.precisions, found.recalls) == ((1.0,), (1.0,))
    assert (found.sentences, found.unsupported, found.quotes) == (1, 0, 0)


def test_citing_another_sentence_of_the_right_file_is_half_wrong_by_sentences_and_right_by_files(
    tmp_path: Path,
) -> None:
    answer = "Replace the seal every 400 hours of operation [1]. Use part QX-2291 [1]."
    found = scores(tmp_path, [SEAL, Question(SEAL.text, SEAL.expected)], [answer])
    assert (found.precisions, found.recalls) == ((0.5, 1.0), (1.0, 1.0))
    assert found.citation_precision == pytest.approx(0.75)


def test_a_citation_of_another_file_is_wrong(tmp_path: Path) -> None:
    wrong = Question(SEAL.text, ("bridge.md",))
    found = scores(tmp_path, [wrong], ["Replace the seal every 400 hours of operation [1]."])
    assert (found.citation_precision, found.citation_recall) == (0.0, 0.0)


def test_invented_quotes_and_sentences_are_counted(tmp_path: Path) -> None:
    answer = 'Replace the seal every 400 hours of operation [1]. It says "paint the pump in a bright red colour" [1].'
    found = scores(tmp_path, [SEAL], [answer])
    assert (found.sentences, found.unsupported, found.quotes, found.invented_quotes) == (2, 1, 1, 1)


def test_refusals_before_and_after_the_model_both_count(tmp_path: Path) -> None:
    unsupported = Question("When is the seal replaced by the winner?", ("pump.md",))
    found = scores(tmp_path, [SEAL, unsupported, CUP], ["Purple elephants dance in Venezuela tonight."])
    assert found.refusals == Refusals(answerable=2, unanswerable=1, refused_rightly=1, refused_wrongly=2)
    assert found.precisions == ()


def test_chosen_sentences_are_the_documents_own(tmp_path: Path) -> None:
    found = scores(tmp_path, [SEAL], ["1"], extractive=True)
    assert found.extractive and (found.sentences, found.unsupported) == (1, 0)
    assert (found.citation_precision, found.citation_recall) == (1.0, 1.0)


@pytest.mark.model
def test_docs_eval_scores_answers_of_the_real_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need(CHAT)
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(shelf, "find_embedder", lambda *_: None)
    (tmp_path / "home" / "libraries").mkdir(parents=True)
    make_library(find_paths().library("default"), HANDBOOK | NOTES).close()
    file = tmp_path / "q.csv"
    file.write_text(f"question,expected,sentences\n{SEAL.text},pump.md,{SEAL.sentences[0]}\n{CUP.text},,\n", "utf-8")
    command = ["docs", "eval", str(file), "--answers", "-m", str(CHAT)]
    assert main(args=[*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["answers"]
    assert found["mode"] == "extract" and found["refusals"]["refused_rightly"] == 1
    assert found["sentences"] >= 1 and found["unsupported"] == found["invented_quotes"] == 0
    assert found["citation_recall"] in (0.0, 1.0)
    assert main(args=command) == 0
    assert "citations: precision" in capsys.readouterr().out
