"""How many tokens to draft now, and by whom: as many as make the answer arrive soonest, and none where none do.

Before every step the controller weighs, for each drafter and each length k, the expected tokens per second

    (1 + a1 + a1 a2 + ... + a1...ak) / (T(k + 1) + k D)

against plain decoding, 1 / T(1): T is the target's measured cost of a batch, D the drafter's cost per token, and a_i
the calibrated chance that draft token i is accepted when those before it are. The curve T has steps, so all lengths
are looked at, not only the next one. A ledger caps what all attempts together may lose. Given the same timings the
controller decides the same: its clock is handed in, and it draws no random numbers.

(The rate criterion is that of Leviathan et al., arXiv 2211.17192; stopping a draft when its marginal gain is negative
is optimal by SpecDec++, arXiv 2405.19715; batch-cost curves for this choice were proposed in llama.cpp's #17034.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from localllm.engine.acceptance import Acceptance
from localllm.engine.costs import CostTable
from localllm.engine.draft_source import AheadReader, DraftSource, Reader, StepwiseDrafter
from localllm.engine.ledger import Ledger
from localllm.engine.lengths import best_length, best_plan, best_prefix, expected_accepted, worth_going_on
from localllm.engine.protocol import Draft, Drafter
from localllm.events import Speculation

_NOTHING = Draft()

_MARGIN = 1.03
"""Speculation must promise this much more than plain decoding: estimates are noisy, plain decoding is certain."""
_WARY_MARGIN = 1.05
"""And as much again of a free draft: matches come by chance too, and no model stands behind their confidence."""
_REFRESH = 48
"""Speculative steps in a row after which one plain step is taken, so that the yardstick stays measured."""
_FIRST_PLAIN = 2
"""Plain steps that are taken before any other, so that gains are against today's speed, not that of the calibration."""
_SOON, _PROMISING = 16, 128
"""Tokens to wait while the few trials leave room for a gain: with money in the ledger, and without."""
_PROBE_LENGTH = 4
_WORTH_A_PROBE = 0.7
"""A free draft is sent as a probe only where it promises at least this share of what it should beat."""
_HICCUP, _STALL, _KNOWN = 1.25, 5.0, 6
"""A step is charged at most that many times what it should cost: of a size seen so often, and of others."""
_STAKE, _LEAST_STAKE = 9, 4.0
"""An answer may stake twice what a rejected batch of so many tokens loses, so many plain steps at least."""
_TRUSTED = 0.85
"""A draft model that is right at least so often needs no allowance: its drafts don't fail as a whole."""
_ANSWER, _LEAST_ANSWER = 128, 32
"""Tokens expected of the first answer, and never fewer of what is left of any; one-off costs are shared out."""
_GUESS = 0.25
"""Cost of a draft token in plain steps where it was never measured."""


