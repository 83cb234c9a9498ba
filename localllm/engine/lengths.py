"""The arithmetic of draft lengths: expected tokens against the time they take.

`row[b]` is the target's time for a batch of b tokens, `chances[i]` the chance that draft token i is accepted when all
before it are. A step with k draft tokens emits 1 + a1 + a1 a2 + ... + a1...ak tokens on average.
"""

from __future__ import annotations

from collections.abc import Sequence

_HOPELESS = 0.02
"""Chance of getting that far below which longer drafts are not looked at."""


def best_length(chances: Sequence[float], row: Sequence[float]) -> tuple[int, float]:
    """The length of at least 1 with the most expected tokens per second, and that rate; drafting is free."""
    tokens = reach = 1.0
    best, rate = 0, 0.0
    for k, chance in enumerate(chances, 1):
        reach *= chance
        tokens += reach
        here = tokens / row[k + 1]
        if here > rate:
            best, rate = k, here
        if reach < _HOPELESS:
            break
    return best, rate


def expected_accepted(chances: Sequence[float]) -> list[float]:
    """Draft tokens that are accepted on average, for each length from 1."""
    reach, total, sums = 1.0, 0.0, []
    for chance in chances:
        reach *= chance
        total += reach
        sums.append(total)
    return sums


def best_plan(chance: float, row: Sequence[float], limit: int, per_token: float) -> tuple[int, float]:
    """The same before anything is drafted, when each token is accepted with `chance`.

    Args:
        chance: Of each draft token.
        row: Costs of the target.
        limit: Longest draft, at least 1.
        per_token: What drafting one token costs.
    """
    tokens = reach = 1.0
    best, rate = 1, 0.0
    for k in range(1, limit + 1):
        reach *= chance
        tokens += reach
        here = tokens / (row[k + 1] + k * per_token)
        if here > rate:
            best, rate = k, here
        if reach < _HOPELESS:
            break
    return best, rate


def best_prefix(chances: Sequence[float], row: Sequence[float], spent: float) -> int:
    """How much of a finished draft to send, 0 included, when drafting it took `spent` seconds.

    Time is worth the best rate that this draft allows, and never less than plain decoding makes of it.
    """
    rate = 1.0 / row[1]
    tokens = reach = 1.0
    expected = [1.0]
    for k, chance in enumerate(chances, 1):
        reach *= chance
        tokens += reach
        expected.append(tokens)
        rate = max(rate, tokens / (row[k + 1] + spent))
    return max(range(len(expected)), key=lambda k: (expected[k] - rate * row[k + 1], -k))


def worth_going_on(chances: Sequence[float], chance: float, row: Sequence[float], limit: int, per_token: float) -> bool:
    """Whether a draft should grow: some longer one has more expected tokens per second than the best so far.

    Looking at all longer ones, not only the next, crosses the steps of the cost curve.

    Args:
        chances: Of the tokens drafted so far, at least one.
        chance: Of tokens to come.
        row: Costs of the target.
        limit: Longest draft.
        per_token: What drafting one more costs.
    """
    tokens = reach = 1.0
    spent = len(chances) * per_token
    stop = 1.0 / (row[1] + spent)
    for k, a in enumerate(chances, 1):
        reach *= a
        tokens += reach
        stop = max(stop, tokens / (row[k + 1] + spent))
    ahead = 0.5 * (chance + chances[-1])
    for k in range(len(chances) + 1, limit + 1):
        reach *= ahead
        tokens += reach
        spent += per_token
        if tokens > stop * (row[k + 1] + spent):
            return True
        if reach < _HOPELESS:
            return False
    return False
