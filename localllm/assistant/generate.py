"""The generation of one answer: stream, watch, and where a rule is lost, go on from the good part."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

from localllm.assistant.seams import AnswerRules, Checked, Grounded, Grounding
from localllm.engine.protocol import Cancel, Engine, GenerationDone, Request, TokenEvent
from localllm.errors import ConstraintRefused
from localllm.events import (
    Event,
    FinishReason,
    Message,
    Prefilling,
    Repairing,
    RuleState,
    RuleVerdict,
    Speculation,
    Stats,
    Token,
    Verdict,
    Violation,
)


@dataclass(frozen=True, slots=True)
class Generated:
    """The model's answer after documents and rules had their say."""

    text: str
    reason: FinishReason
    stats: Stats
    grounded: Grounded | None = None
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()


def generate(
    engine: Engine,
    request: Request,
    *,
    rules: AnswerRules | None = None,
    grounding: Grounding | None = None,
    cancel: Cancel | None = None,
) -> Generator[Event, None, Generated]:
    """Yield the events of one answer and return it.

    Args:
        engine: Answers.
        request: What is asked; its `prefix` is the part of the answer that stands already.
        rules: Watch, check and repair; None lets everything pass.
        grounding: Checks its citations; may hide the model's own text from the user.
        cancel: Ends the answer; the text so far is kept.
    """
    asked, first = request.messages, request
    hidden = grounding is not None and grounding.hidden
    passages = grounding.passages if grounding else ()
    repaired: set[str] = set()
    given_up = 0
    best: tuple[int, Generated] | None = None
    stats: Stats | None = None
    notes: list[str] = []
    attempt = 0
    while True:
        text, broken, done, n_tokens = request.prefix, None, None, 0
        monitor = rules.monitor(text) if rules and not hidden else None
        stream = engine.stream(request, cancel)
        try:
            for event in stream:
                if isinstance(event, Prefilling):
                    yield event
                elif isinstance(event, GenerationDone):
                    done = event
                elif isinstance(event, TokenEvent):
                    n_tokens += len(event.token_ids)
                    text += event.text
                    broken = monitor.feed(event.text) if monitor else None
                    if broken is not None and attempt < (rules.attempts if rules else 0):
                        break
                    broken = None
                    if not hidden:
                        yield Token(event.text, len(event.token_ids), event.from_draft)
        except ConstraintRefused:
            if rules is None or rules.must_enforce or hidden or request.constraint is None:
                raise
            # The grammar outgrew its limits: what stands stays, the rest is checked afterwards.
            given_up += n_tokens
            notes.append("The rules became too complex to enforce while decoding: the rest was checked afterwards.")
            request = replace(request, prefix=text, constraint=None, max_tokens=_left(engine, first, text))
            continue
        if broken is not None:
            # The engine stops when its stream is closed, and keeps the KV state of what stands.
            stream.close()  # type: ignore[attr-defined]
            attempt += 1
            given_up += n_tokens
            repaired.add(broken.rule.id)
            kept = text[: broken.keep]
            yield Violation(broken.rule)
            yield Repairing(broken.rule.id, attempt, kept)
            request = replace(request, prefix=kept, ban=broken.ban, max_tokens=_left(engine, first, kept))
            continue
        assert done is not None, "a stream ends with GenerationDone"
        stats = _add(stats, replace(done.stats, completion_tokens=done.stats.completion_tokens + given_up))
        given_up = 0
        notes += [note for note in done.notes if note not in notes]
        grounded = grounding.check(text) if grounding else None
        notes += [note for note in (grounded.notes if grounded else ()) if note not in notes]
        if grounded and grounded.refused:
            return Generated(grounded.text, FinishReason.REFUSED, stats, grounded, None, tuple(notes))
        if rules is None:
            final = grounded.text if grounded else text
            return Generated(final, done.reason, stats, grounded, None, tuple(notes))
        checked = rules.check(grounded.text if grounded else text, done.reason, passages, frozenset(repaired))
        notes += [note for note in checked.notes if note not in notes]
        if grounding and grounded and not hidden and checked.text != grounded.text:
            grounded = grounding.check(checked.text)  # a fix moved the words: the spans must follow
        faults = sum(rule.verdict is RuleState.FAIL for rule in checked.verdict.rules)
        candidate = _candidate(checked, done.reason, stats, grounded)
        if best is None or faults < best[0]:
            best = (faults, candidate)
        repair = checked.repair
        if repair is None or attempt >= rules.attempts or done.reason is FinishReason.CANCELLED:
            return replace(best[1], stats=stats, notes=tuple(notes))
        attempt += 1
        repaired.add(repair.rule_id)
        yield Violation(_rule(checked.verdict, repair.rule_id))
        yield Repairing(repair.rule_id, attempt, repair.kept)
        request = replace(
            request,
            messages=_with_feedback(asked, repair.feedback),
            prefix=repair.kept,
            ban=repair.ban,
            max_tokens=_left(engine, first, repair.kept),
        )


def _left(engine: Engine, first: Request, kept: str) -> int:
    """What is left of the token budget behind the part that stays, at least one; 0 for no limit."""
    if not first.max_tokens:
        return 0
    return max(1, first.max_tokens - engine.count_tokens(kept.removeprefix(first.prefix)))


def _candidate(checked: Checked, reason: FinishReason, stats: Stats, grounded: Grounded | None) -> Generated:
    if checked.reject:
        return Generated("", FinishReason.RULE, stats, None, checked.verdict)
    return Generated(checked.text, reason, stats, grounded, checked.verdict)


def _rule(verdict: Verdict, rule_id: str) -> RuleVerdict:
    found = [rule for rule in verdict.rules if rule.id == rule_id]
    return found[0] if found else RuleVerdict(rule_id, RuleState.FAIL)


def _with_feedback(messages: tuple[Message, ...], feedback: str) -> tuple[Message, ...]:
    """The feedback joins the question: the prompt grows by one line, not by the failed answer."""
    if not feedback or not messages:
        return messages
    last = messages[-1]
    return (*messages[:-1], Message(last.role, f"{last.content}\n\n{feedback}"))


def _add(before: Stats | None, now: Stats) -> Stats:
    """The cost of all attempts: counts and decode time add up, the first attempt gives the times before it."""
    if before is None:
        return now
    old, new = before.speculation, now.speculation
    steps = old.target_steps + new.target_steps
    speedup = (old.speedup * old.target_steps + new.speedup * new.target_steps) / steps if steps else 1.0
    return replace(
        now,
        prompt_tokens=before.prompt_tokens,
        cached_tokens=before.cached_tokens,
        completion_tokens=before.completion_tokens + now.completion_tokens,
        first_token_seconds=before.first_token_seconds,
        decode_seconds=before.decode_seconds + now.decode_seconds,
        forgotten_tokens=before.forgotten_tokens + now.forgotten_tokens,
        speculation=Speculation(
            old.drafted + new.drafted,
            old.accepted + new.accepted,
            steps,
            old.plain_steps + new.plain_steps,
            speedup,
            new.drafter or old.drafter,
        ),
    )
