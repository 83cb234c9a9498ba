"""The context budget: what goes in, what is left out, and why. Nothing is ever cut in silence.

Everything is counted with the model's own chat template and tokenizer. When a chat grows too long, its oldest turns are
left out, whole turns at a time, until the prompt and a reserve for the answer fit; what was left out is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from localllm.engine.protocol import RenderedPrompt
from localllm.errors import ContextOverflow
from localllm.events import ContextUse, Message, Role

RESERVE_TOKENS = 512
"""Tokens kept free for an answer of unlimited length, at most a quarter of the window."""


class Renderer(Protocol):
    """What the budget needs of an engine."""

    def render(self, messages: Sequence[Message], prefix: str = "") -> RenderedPrompt:
        """The prompt as the model sees it."""
        ...


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """Messages that fit the window, and the account of it."""

    messages: tuple[Message, ...]
    context: ContextUse
    notes: tuple[str, ...] = ()
    """One line for the user per thing that was left out or runs short."""


def fit(
    renderer: Renderer,
    messages: Sequence[Message],
    *,
    n_ctx: int,
    max_tokens: int = 0,
    prefix: str = "",
    passages: int = 0,
) -> FittedPrompt:
    """Choose the messages that fit the window.

    Args:
        renderer: Counts with the model's own template.
        messages: System prompt if any, earlier turns, and the question last.
        n_ctx: Tokens that the window holds.
        max_tokens: Tokens wanted for the answer; 0 for as many as there are.
        prefix: Beginning of the answer that stands already.
        passages: Passages inside the question, for the account.

    Raises:
        ContextOverflow: The question does not fit, even with every earlier turn left out.
    """
    head, turns, question = _parts(messages)
    reserve = min(max_tokens or RESERVE_TOKENS, n_ctx // 4)

    def count(dropped: int) -> int:
        kept = [message for turn in turns[dropped:] for message in turn]
        return len(renderer.render([*head, *kept, *question], prefix).token_ids)

    dropped, n_prompt = _fewest_dropped(count, len(turns), n_ctx - reserve)
    if n_prompt >= n_ctx:
        raise ContextOverflow(n_prompt, n_ctx)
    left_out = sum(len(turn) for turn in turns[:dropped])
    notes = []
    if left_out:
        notes.append(f"The {left_out} oldest messages were left out: the window holds {n_ctx:,} tokens.")
    if n_ctx - n_prompt < reserve:
        notes.append(f"Only {n_ctx - n_prompt:,} of {n_ctx:,} tokens are left for the answer.")
    kept = [message for turn in turns[dropped:] for message in turn]
    context = ContextUse(n_ctx, n_prompt, left_out, passages)
    return FittedPrompt((*head, *kept, *question), context, tuple(notes))


def alternating(messages: Iterable[Message]) -> list[Message]:
    """Messages as chat templates want them: empty ones left out, neighbours of the same role joined.

    A question whose answer failed stands beside the next one; many templates refuse two in a row.
    """
    joined: list[Message] = []
    for message in messages:
        if not message.content.strip() and message.role is not Role.USER:
            continue
        if joined and joined[-1].role is message.role:
            joined[-1] = Message(message.role, f"{joined[-1].content}\n\n{message.content}")
        else:
            joined.append(message)
    return joined


def _parts(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]], list[Message]]:
    """System messages at the head, the turns between, and the question. A turn begins with a user's message."""
    n_head = 0
    while n_head < len(messages) and messages[n_head].role is Role.SYSTEM:
        n_head += 1
    rest = messages[n_head:]
    turns: list[list[Message]] = []
    for message in rest[:-1]:
        if message.role is Role.USER or not turns:
            turns.append([])
        turns[-1].append(message)
    return list(messages[:n_head]), turns, list(rest[-1:])


def _fewest_dropped(count: _Count, n_turns: int, budget: int) -> tuple[int, int]:
    """The smallest number of oldest turns to leave out, and the tokens of what remains.

    Fewer turns never need more tokens, so a binary search finds it in log2(turns) renderings.
    """
    n_prompt = count(0)
    if n_prompt <= budget or not n_turns:
        return 0, n_prompt
    low, high, found = 1, n_turns, count(n_turns)
    while low < high:
        middle = (low + high) // 2
        n = count(middle)
        if n <= budget:
            high, found = middle, n
        else:
            low = middle + 1
    return high, found


class _Count(Protocol):
    def __call__(self, dropped: int) -> int: ...
