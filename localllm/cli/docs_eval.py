"""`localllm docs eval`: a user's own questions put to the search, and to the model."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from localllm.cli.session import Session, one_line, print_json
from localllm.counted import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from localllm.engine.protocol import Embedder
    from localllm.rag.answer_scores import AnswerScores
    from localllm.rag.evaluate import Question, Refusals, Report
    from localllm.rag.index import Library
    from localllm.rag.rerank import Reranker


def run_eval(
    session: Session, library: Library, questions: Sequence[Question], embedder: Embedder | None,
    reranker: Reranker | None, *, limit: int, mode: Any, learn: bool, answers: bool, model: str, as_json: bool,
) -> None:  # fmt: skip
    """Score and say how it went."""
    from localllm.rag.evaluate import evaluate

    cache = session.paths.home / "cache"
    report = evaluate(
        library, questions, embedder, k=limit, mode=mode, learn=learn, cache_folder=cache, reranker=reranker
    )
    answered = _answers(session, library, questions, embedder, reranker, model) if answers else None
    if as_json:
        print_json({"library": library.name, **asdict(report), "answers": _plain(answered) if answered else None})
        return
    _say_report(session, report)
    if answered is not None:
        _say_answers(answered)
    if report.calibrated:
        session.say("The threshold for refusing was learned from these questions.")
    if report.note:
        session.say(report.note)


def _answers(
    session: Session, library: Library, questions: Sequence[Question], embedder: Embedder | None,
    reranker: Reranker | None, model: str,
) -> AnswerScores:  # fmt: skip
    from localllm.open import engine_spec, open_engine
    from localllm.rag.answer import is_extractive
    from localllm.rag.answer_scores import score_answers

    def report(done: int) -> None:
        if session.progress:
            click.echo(f"\r\x1b[KAnswering {done:,}/{len(questions):,}", nl=False, err=True)
            sys.stderr.flush()

    settings = session.settings.with_changes(model=model) if model else session.settings
    engine = open_engine(settings, session.paths, spec=engine_spec(settings, session.paths, documents=False))
    try:
        return score_answers(
            library, questions, engine, embedder=embedder, extractive=is_extractive(settings, engine.info.n_params),
            n_passages=settings.passages, cache_folder=session.paths.home / "cache", reranker=reranker, report=report,
        )  # fmt: skip
    finally:
        engine.close()
        if session.progress:
            click.echo("\r\x1b[K", nl=False, err=True)


def _plain(found: AnswerScores) -> dict[str, Any]:
    return {
        "mode": "extract" if found.extractive else "generate", "refusals": asdict(found.refusals),
        "citation_precision": found.citation_precision, "citation_recall": found.citation_recall,
        "sentences": found.sentences, "unsupported": found.unsupported, "quotes": found.quotes,
        "invented_quotes": found.invented_quotes,
    }  # fmt: skip


def _say_report(session: Session, report: Report) -> None:
    click.echo(f"{counted(report.questions, 'question')}, {report.mode} search")
    click.echo(f"the right file first: {report.hit_at_1:.3f}, among {report.k} passages: {report.hit_at_k:.3f}")
    click.echo(f"nDCG@10: {report.ndcg_at_10:.3f}")
    _say_refusals(report.refusals)
    for question in report.missed:
        click.echo(f"missed: {one_line(question, 100)}")


def _say_answers(found: AnswerScores) -> None:
    click.echo(f"answers, by {'choosing sentences' if found.extractive else 'writing'}:")
    _say_refusals(found.refusals, indent="  ")
    click.echo(f"  citations: precision {found.citation_precision:.3f}, recall {found.citation_recall:.3f}")
    click.echo(f"  sentences without support: {found.unsupported} of {found.sentences}")
    click.echo(f"  invented quotes: {found.invented_quotes} of {found.quotes}")


def _say_refusals(refusals: Refusals, indent: str = "") -> None:
    if refusals.unanswerable:
        click.echo(f"{indent}unanswerable questions refused: {refusals.refused_rightly} of {refusals.unanswerable}")
    click.echo(f"{indent}answerable questions refused: {refusals.refused_wrongly} of {refusals.answerable}")
