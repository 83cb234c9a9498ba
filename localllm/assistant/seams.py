"""What the assistant asks of documents and of rules. `localllm.rag` and `localllm.rules` fulfil it; tests fake it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from localllm.engine.protocol import Cancel, ConstraintSpec, Engine
from localllm.events import Citation, FinishReason, Message, Passage, Span
from localllm.rules.outcome import Broken as Broken
from localllm.rules.outcome import Checked as Checked
from localllm.rules.outcome import Repair as Repair
from localllm.settings import Settings

# ---- documents ------------------------------------------------------------------------------------------------------


class Grounded(Protocol):
    """An answer after its citations were checked."""

    @property
    def text(self) -> str:
        """With marks that can be followed."""
        ...

    @property
    def citations(self) -> tuple[Citation, ...]:
        """One for each mark in the text."""
        ...

    @property
    def unsupported(self) -> tuple[Span, ...]:
        """What no passage supports."""
        ...

    @property
    def refused(self) -> bool:
        """Nothing in it is supported: `text` says so instead."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user."""
        ...


class PassageGuard(Protocol):
    """The retrieval rules."""

    def __call__(self, passages: Sequence[Passage]) -> tuple[Sequence[Passage], tuple[str, ...]]:
        """The passages that may be used, cleaned, and notes on what was left out."""
        ...


class Grounding(Protocol):
    """The documents' part in one question: what was found, how it is put to the model, how its answer is checked."""

    @property
    def passages(self) -> tuple[Passage, ...]:
        """Put before the model; for a refusal the nearest ones."""
        ...

    @property
    def mode(self) -> Literal["hybrid", "keyword", "vector", "whole"]:
        """How they were found."""
        ...

    @property
    def seconds(self) -> float:
        """How long the search took."""
        ...

    @property
    def refusal(self) -> str:
        """Said instead of asking the model, when the documents don't answer; empty otherwise."""
        ...

    @property
    def system(self) -> str:
        """Instructions for the model."""
        ...

    @property
    def question(self) -> str:
        """The question with the numbered passages, as the model reads it."""
        ...

    @property
    def constraint(self) -> ConstraintSpec | None:
        """What the answer must look like while it is written."""
        ...

    @property
    def hidden(self) -> bool:
        """The model's own text is not for the user (it only chooses sentences); `check` makes the answer from it."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user, such as passages that were left out."""
        ...

    def check(self, text: str) -> Grounded:
        """Check every citation, quote and number of the answer."""
        ...


class Retriever(Protocol):
    """Documents that can be asked."""

    def ground(
        self,
        question: str,
        *,
        turns: Sequence[Message],
        engine: Engine,
        settings: Settings,
        guard: PassageGuard | None,
        cancel: Cancel | None,
    ) -> Grounding:
        """Find what the documents say about a question.

        Args:
            question: As the user asked it.
            turns: The earlier messages of the chat.
            engine: Counts tokens; its embedder searches by meaning.
            settings: Answer mode and number of passages.
            guard: Cleans or drops passages before the model reads them.
            cancel: Stops the search.
        """
        ...

    def close(self) -> None:
        """Close the library's file; safe to call twice."""
        ...


# ---- rules ----------------------------------------------------------------------------------------------------------


class Monitor(Protocol):
    """Watches one answer as it grows."""

    def feed(self, text: str) -> Broken | None:
        """More of the answer; what is lost by it, if anything."""
        ...


class AnswerRules(Protocol):
    """A rule set, compiled for one answer."""

    system: str
    """Instructions for the model; may be empty."""
    constraint: ConstraintSpec | None
    must_enforce: bool
    """A rule may not be left to the check afterwards."""
    attempts: int
    """Repairs allowed."""
    notes: tuple[str, ...]

    def monitor(self, kept: str) -> Monitor:
        """A monitor for an answer that begins with `kept`."""
        ...

    def check(self, text: str, reason: FinishReason, passages: Sequence[Passage], repaired: frozenset[str]) -> Checked:
        """Every rule on the whole text. `repaired` names the rules broken by earlier attempts."""
        ...


class Rulebook(Protocol):
    """A rule set that answers must follow."""

    guard_engine: Engine | None
    """Asked by the rules that ask a model; None leaves it to the one that answers."""
    asks_guard_model: bool
    """Whether a rule of it asks a model."""
    checks_questions: bool
    """Whether it has input rules."""

    def compile(self, engine: Engine, settings: Settings) -> AnswerRules:
        """The rule set against the loaded model's tokenizer and the token budget."""
        ...

    def check_question(self, text: str) -> Checked | None:
        """The input rules: None when there are none; `reject` turns the question away; `text` goes to the model."""
        ...

    @property
    def guard(self) -> PassageGuard | None:
        """The retrieval rules, if there are any."""
        ...
