"""What documents and rules have to settle between them for one answer: who cleans the passages, what constrains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from localllm.assistant.seams import AnswerRules, Grounding, PassageGuard, Rulebook
from localllm.engine.protocol import ConstraintSpec
from localllm.events import Passage


def passage_guard(rulebook: Rulebook | None) -> PassageGuard:
    """The retrieval rules, where there are any; behind them what holds for every passage, rules or none.

    Hidden characters are taken out and the marks of chat templates broken up, in text, title and heading. The passages
    are then fenced and called data by the prompt that they stand in (see `rag.prompting`).
    """
    from localllm.rules.guards.injection import clean

    rules = rulebook.guard if rulebook else None

    def guard(passages: Sequence[Passage]) -> tuple[Sequence[Passage], tuple[str, ...]]:
        kept, notes = rules(passages) if rules else (passages, ())
        return [replace(p, text=clean(p.text), title=clean(p.title), heading=clean(p.heading)) for p in kept], notes

    return guard


def constraint_of(
    grounding: Grounding | None, rules: AnswerRules | None
) -> tuple[ConstraintSpec | None, tuple[str, ...]]:
    """What constrains the answer while it is written, and what had to be left to the check afterwards.

    The documents allow only numbers of passages that exist, the rules whatever they say; where both can be one grammar
    they are. Where the model only chooses sentences the rules judge the answer that is made of them.
    """
    ours, theirs = grounding.constraint if grounding else None, rules.constraint if rules else None
    if ours is None or theirs is None:
        return ours or theirs, ()
    if grounding is not None and grounding.hidden:
        return ours, ("The answer is made of sentences from the documents: the rules are checked when it is done.",)
    from localllm.rules.compile import narrowed

    both = narrowed(theirs, ours.source) if ours.kind == "regex" else None
    if both is not None:
        return both, ()
    return theirs, ("The rules fix the form of the answer: the numbers of its passages are checked when it is done.",)
