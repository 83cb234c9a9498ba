"""ModelDrafter: a second, small model drafts, one token after the other.

At temperature 0 it takes the likeliest. Above, it draws with the very random numbers that the target will draw with:
the nearer the two models are, the oftener both draw the same, whether that was likely or not. The target's text stays
that of its own draws.

Its KV state is kept for accepted tokens, so no token is evaluated twice, and it lags behind while nothing is drafted:
what it missed is read in one batch when drafting pays again. The two vocabularies may differ: tokens are translated by
their text where the text is the same, and a target token without a counterpart is read as the draft's own cut of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from localllm.engine.drafting import Draws, DrawsAhead


class DraftContext(Protocol):
    """What evaluates the draft model: `localllm.llama.context.Context`, or a script in tests."""

    @property
    def n_ctx(self) -> int:
        """Tokens that fit."""
        ...

    @property
    def n_batch(self) -> int:
        """Tokens of one evaluation at most."""
        ...

    def decode(self, seq: int, tokens: Sequence[int], pos: int, n_outputs: int) -> object:
        """Evaluate tokens at a position; the last `n_outputs` give logits. False where it was stopped."""
        ...

    def logits(self, row: int) -> NDArray[np.float32]:
        """A row of the last evaluation's logits."""
        ...

    def seq_rm(self, seq: int, start: int, end: int = -1) -> bool:
        """Forget positions from `start` on."""
        ...


class Translation(Protocol):
    """Between the target's token ids and the draft's."""

    def to_draft(self, token: int) -> tuple[int, ...]:
        """The draft's tokens for one token of the target."""
        ...

    def to_target(self, token: int) -> int:
        """The target's token with exactly the same text, -1 where there is none."""
        ...


class Identity:
    """Both models have the same vocabulary."""

    def to_draft(self, token: int) -> tuple[int, ...]:
        """The token itself."""
        return (token,)

    def to_target(self, token: int) -> int:
        """The token itself."""
        return token


