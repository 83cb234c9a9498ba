"""The values that travel between the rooms: messages, and the typed events of one turn.

`Assistant.send` yields one stream of the events below. The screen, the command line, the server and the tests consume
that same stream; there is no second path. Everything here is frozen, picklable, and imports nothing of ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol


class Role(StrEnum):
    """Who speaks in a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat, as the model sees it."""

    role: Role
    content: str


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """The model ended its turn, or a stop string was met."""
    LENGTH = "length"
    """The token budget or the context window was used up."""
    CANCELLED = "cancelled"
    """The user stopped it; the text so far is kept."""
    RULE = "rule"
    """A rule was broken and could not be repaired."""
    REFUSED = "refused"
    """Not in your documents, or an input rule turned the question away; no model text was shown."""


# ---- what was measured ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Speculation:
    """What speculative decoding did for one answer (all counts are tokens or steps of this answer)."""

    drafted: int = 0
    """Draft tokens sent to the target for verification."""
    accepted: int = 0
    """Draft tokens that the target agreed with."""
    target_steps: int = 0
    """Evaluations of the target model, verification steps and plain steps together."""
    plain_steps: int = 0
    """Those of them that carried no draft token."""
    speedup: float = 1.0
    """Tokens per second against measured plain decoding of the same answer; 1.0 where nothing was drafted."""
    drafter: str | None = None
    """The drafter that proposed most tokens: ``ngram``, the draft model's name, or None."""

    @property
    def acceptance_rate(self) -> float:
        """Accepted over drafted tokens, 0 to 1."""
        return self.accepted / self.drafted if self.drafted else 0.0


@dataclass(frozen=True, slots=True)
class Stats:
    """What one answer cost. Times are seconds on the wall clock."""

    prompt_tokens: int = 0
    """Tokens of the rendered prompt, cached ones included."""
    cached_tokens: int = 0
    """Prompt tokens whose KV state was reused, so that they were not evaluated."""
    completion_tokens: int = 0
    load_seconds: float = 0.0
    """Time this turn waited for the model to load."""
    first_token_seconds: float = 0.0
    decode_seconds: float = 0.0
    """From the first token to the last."""
    n_ctx: int = 0
    speculation: Speculation = field(default_factory=Speculation)
    forgotten_tokens: int = 0
    """Tokens that left a full window while the answer was written (setting `when_full`)."""
    thinking_seconds: float = 0.0
    """From the first token of the reasoning to its end, where a model thinks aloud; 0 without reasoning."""

    @property
    def window_tokens(self) -> int:
        """Tokens that stand in the context window at the end: prompt and answer, without what was forgotten."""
        return self.prompt_tokens + self.completion_tokens - self.forgotten_tokens

    @property
    def decode_tokens_per_second(self) -> float:
        """Tokens after the first, over the time after the first."""
        return (self.completion_tokens - 1) / self.decode_seconds if self.decode_seconds > 0 else 0.0


# ---- documents ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that was put before the model."""

    n: int
    """Its number in the prompt and in citations, from 1."""
    source: str
    """Path of the document as the user knows it."""
    title: str
    heading: str
    """Heading path, parts joined by ``›``; empty at the top of a document."""
    page: int | None
    """Page number from 1, for paged formats."""
    line: int
    """Line number from 1."""
    start: int
    end: int
    """Character span in the document's extracted text, half open."""
    score: float
    """Fused relevance, 0 to 1; comparable only within one query."""
    text: str
    page_label: str = ""
    """What the document itself calls that page, such as ``iv``; empty where that is the number."""


class SupportState(StrEnum):
    """How well a citation's passage supports what was said."""

    VERIFIED = "verified"
    NEAR = "near"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class Citation:
    """One mark ``[n]`` in an answer, and what its passage says."""

    n: int
    source: str
    page: int | None
    line: int
    start: int
    end: int
    """Span in the document's extracted text that supports the sentence."""
    quote: str
    """The document's own words at that span."""
    state: SupportState
    page_label: str = ""
    """As in `Passage`."""

    @classmethod
    def of(cls, passage: Passage, start: int, end: int, state: SupportState) -> Citation:
        """The citation of a span of a passage's text."""
        return cls(
            passage.n, passage.source, passage.page, passage.line + passage.text.count("\n", 0, start),
            passage.start + start, passage.start + end, passage.text[start:end], state, passage.page_label,
        )  # fmt: skip


