"""An answer, and a verdict, as the JSON documents that scripts rely on."""

from __future__ import annotations

from typing import Any

from localllm.events import Citation, ContextUse, Finished, Passage, Span, Verdict


def answer_json(finished: Finished) -> dict[str, Any]:
    """The whole answer; every key is always there."""
    stats, context = finished.stats, finished.context or ContextUse(finished.stats.n_ctx, finished.stats.prompt_tokens)
    speculation = stats.speculation
    return {
        "text": finished.text,
        "finish_reason": finished.reason.value,
        "model": finished.model,
        "draft": finished.draft,
        "usage": {
            "prompt_tokens": stats.prompt_tokens,
            "cached_tokens": stats.cached_tokens,
            "completion_tokens": stats.completion_tokens,
        },
        "timing": {
            "load_seconds": stats.load_seconds,
            "first_token_seconds": stats.first_token_seconds,
            "decode_tokens_per_second": stats.decode_tokens_per_second,
        },
        "speculation": {
            "drafted": speculation.drafted,
            "accepted": speculation.accepted,
            "acceptance_rate": speculation.acceptance_rate,
            "target_steps": speculation.target_steps,
            "plain_steps": speculation.plain_steps,
            "speedup": speculation.speedup,
        },
        "context": {
            "n_ctx": context.n_ctx,
            "dropped_messages": context.dropped_messages,
            "passages": context.passages,
            "assembly": context.assembly,
        },
        "citations": [_citation(citation) for citation in finished.citations],
        "unsupported": [_span(span) for span in finished.unsupported],
        "nearest": [_nearest(passage) for passage in finished.nearest],
        "verdict": verdict_json(finished.verdict or Verdict(True)),
    }


def verdict_json(verdict: Verdict, *, reasons: bool = False) -> dict[str, Any]:
    """Every rule with what was measured and what was required; with `reasons` also a line for people."""
    return {
        "passed": verdict.passed,
        "rules": [
            {
                "id": rule.id,
                "verdict": rule.verdict.value,
                "measured": rule.measured,
                "required": rule.required,
                "span": _span(rule.span) if rule.span else None,
                **({"reason": rule.reason} if reasons else {}),
            }
            for rule in verdict.rules
        ],
    }


def _span(span: Span) -> dict[str, int]:
    return {"start": span.start, "end": span.end}


def _citation(citation: Citation) -> dict[str, Any]:
    return {
        "n": citation.n,
        "source": citation.source,
        "page": citation.page,
        "line": citation.line,
        "start": citation.start,
        "end": citation.end,
        "quote": citation.quote,
        "state": citation.state.value,
    }


def _nearest(passage: Passage) -> dict[str, Any]:
    return {
        "source": passage.source,
        "page": passage.page,
        "line": passage.line,
        "score": passage.score,
        "text": passage.text,
    }