class ModelDrafter:
    """Drafts with a small model.

    Args:
        name: Of the draft model, shown in stats.
        context: Evaluates the draft model; sequence 0 is used.
        translation: Between the vocabularies.
        eog: The target's tokens that end a turn: nothing is drafted behind one.
        before: Called before each draft, to follow the target's thread count.
        release: Frees context and model.
    """

    def __init__(
        self,
        name: str,
        context: DraftContext,
        *,
        translation: Translation | None = None,
        eog: frozenset[int] = frozenset(),
        before: Callable[[], None] | None = None,
        release: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.evaluated = 0
        """Tokens that the last proposal cost, catching up not counted."""
        self.n_read = 0
        """Tokens evaluated since it was loaded, for tests and benchmarks: none is evaluated twice."""
        self._context = context
        self._translation = translation or Identity()
        self._eog = eog
        self._before = before
        self._release = release
        self._held: list[int] = []  # target tokens whose KV state is there, drafted ones included
        self._ends: list[int] = []  # for each of them: draft tokens up to and with it
        self._agreed = 0  # so many of the held tokens are known to be those of the answer
        self._ahead: list[int] = []  # the last draft, all but its last token held
        self._ahead_at = 0  # its place in the answer
        self._confidences: list[float] = []
        self._draws: DrawsAhead | None = None

    def draw_with(self, draws: DrawsAhead | None) -> None:
        """Draw as the target will; None takes the likeliest tokens."""
        self._draws = draws

    def begin(self, prompt: Sequence[int]) -> None:
        """A new answer; what the state shares with its prompt stays."""
        self._agreed = 0
        self._ahead, self._confidences = [], []
        self._compare(prompt)
        self._cut(self._agreed)

    def read_ahead(self, prompt: Sequence[int], go_on: Callable[[], bool]) -> None:
        """Read what the next prompt begins with, a batch at a time, for as long as `go_on` says so."""
        if len(prompt) >= self._context.n_ctx:
            return
        self.begin(prompt)
        if self._before is not None:
            self._before()
        size = self._context.n_batch
        for start in range(len(self._held), len(prompt), size):
            if not go_on() or not self._read(prompt[start : start + size]):
                return

    def lag(self, context: Sequence[int]) -> int:
        """Tokens of `context` that were not read yet; 0 where an earlier draft reaches beyond it."""
        self._compare(context)
        return 0 if self._left_over(context) else max(len(context) - self._agreed, 1)

    def propose(self, context: Sequence[int], k: int) -> list[int]:
        """Exactly as many tokens as asked for, unless the draft model comes to an end."""
        return self.propose_while(context, k, lambda _confidences: True)

    def propose_while(self, context: Sequence[int], k: int, go_on: Callable[[Sequence[float]], bool]) -> list[int]:
        """At most `k` tokens, and another only as long as `go_on` says so, given the confidences so far."""
        self.evaluated = 0
        if self._before is not None:
            self._before()
        self._compare(context)
        left = self._left_over(context)
        draft = self._ahead[len(self._ahead) - left :]
        confidences = self._confidences[len(self._ahead) - left :]
        if left:
            pending = draft[-1:]
        else:
            # The last token of the context is evaluated in any case: its logits are the ones that are wanted.
            self._cut(min(self._agreed, len(context) - 1))
            pending = list(context[len(self._held) :])
        self._ahead, self._ahead_at, self._confidences = draft, len(context), confidences
        draws = self._draws(len(draft)) if self._draws is not None else None
        while len(draft) < k and not (draft and (draft[-1] in self._eog or not go_on(confidences))):
            if not self._read(pending):
                break
            token, confidence = self._guess(draws)
            self.evaluated += 1
            if token < 0:
                break
            draft.append(token)
            confidences.append(confidence)
            pending = [token]
        if draws is not None:
            draws.close()
        return draft[:k]

    def confidence(self) -> Sequence[float]:
        """The draft model's own probability of each token that it proposed last."""
        return self._confidences

    def observe(self, accepted: Sequence[int], n_drafted_accepted: int) -> None:
        """Nothing to do: the next proposal compares its state with the context."""

    def close(self) -> None:
        """Free the draft model; safe to call twice."""
        if self._release is not None:
            self._release()
            self._release = None

    # ---- its state against the answer ----

    def _compare(self, context: Sequence[int]) -> None:
        """Find out how far the state agrees with the answer, which only ever grows."""
        held, n = self._held, min(len(self._held), len(context))
        at = self._agreed
        while at < n and held[at] == context[at]:
            at += 1
        self._agreed = at

    def _left_over(self, context: Sequence[int]) -> int:
        """Tokens of the last draft that lie beyond `context` and still fit it."""
        used = len(context) - self._ahead_at
        if not 0 <= used < len(self._ahead) or list(context[self._ahead_at :]) != self._ahead[:used]:
            return 0
        return len(self._ahead) - used

    def _cut(self, n: int) -> None:
        if n < len(self._held):
            self._context.seq_rm(0, self._ends[n - 1] if n else 0)
            del self._held[n:], self._ends[n:]
        self._agreed = min(self._agreed, n)

    def _read(self, tokens: Sequence[int]) -> bool:
        """Evaluate these tokens of the target behind what is held; logits for the last. False when there is no room."""
        to_draft = self._translation.to_draft
        at = self._ends[-1] if self._ends else 0
        ids: list[int] = []
        ends: list[int] = []
        for token in tokens:
            ids += to_draft(token)
            ends.append(at + len(ids))
        if not ids or at + len(ids) > self._context.n_ctx:
            return False
        size = self._context.n_batch
        for start in range(0, len(ids), size):
            part = ids[start : start + size]
            last = start + size >= len(ids)
            if self._context.decode(0, part, at + start, 1 if last else 0) is False:
                self._held, self._ends, self._agreed = [], [], 0
                self._context.seq_rm(0, 0)
                return False
        self.n_read += len(ids)
        self._held += tokens
        self._ends += ends
        return True

    def _guess(self, draws: Draws | None) -> tuple[int, float]:
        """The token drawn, or the likeliest, as the target's id, and its probability."""
        logits = self._context.logits(0)
        if draws is not None:
            token = draws.draw(logits)
            return self._translation.to_target(token), draws.chance
        best = int(logits.argmax())
        confidence = 1.0 / float(np.exp(logits - logits[best]).sum())
        return self._translation.to_target(best), confidence