class Controller:
    """Chooses drafter and length for one sequence; costs, acceptance and ledger may be shared between sequences.

    Args:
        costs: The measured cost table; while it knows no plain step, nothing is drafted.
        drafters: In order of preference where two promise the same.
        clock: Seconds, used to time the drafters.
        ledger: The regret ledger.
        acceptance: Records by drafter name; missing ones are added.
        max_draft: Longest draft; None means as long as the cost table reaches.
        on_close: Called once when it is closed, to store what was learned.
    """

    def __init__(
        self,
        costs: CostTable,
        drafters: Sequence[Drafter],
        *,
        clock: Callable[[], float],
        ledger: Ledger | None = None,
        acceptance: dict[str, Acceptance] | None = None,
        max_draft: int | None = None,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        self.costs = costs
        self.ledger = ledger if ledger is not None else Ledger()
        self.acceptance = acceptance if acceptance is not None else {}
        self._clock = clock
        self._on_close = on_close
        self._sources = [
            DraftSource(
                d,
                self.acceptance.setdefault(d.name, Acceptance()),
                d if isinstance(d, StepwiseDrafter) else None,
                d if isinstance(d, Reader) else None,
                self.acceptance.setdefault(f"{d.name} (drawn)", Acceptance()),
            )
            for d in drafters
        ]
        longest = costs.max_batch - 1
        self._max_draft = longest if max_draft is None else min(max_draft, longest)
        self._remaining = 0
        self._since_plain = 0
        self._draft_seconds = self._reading_seconds = 0.0
        self._source = -1
        self._n_context = 0
        self._evaluated = 0
        self._hiccups = 1.0
        """Mean time of plain steps over the table's, which is nearer to a median: what plain decoding really takes."""
        self._unserved = 1.0
        """Share of the answer's tokens that no free drafter provided, of late."""
        self._usual = float(_ANSWER)
        """Usual length of an answer in tokens."""
        self._reset_counts()

    def _reset_counts(self) -> None:
        self._drafted = self._accepted = self._steps = self._plain_steps = self._emitted = 0
        self._worth = self._spent = 0.0

    # ---- one answer ----------------------------------------------------------------------------------------------

    def begin(self, prompt: Sequence[int], corpus: Sequence[Sequence[int]] = (), drawn: bool = False) -> None:
        """A new answer starts behind `prompt`.

        Args:
            prompt: Its token ids.
            corpus: Token ids of texts that it may copy from.
            drawn: Its tokens are drawn, not the likeliest ones: they are harder to guess.
        """
        if self._emitted:
            self._usual += 0.2 * (self._emitted - self._usual)
        self._reset_counts()
        self._remaining = max(int(self._usual), _LEAST_ANSWER)
        self._unserved = 1.0
        self._evaluated = len(prompt)
        if self.costs.known:
            row = self.costs.row(len(prompt))
            self.ledger.begin(max(2.0 * (row[min(_STAKE, self.costs.max_batch)] / row[1] - 1.0), _LEAST_STAKE))
        for source in self._sources:
            source.begin(drawn)
            if source.reader is not None:
                source.reader.read(corpus)
            source.drafter.begin(prompt)

    def read_ahead(self, prompt: Sequence[int], go_on: Callable[[], bool]) -> None:
        """Between two answers: let drafters that may pay read what the next prompt begins with, at nobody's cost.

        Args:
            prompt: The beginning of it.
            go_on: Asked between batches; False ends the reading.
        """
        row = self.costs.row(len(prompt))
        if not self.costs.known or self._max_draft < 1:
            return
        for source in self._sources:
            if isinstance(source.drafter, AheadReader):
                per_token = self.costs.draft(source.drafter.name) or _GUESS * row[1]
                _, rate = best_plan(source.acceptance.at_best(), row, self._max_draft, per_token, 0.0)
                if rate > _MARGIN / row[1]:
                    source.drafter.read_ahead(prompt, go_on)

    def choose(self, context: Sequence[int], limit: int) -> Draft:
        """The tokens to verify with the next step: at most `limit`, possibly none.

        Args:
            context: Prompt and answer so far; its last token is the one about to be evaluated.
            limit: Most tokens that the caller can use.
        """
        self._draft_seconds, self._reading_seconds, self._source = 0.0, 0.0, -1
        self._n_context = len(context)
        base = max(len(context) - self._evaluated, 1)
        limit = min(limit, self._max_draft, self.costs.max_batch - base)
        if limit <= 0 or not self._sources or not self.costs.known or self._since_plain >= _REFRESH:
            return _NOTHING
        if self.costs.plain_steps_seen(self._n_context) < _FIRST_PLAIN:
            return _NOTHING
        row = self.costs.row(self._n_context)
        if base > 1:  # tokens that were certain without an evaluation go with the batch
            row = row[base - 1 :]
        started = self._clock()
        self._source, tokens = self._choose(context, limit, row)
        self._draft_seconds = self._clock() - started
        return Draft(tokens, self._sources[self._source].drafter.name) if tokens else _NOTHING

    def observe(self, emitted: Sequence[int], accepted: int, drafted: int, batch: int, seconds: float) -> None:
        """The step that followed `choose` is over.

        Args:
            emitted: Tokens that the answer gained, the target's own last token included.
            accepted: Draft tokens that the target agreed with.
            drafted: Draft tokens that were sent; fewer than chosen where a constraint cut them.
            batch: Tokens that the target evaluated.
            seconds: What evaluating took; drafting is timed by the controller itself.
        """
        self.costs.observe(batch, self._n_context, seconds)
        row = self.costs.row(self._n_context)
        plain = row[max(min(batch - drafted, self.costs.max_batch), 1)]
        self._evaluated = self._n_context + accepted
        self._steps += 1
        self._emitted += len(emitted)
        self._plain_steps += drafted == 0
        self._drafted += drafted
        self._accepted += accepted
        self._remaining = max(self._remaining - len(emitted), _LEAST_ANSWER)
        self._since_plain = self._since_plain + 1 if drafted else 0
        # A plain step costs what it costs; only drafting, if anything, was lost with it. Hiccups of the machine befall
        # plain steps as well, and the table leaves them out: here they count a quarter of the expected cost at most.
        # Where the table hardly knows a size, it is the table that may be wrong, and the step is charged as it was.
        expected = row[min(batch, self.costs.max_batch)]
        most = _HICCUP if self.costs.seen(batch, self._n_context) >= _KNOWN else _STALL
        step = min(max(seconds, 0.8 * expected), most * expected) if drafted else plain
        if not drafted and batch == 1:
            self._hiccups += 0.05 * (min(seconds / row[1], 10.0) - self._hiccups)
        worth, spent = len(emitted) - 1 + plain / row[1], (step + self._draft_seconds) / row[1]
        self.ledger.settle(len(emitted), worth, spent, self._reading_seconds / row[1])
        free = accepted if self._source >= 0 and self._sources[self._source].stepwise is None else 0
        self._unserved += 0.15 * (1.0 - free / max(len(emitted), 1) - self._unserved)
        self._worth += (plain + (len(emitted) - 1) * row[1]) * self._hiccups
        self._spent += seconds + self._draft_seconds
        if self._source >= 0:
            self._sources[self._source].drafted += drafted
            self._sources[self._source].note_sent(drafted, accepted)
        for i, source in enumerate(self._sources):
            source.grew(emitted)
            source.drafter.observe(emitted, accepted if i == self._source else 0)

    def plain_seconds(self, n_past: int) -> float:
        """Expected seconds of a step that evaluates one token, 0.0 while nothing is known."""
        return self.costs.plain(n_past) if self.costs.known else 0.0

    def report(self) -> Speculation:
        """What happened since `begin`."""
        busiest = max(self._sources, key=lambda s: s.drafted, default=None)
        return Speculation(
            drafted=self._drafted,
            accepted=self._accepted,
            target_steps=self._steps,
            plain_steps=self._plain_steps,
            speedup=self._worth / self._spent if self._drafted and self._spent > 0 else 1.0,
            drafter=busiest.drafter.name if busiest is not None and busiest.drafted else None,
        )

    def close(self) -> None:
        """Release the drafters; safe to call twice."""
        if self._on_close is not None:
            self._on_close()
            self._on_close = None
        for source in self._sources:
            source.drafter.close()

    # ---- choosing ------------------------------------------------------------------------------------------------

    def _choose(self, context: Sequence[int], limit: int, row: list[float]) -> tuple[int, list[int]]:
        """The drafter's index and the tokens to send; -1 and none for a plain step."""
        to_beat = _MARGIN / row[1]
        chosen: tuple[int, list[int]] = (-1, [])
        for i, source in enumerate(self._sources):
            if source.stepwise is None:
                source.ask(context, limit)
                if not source.proposal:
                    continue
                chances = source.acceptance.calibrated(source.confidences, wary=True)
                source.promised = expected_accepted(chances)
                chances[0] *= source.kept_promises()
                # Only what the ledger could bear: a longer draft cut short may be of the very length that never pays.
                k, rate = best_length(chances[: self._most_allowed(len(chances), row)], row)
                rate /= _WARY_MARGIN
                probe = rate <= to_beat and source.wait <= 0 and rate > _WORTH_A_PROBE * to_beat
                if k and (rate > to_beat or probe):
                    source.wait_again(probe)
                    to_beat = max(to_beat, rate)
                    chosen = i, source.proposal[:k]
        for i, source in enumerate(self._sources):
            if source.stepwise is not None:
                tokens = self._draft_stepwise(source, source.stepwise, context, limit, row, to_beat)
                if tokens is not None:
                    chosen = (i, tokens) if tokens else chosen
        return chosen

    def _draft_stepwise(
        self,
        source: DraftSource,
        drafter: StepwiseDrafter,
        context: Sequence[int],
        limit: int,
        row: list[float],
        to_beat: float,
    ) -> list[int] | None:
        """Let a drafter that takes time draft, where that promises more than `to_beat` tokens per second."""
        name = drafter.name
        per_token = self.costs.draft(name) or _GUESS * row[1]
        behind = drafter.lag(context)
        catching_up = max(behind - 1, 0) * (self.costs.catch_up(name) or per_token / 2)
        # Only lengths that the ledger could bear are planned with: a short draft that leads nowhere is money burnt.
        trusted = source.acceptance.at_worst() > _TRUSTED
        limit = self._most_allowed(limit, row, per_token, 0.0, catching_up, trusted)
        if not limit:
            return None
        # Free drafters serve a part of the tokens; only the others will profit from what catching up costs.
        # An answer may end any time: what was written is the best guess at what is still to come, and half is wasted.
        ahead = min(self._remaining, self._emitted + 48)
        spread_over = max(ahead * self._unserved / 1.5, 1.0)
        chance = source.acceptance.lately()
        k, rate = best_plan(chance, row, limit, per_token, catching_up / spread_over)
        probe = rate <= to_beat
        promising = False
        if probe:
            if source.wait > 0:
                return None
            at_best = source.acceptance.at_best()
            best_k, best_rate = best_plan(at_best, row, limit, per_token, catching_up / spread_over)
            promising = best_rate > to_beat
            if promising:  # few trials, and it may well be worth it: try in earnest
                chance, k, rate, probe = at_best, best_k, best_rate, False
            else:
                if catching_up > row[1]:  # too dear for a mere probe
                    return None
                k = min(k, _PROBE_LENGTH)
        if promising:
            source.wait = _SOON if self.ledger.balance > self.ledger.grant else _PROMISING
        else:
            # Probes may cost a third of what the ledger earns; they grow rarer only as far as that asks for.
            source.wait_again(probe, int(k * per_token / row[1] / (0.3 * self.ledger.share)))

        def go_on(confidences: Sequence[float]) -> bool:
            if len(confidences) >= limit:
                return False
            calibrated = source.acceptance.calibrated(confidences)
            if probe:  # it goes on as long as it should, or in earnest where the drafter turns out to be sure
                ahead = sum(calibrated) / len(calibrated)
                return len(confidences) < k or worth_going_on(calibrated, ahead, row, limit, per_token)
            return worth_going_on(calibrated, chance, row, limit, per_token)

        started = self._clock()
        source.proposal = drafter.propose_while(context, limit, go_on)
        source.confidences = list(drafter.confidence())
        took = self._clock() - started
        n = len(source.proposal)
        if not n:
            return None
        if behind > 8:
            reading = max(took - n * per_token, 0.1 * took)
            self.costs.observe_catch_up(name, reading / behind)
            self._reading_seconds = reading
        elif drafter.evaluated:
            self.costs.observe_draft(name, took / drafter.evaluated)
        # Drafting is paid for now; only the target's step is still to be weighed.
        reading = self._reading_seconds
        n = self._most_allowed(n, row, 0.0, took - reading, reading, trusted)
        k = best_prefix(source.acceptance.calibrated(source.confidences)[:n], row, took - reading)
        return source.proposal[:k] if k or not probe else None

    def _most_allowed(
        self,
        k: int,
        row: list[float],
        per_token: float = 0.0,
        drafting: float = 0.0,
        reading: float = 0.0,
        trusted: bool = False,
    ) -> int:
        """The longest draft of at most k tokens whose rejection the ledger could bear.

        Args:
            k: Tokens.
            row: Costs of the target.
            per_token: What drafting each token costs.
            drafting: What drafting cost already.
            reading: What the drafter reads first, for the good of later drafts too.
            trusted: The drafter is hardly ever wrong.
        """
        plain, allows = row[1], self.ledger.allows
        while k and not allows((row[k + 1] + k * per_token + drafting) / plain - 1.0, reading / plain, trusted):
            k -= 1
        return k