class Placed(Protocol):
    """What stands at a place of a document: a passage, a citation, a hit."""

    @property
    def page(self) -> int | None:
        """As in `Passage`, like the others."""

    @property
    def page_label(self) -> str:
        """May be empty."""

    @property
    def line(self) -> int:
        """From 1."""


def place_of(found: Placed) -> str:
    """The place, for people: ``page 6``, ``page iv (6)`` where the document calls that page so, or ``line 9``."""
    if found.page is None:
        return f"line {found.line}"
    return f"page {found.page_label} ({found.page})" if found.page_label else f"page {found.page}"


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open character span in an answer."""

    start: int
    end: int


# ---- rules ----------------------------------------------------------------------------------------------------------


class RuleState(StrEnum):
    """What became of one rule."""

    PASS = "pass"
    FIXED = "fixed"
    REPAIRED = "repaired"
    WARN = "warn"
    FAIL = "fail"
    TRUNCATED = "truncated"
    NOT_EVALUATED = "not_evaluated"


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """The verdict on one rule."""

    id: str
    verdict: RuleState
    measured: str | int | float | None = None
    required: str | int | float | None = None
    span: Span | None = None
    """Where the text fails, when it can be located."""
    reason: str = ""
    """One line for people."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on an answer or a file: every rule, none left out."""

    passed: bool
    rules: tuple[RuleVerdict, ...] = ()


# ---- the events of a turn -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The turn is in the history: the question is stored, and an empty answer that will grow."""

    chat_id: int
    question_id: int | None
    """None where an answer is continued or the chat begins with one."""
    answer_id: int


@dataclass(frozen=True, slots=True)
class Loading:
    """The model is being loaded."""

    model: str
    fraction: float
    """0 to 1."""


@dataclass(frozen=True, slots=True)
class Prefilling:
    """The prompt is being evaluated."""

    done: int
    total: int
    """Tokens; cached ones are not counted."""


@dataclass(frozen=True, slots=True)
class ContextUse:
    """What went into the context window, and what was left out."""

    n_ctx: int
    prompt_tokens: int
    dropped_messages: int = 0
    passages: int = 0
    assembly: Literal["exact", "warm", "instant"] = "exact"


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Passages were found and put before the model, or nothing relevant was found."""

    passages: tuple[Passage, ...]
    mode: Literal["hybrid", "keyword", "vector", "whole"]
    """How they were found; ``whole`` when the documents fit in full."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer. Text is whole characters; stop strings never appear in it."""

    text: str
    n_tokens: int = 1
    """Model tokens behind this text; 0 when held-back text is released."""
    from_draft: bool = False


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule was broken beyond repair at this point of the stream."""

    rule: RuleVerdict


@dataclass(frozen=True, slots=True)
class Repairing:
    """The answer is taken back to its good prefix and goes on from there.

    Consumers replace everything they showed of this answer by ``kept``.
    """

    rule_id: str
    attempt: int
    kept: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The turn is over. `text` is the whole answer: it wins over the tokens seen, after fixes and repairs."""

    reason: FinishReason
    text: str
    stats: Stats
    model: str = ""
    draft: str | None = None
    context: ContextUse | None = None
    citations: tuple[Citation, ...] = ()
    unsupported: tuple[Span, ...] = ()
    nearest: tuple[Passage, ...] = ()
    """For a refusal: the closest passages."""
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()
    """One-line remarks for the user: what was left out, what could not be used."""


Event = TurnStarted | Loading | Retrieved | ContextUse | Prefilling | Token | Violation | Repairing | Finished
"""Everything that `Assistant.send` may yield. The last event is always a `Finished`, or an exception is raised."""
