"""The decode loop: prefill, draft, evaluate, verify, emit.

It is written against the small `Backend` protocol, so that it runs the same on llama.cpp and on the tests' scripted
logits. A generation is an iterator that may rest between two steps: several sequences can take turns on one backend.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from localllm.engine.backend import Backend
from localllm.engine.cache import Slot, common_prefix, prefill_slot
from localllm.engine.drafting import Controller
from localllm.engine.protocol import Cancel, EngineEvent, GenerationDone, Matcher, TokenEvent
from localllm.engine.reserve import Reserve
from localllm.engine.sampling import TokenSampler
from localllm.engine.tally import Tally
from localllm.engine.text import AnswerText
from localllm.errors import ContextOverflow
from localllm.events import FinishReason, Prefilling, Stats

MOST_WINDOWS = 8
"""Windows that an answer without a token budget may fill where it shifts: a model that repeats itself never ends."""
MAX_DRAFT = 63
"""Longest draft of one step: with 64 rows a token costs three quarters of what it costs with 32, where the context is
long, and little less beyond; all of them need room for their logits."""


@dataclass
class Job:
    """One answer to generate, with everything compiled."""

    prompt: list[int]
    """Token ids to continue; not empty. Those of a kept answer prefix are its end."""
    sampler: TokenSampler
    stop: tuple[str, ...] = ()
    max_tokens: int = 0
    matcher: Matcher | None = None
    close_within_budget: bool = True
    mask_first: bool = False
    controller: Controller | None = None
    corpus: Sequence[Sequence[int]] = ()
    ban: tuple[bytes, ...] = ()
    when_full: Literal["stop", "shift"] = "stop"
    """What a full window does: end the answer, or forget the first half of what may be forgotten."""
    n_keep: int = 0
    """Tokens at the beginning of the prompt that a shift never forgets."""
    started: float = 0.0
    """When the answer was asked for, on the performance counter; 0 means when the generation begins."""
    notes: list[str] = field(default_factory=list)


class Generation:
    """One answer in the making.

    After the iteration, `ids` holds the tokens of the answer and `text` what was shown.

    Args:
        backend: Evaluates.
        slot: The sequence to use; what it holds of the prompt already is not evaluated again.
        job: What to generate.
        cancel: Looked at between steps; to stop a running evaluation is the backend's matter.

    Raises:
        ContextOverflow: The prompt leaves no room for an answer.
    """

    def __init__(self, backend: Backend, slot: Slot, job: Job, cancel: Cancel | None = None) -> None:
        n_prompt, n_ctx = len(job.prompt), backend.n_ctx
        if n_prompt >= n_ctx:
            raise ContextOverflow(n_prompt, n_ctx)
        self.ids: list[int] = []
        self.text = ""
        self.forgotten = 0
        """Tokens that shifts of the window have forgotten."""
        self._backend, self._slot, self._job, self._cancel = backend, slot, job, cancel
        self._piece, self._eog = backend.piece, backend.eog
        self._sampler, self._matcher, self._controller = job.sampler, job.matcher, job.controller
        self._answer_text = AnswerText(job.stop)
        self._context = list(job.prompt)
        room = MOST_WINDOWS * n_ctx if job.when_full == "shift" else n_ctx - n_prompt
        self._left = min(job.max_tokens or room, room)
        self._todo: list[int] = []  # emitted, not evaluated yet
        self._reason: FinishReason | None = None
        self._ban = job.ban
        self._since_prefix = b""
        self._reserve: Reserve | None = None
        if job.matcher is not None and job.close_within_budget:
            self._reserve = Reserve(job.matcher, self._left, backend.piece)
        # the simplest answers skip every check of a token
        self._plain = job.sampler.plain and job.matcher is None and not job.ban
        self._cached = self._n_new = self._batch = 0
        self._step_seconds = 0.0
        self._tally = Tally()
        self._drafters: dict[str, int] = {}

    def __iter__(self) -> Iterator[EngineEvent]:
        """Run to the end; the last event is a `GenerationDone`."""
        started = self._job.started or time.perf_counter()
        first = last = 0.0
        try:
            yield from self._prefill()
            if self._reason is None:
                emitted = self._certain() or self._verify(())[0]
                first = last = time.perf_counter()
                yield Prefilling(self._n_new, self._n_new)  # only now: logits must be used before anything is yielded
                yield from self._emit(emitted, 0)
            while self._reason is None:
                if self._cancel is not None and self._cancel.is_set():
                    self._reason = FinishReason.CANCELLED
                    break
                while self._matcher is not None and (certain := self._certain()):
                    yield from self._emit(certain, 0)
                if self._over() or not self._make_room():
                    break
                draft = self._draft()
                if not self._evaluate(draft):
                    break
                emitted, accepted = self._verify(draft)
                last = time.perf_counter()
                yield from self._emit(emitted, accepted)
            if rest := self._answer_text.finish():
                self.text += rest
                yield TokenEvent(rest)
        finally:
            self._sampler.close()
            self._slot.end_shift(self._backend)
        if self.forgotten:
            self._job.notes.append(f"The window was full: {self.forgotten:,} tokens were forgotten to go on.")
        if self._reserve is not None:
            self._job.notes += self._reserve.notes
        stats = self._stats((first or time.perf_counter()) - started, last - first)
        yield GenerationDone(self._reason or FinishReason.CANCELLED, stats, tuple(self._job.notes))

    # ---- prefill ----

    def _prefill(self) -> Iterator[EngineEvent]:
        """Evaluate the prompt behind what the cache holds of it, in batches."""
        prompt = self._job.prompt
        self._cached = self._slot.keep_prefix(self._backend, prompt)
        self._n_new = len(prompt) - self._cached
        yield Prefilling(0, self._n_new)
        for done in prefill_slot(self._backend, self._slot, prompt, self._cancel):
            if done is None:
                self._reason = FinishReason.CANCELLED
                return
            if done < self._n_new:
                yield Prefilling(done, self._n_new)
        if self._controller is not None:
            sampler = self._sampler
            self._controller.begin(prompt, self._job.corpus, None if sampler.greedy else sampler.ahead)

    def _over(self) -> bool:
        return self._reason is not None

    # ---- one step ----

    def _certain(self, n_ahead: int = 0) -> list[int]:
        """Tokens that are known without an evaluation: the end of the answer, or what the constraint forces.

        `n_ahead` tokens were decided in this step already and are still to be emitted.
        """
        matcher, reserve, left = self._matcher, self._reserve, self._left - n_ahead
        if matcher is None or left <= 0 or self._reason is not None:
            return []
        tokens = (reserve.ending(left) if reserve is not None else []) or matcher.forced()[:left]
        if tokens:
            matcher.commit(tokens)
            for token in tokens:
                self._sampler.accept(token)
            if self._ban:
                self._ban = ()  # what the constraint forces can't be banned
            self._see_end(matcher)
        return tokens

    def _see_end(self, matcher: Matcher) -> None:
        """The answer is over where the constraint, or the reserve, lets nothing follow."""
        if matcher.stopped or (self._reserve is not None and self._reserve.closing and matcher.accepting):
            self._reason = FinishReason.STOP

    def _draft(self) -> Sequence[int]:
        """Tokens that may follow, to be verified in the same evaluation; usually none."""
        if self._controller is None or self._ban:
            return ()
        backend, n_todo = self._backend, len(self._todo)
        limit = min(
            MAX_DRAFT,
            backend.n_outputs_max - 1,
            backend.n_batch - n_todo,
            backend.n_ctx - len(self._slot.tokens) - n_todo,
            self._left - 1,
        )
        if limit <= 0:
            return ()
        draft = self._controller.choose(self._context, limit, self._legal if self._matcher is not None else None)
        tokens = draft.tokens[:limit]
        if tokens:
            name = draft.drafter or ""
            self._drafters[name] = self._drafters.get(name, 0) + len(tokens)
        return tokens

    def _legal(self, tokens: Sequence[int]) -> int:
        """How many tokens of a draft the constraint lets pass; an end in a draft is no wish of the model's to end."""
        assert self._matcher is not None
        n = next((i for i, t in enumerate(tokens) if t in self._eog), len(tokens))
        return self._matcher.legal_prefix(tokens[:n]) if n else 0

    def _make_room(self) -> bool:
        """Forget a part of the window where it is full; False, and the answer is over, where that can't be."""
        slot, n_ctx = self._slot, self._backend.n_ctx
        while len(slot.tokens) + len(self._todo) > n_ctx:
            n = slot.shift(self._backend, self._job.n_keep)
            if not n:
                self._job.notes.append("The window is full, and nothing of it can be forgotten to go on.")
                self._reason = FinishReason.LENGTH
                return False
            self.forgotten += n
        return True

    def _evaluate(self, draft: Sequence[int]) -> bool:
        """Evaluate what was emitted last, and the draft behind it; False when it was aborted."""
        backend, slot = self._backend, self._slot
        batch = [*self._todo, *draft]
        started = time.perf_counter()
        while len(batch) > backend.n_batch:  # a long run of certain tokens
            head, batch = batch[: backend.n_batch], batch[backend.n_batch :]
            if not backend.decode(slot.seq, head, len(slot.tokens), 0):
                return self._aborted()
            slot.tokens += head
        if not backend.decode(slot.seq, batch, len(slot.tokens), len(draft) + 1):
            return self._aborted()
        self._step_seconds = time.perf_counter() - started
        slot.tokens += batch
        self._todo.clear()
        self._batch = len(batch)
        return True

    def _aborted(self) -> bool:
        self._slot.cut_to_cache(self._backend)
        self._reason = FinishReason.CANCELLED
        return False

    def _verify(self, draft: Sequence[int]) -> tuple[list[int], int]:
        """The target decides at each position with the user's own sampler; the draft ends where it disagrees.

        Returns:
            The tokens to emit, and how many of them were drafted: these come first and are evaluated already.
        """
        logits, choose, n_draft = self._backend.logits, self._choose, len(draft)
        emitted: list[int] = []
        accepted = 0
        while self._reason is None:
            if emitted and (certain := self._certain(len(emitted))):
                # not sampled in plain decoding, so not sampled here; where the draft agrees, it is evaluated already
                emitted += certain
                agreed = common_prefix(draft[accepted:], certain)
                accepted += agreed
                if agreed < len(certain):
                    break
                continue
            expected = draft[accepted] if accepted < n_draft else -1
            token = choose(logits(accepted), expected, len(emitted))
            emitted.append(token)
            if token in self._eog:
                self._reason = FinishReason.STOP
            if token != expected:
                break
            accepted += 1
        if n_draft:
            self._slot.cut(self._backend, len(self._slot.tokens) - n_draft + accepted)
        if self._batch:
            self._tally.add(len(emitted), accepted, n_draft)
        if self._controller is not None and self._batch:
            self._controller.observe(emitted, accepted, n_draft, self._batch, self._step_seconds)
        return emitted, accepted

    def _choose(self, logits: NDArray[np.float32], expected: int, n_ahead: int) -> int:
        """The token at one position, by sampler, ban, constraint and budget; it counts as emitted for all of them."""
        if self._plain:
            return int(logits.argmax())
        sampler, matcher = self._sampler, self._matcher
        masked, repeat = False, -1
        if matcher is not None and self._job.mask_first:
            masked = _mask(logits, matcher)
        token = sampler.choose(logits)
        while True:
            if self._ban and self._is_banned(token):
                logits[token] = -np.inf
            elif matcher is None:
                break
            elif masked or token == expected or matcher.legal_prefix((token,)):
                if not matcher.repeats(token):
                    break
                repeat = token if repeat < 0 else repeat
                logits[token] = -np.inf
            else:
                masked = _mask(logits, matcher)
            token = sampler.choose_again(logits)
            if logits[token] == -np.inf:  # nothing is left
                if repeat >= 0:  # but a loop: better than no answer
                    token = repeat
                    break
                self._reason = FinishReason.STOP
                return next(iter(self._eog))
        if token not in self._eog:
            if self._reserve is not None:
                within = self._reserve.choose(token, self._left - n_ahead)
                if within is None:
                    self._reason = FinishReason.STOP
                    return next(iter(self._eog))
                token = within
            if matcher is not None:
                matcher.commit((token,))
                self._see_end(matcher)
            if self._ban:
                self._note_ban(token)
            sampler.accept(token)
        return token

    def _is_banned(self, token: int) -> bool:
        text = self._since_prefix + self._piece(token)
        return any(text.startswith(ban) for ban in self._ban)

    def _note_ban(self, token: int) -> None:
        """Once the answer has parted from every banned beginning, nothing is banned any more."""
        self._since_prefix += self._piece(token)
        self._ban = tuple(ban for ban in self._ban if ban.startswith(self._since_prefix))

    # ---- emit ----

    def _emit(self, tokens: Sequence[int], n_evaluated: int) -> Iterator[TokenEvent]:
        """Turn tokens into events; the answer ends at a stop string or at the end of the budget."""
        if n_evaluated:
            yield from self._emit_part(tokens[:n_evaluated], True)
            tokens = tokens[n_evaluated:]
        if tokens and not self._answer_text.stopped:
            yield from self._emit_part(tokens, False)
        if self._left <= 0 and self._reason is None:
            self._reason = FinishReason.LENGTH

    def _emit_part(self, tokens: Sequence[int], from_draft: bool) -> Iterator[TokenEvent]:
        ids: list[int] = []
        shown = ""
        for token in tokens:
            if token in self._eog:
                break
            ids.append(token)
            shown += self._answer_text.push(self._piece(token))
            if self._answer_text.stopped:
                self._reason = FinishReason.STOP
                break
        if not ids:
            return
        self.ids += ids
        self.text += shown
        self._context += ids
        self._left -= len(ids)
        if not from_draft:
            self._todo += ids
        yield TokenEvent(shown, tuple(ids), from_draft)

    def _stats(self, first_token_seconds: float, decode_seconds: float) -> Stats:
        speculation = self._tally.report(max(self._drafters, key=self._drafters.__getitem__, default=None))
        if self._controller is not None and speculation.drafted:
            speculation = replace(speculation, speedup=self._controller.report().speedup)
        return Stats(
            prompt_tokens=len(self._job.prompt),
            cached_tokens=self._cached,
            completion_tokens=len(self.ids),
            first_token_seconds=first_token_seconds,
            decode_seconds=decode_seconds,
            n_ctx=self._backend.n_ctx,
            forgotten_tokens=self.forgotten,
            speculation=speculation,
        )


def _mask(logits: NDArray[np.float32], matcher: Matcher) -> bool:
    allowed = matcher.mask()
    logits[: len(allowed)][~allowed] = -np.inf
    return True
