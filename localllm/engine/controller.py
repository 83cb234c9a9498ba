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
from localllm.engine.draft_source import AheadReader, DraftSource, DrawingDrafter, Reader, StepwiseDrafter
from localllm.engine.drafting import Draft, Drafter, DrawsAhead
from localllm.engine.ledger import Ledger
from localllm.engine.lengths import (
    best_length,
    best_plan,
    best_prefix,
    expected_accepted,
    worth_going_on,
)
from localllm.engine.prospect import Prospect
from localllm.engine.tally import Tally
from localllm.events import Speculation

_NOTHING = Draft()

_MARGIN = 1.03
"""Speculation must promise this much more than plain decoding: estimates are noisy, plain decoding is certain."""
_WARY_MARGIN = 1.02
"""And as much again of a free draft: matches come by chance too, and no model stands behind their confidence."""
_REFRESH = 48
"""Speculative steps in a row after which one plain step is taken, so that the yardstick stays measured."""
_FIRST_PLAIN = 2
"""Plain steps that are taken before any other, so that gains are against today's speed, not that of the calibration."""
_SOON, _PROMISING = 16, 128
"""Tokens to wait while the few trials leave room for a gain: where speculation has gained so far, and elsewhere."""
_HOPE = 0.05
"""Plain steps that a trial in earnest has to promise to save, at best."""
_PROBE_LENGTH = 4
_PROBING = 0.35
"""Share of what the ledger earns that probes may take."""
_FRUITLESS, _LOOK = 24, 4
"""After so many fruitless looks for a draft only every fourth step looks: looking takes time too."""
_HICCUP, _STALL, _KNOWN = 1.25, 3.0, 6
"""A step is charged at most that many times what it should cost: of a size seen so often, and of others."""
_STAKE, _LEAST_STAKE = 5, 4.0
"""An answer may stake twice what a rejected batch of so many tokens loses, so many plain steps at least."""
_LONGEST_OF_A_MODEL = 31
"""Tokens: a longer draft of a model gains little, as each token has its price, and loses much."""
_PROSPECT = 48
"""Tokens that an answer is trusted to go on for, beside as many as it has."""
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
        self._behind_batch = True
        """The target's last evaluation was none of a single token."""
        self._draft_seconds = self._reading_seconds = 0.0
        self._source = -1
        self._fruitless = 0
        self._n_context = 0
        self._evaluated = 0
        self._hiccups = 1.0
        """Mean time of plain steps over the table's, which is nearer to a median: what plain decoding really takes."""
        self._pace = 1.0
        """Plain steps per token of late, without the drafters that take time."""
        self._usual = float(_ANSWER)
        """Usual length of an answer in tokens."""
        self._tally = Tally()

    # ---- one answer ----------------------------------------------------------------------------------------------

    def begin(
        self, prompt: Sequence[int], corpus: Sequence[Sequence[int]] = (), draws: DrawsAhead | None = None
    ) -> None:
        """A new answer starts behind `prompt`.

        Args:
            prompt: Its token ids.
            corpus: Token ids of texts that it may copy from.
            draws: Those of its tokens, where not the likeliest ones are taken: they are harder to guess.
        """
        if self._tally.emitted:
            self._usual += 0.2 * (self._tally.emitted - self._usual)
        self._tally = Tally()
        self._remaining = max(int(self._usual), _LEAST_ANSWER)
        self._pace, self._fruitless = 1.0, 0
        self._since_plain, self._behind_batch = 0, True
        self._evaluated = len(prompt)
        if self.costs.known:
            row = self.costs.row(len(prompt))
            self.ledger.begin(max(2.0 * (row[min(_STAKE, self.costs.max_batch)] / row[1] - 1.0), _LEAST_STAKE))
        for source in self._sources:
            source.begin(draws is not None)
            if isinstance(source.drafter, DrawingDrafter):
                source.drafter.draw_with(draws)
            if source.reader is not None:
                source.reader.read(corpus)
            source.drafter.begin(prompt)
        self._read_prompt(prompt)

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
                _, rate = best_plan(source.acceptance.at_best(), row, self._max_draft, per_token)
                if rate > _MARGIN / row[1]:
                    source.drafter.read_ahead(prompt, go_on)

    def choose(self, context: Sequence[int], limit: int, legal: Callable[[Sequence[int]], int] | None = None) -> Draft:
        """The tokens to verify with the next step: at most `limit`, possibly none.

        Args:
            context: Prompt and answer so far; its last token is the one about to be evaluated.
            limit: Most tokens that the caller can use.
            legal: How many tokens of a draft a constraint lets pass; what is behind them is not weighed.
        """
        self._draft_seconds, self._reading_seconds, self._source = 0.0, 0.0, -1
        self._n_context = len(context)
        base = max(len(context) - self._evaluated, 1)
        limit = min(limit, self._max_draft, self.costs.max_batch - base)
        if limit <= 0 or not self._sources or not self.costs.known or self._since_plain >= _REFRESH:
            return _NOTHING
        if self.costs.plain_steps_seen(self._n_context) < _FIRST_PLAIN:
            return _NOTHING
        if self._fruitless >= _FRUITLESS and self._tally.steps % _LOOK:
            return _NOTHING
        started = self._clock()
        self._source, tokens = self._choose(context, limit, base, legal)
        self._draft_seconds = self._clock() - started
        self._fruitless = 0 if tokens else self._fruitless + 1
        return Draft(tokens, self._sources[self._source].drafter.name) if tokens else _NOTHING

    def observe(self, emitted: Sequence[int], accepted: int, drafted: int, batch: int, seconds: float) -> None:
        """The step that followed `choose` is over.

        Args:
            emitted: Tokens that the answer gained, the target's own last token included.
            accepted: Draft tokens that the target agreed with.
            drafted: Draft tokens that were sent.
            batch: Tokens that the target evaluated.
            seconds: What evaluating took; drafting is timed by the controller itself.
        """
        costs, n_context = self.costs, self._n_context
        costs.observe(batch, n_context, seconds, self._behind_batch)
        one = plain = costs.plain(n_context)
        if batch > 1:
            row = costs.row(n_context)
            plain, expected = row[max(min(batch - drafted, costs.max_batch), 1)], row[min(batch, costs.max_batch)]
        self._evaluated = self._n_context + accepted
        self._tally.add(len(emitted), accepted, drafted)
        self._remaining = max(self._remaining - len(emitted), _LEAST_ANSWER)
        behind_draft = self._since_plain > 0
        self._since_plain = self._since_plain + 1 if drafted else 0
        # A plain step costs what it costs; only drafting, and the graph that a draft before it left, were lost with it.
        step = plain + (costs.rebuild if batch == 1 and behind_draft else 0.0)
        if drafted:
            # Hiccups of the machine befall plain steps as well, and the table leaves them out: here they count a
            # quarter of the expected cost at most. Where the table hardly knows a size, it is the table that may be
            # wrong, and the step is charged as it was.
            most = _HICCUP if costs.seen(batch, n_context) >= _KNOWN else _STALL
            step = min(max(seconds, 0.8 * expected), most * expected)
        elif batch == 1 and not self._behind_batch:
            self._hiccups += 0.05 * (min(seconds / one, 10.0) - self._hiccups)
        self._behind_batch = batch > 1
        worth, spent = len(emitted) - 1 + plain / one, (step + self._draft_seconds) / one
        self.ledger.settle(len(emitted), worth, spent, self._reading_seconds / one)
        if emitted and (self._source < 0 or self._sources[self._source].stepwise is None):
            self._pace += (1.0 - 0.9 ** len(emitted)) * (step / one / len(emitted) - self._pace)
        self._tally.worth += (plain + (len(emitted) - 1) * one) * self._hiccups
        self._tally.spent += seconds + self._draft_seconds
        if self._source >= 0:
            self._sources[self._source].drafted += drafted
        for i, source in enumerate(self._sources):
            source.grew(emitted)
            source.drafter.observe(emitted, accepted if i == self._source else 0)

    def plain_seconds(self, n_past: int) -> float:
        """Expected seconds of a step that evaluates one token, 0.0 while nothing is known."""
        return self.costs.plain(n_past) if self.costs.known else 0.0

    def report(self) -> Speculation:
        """What happened since `begin`."""
        busiest = max(self._sources, key=lambda s: s.drafted, default=None)
        return self._tally.report(busiest.drafter.name if busiest is not None and busiest.drafted else None)

    def close(self) -> None:
        """Release the drafters; safe to call twice."""
        if self._on_close is not None:
            self._on_close()
            self._on_close = None
        for source in self._sources:
            source.drafter.close()

    # ---- choosing ------------------------------------------------------------------------------------------------

    def _choose(
        self, context: Sequence[int], limit: int, base: int, legal: Callable[[Sequence[int]], int] | None
    ) -> tuple[int, list[int]]:
        """The drafter's index and the tokens to send behind `base` others; -1 and none for a plain step."""
        chosen: tuple[int, list[int]] = (-1, [])
        proposed = False
        for source in self._sources:
            if source.stepwise is None:
                source.ask(context, limit)
            proposed = proposed or source.stepwise is not None or bool(source.proposal)
        if not proposed:
            return chosen
        row = self._row(base)
        to_beat = _MARGIN / row[1]
        for i, source in enumerate(self._sources):
            if source.stepwise is None and source.proposal:
                chances = source.acceptance.calibrated(source.confidences, wary=True)
                chances[0] *= source.faith()
                # Only what the ledger could bear: a longer draft cut short may be of the very length that never pays.
                k, rate = best_length(chances[: self.ledger.longest_copy(chances, row)], row)
                if legal is not None and rate > _WARY_MARGIN * to_beat and (n := legal(source.proposal[:k])) < k:
                    k, rate = best_length(chances[:n], row)
                if rate > _WARY_MARGIN * to_beat:
                    to_beat = rate / _WARY_MARGIN
                    chosen = i, source.proposal[:k]
        for i, source in enumerate(self._sources):
            if source.stepwise is not None:
                most = min(limit, _LONGEST_OF_A_MODEL)
                tokens = self._draft_stepwise(source, source.stepwise, context, most, row, to_beat, legal)
                if tokens is not None:
                    chosen = (i, tokens) if tokens else chosen
        return chosen

    def _row(self, base: int) -> list[float]:
        """What the next step costs with k draft tokens, at index k + 1, behind `base` tokens that are certain.

        A plain step behind a batch pays for a new graph; so a draft behind a plain step will have to.
        """
        row = self.costs.row(self._n_context)
        if base > 1:
            return row[base - 1 :]
        rebuild = self.costs.rebuild
        if self._behind_batch:
            return [0.0, row[1] + rebuild, *row[2:]]
        return [0.0, row[1], *[seconds + rebuild for seconds in row[2:]]]

    def _draft_stepwise(
        self,
        source: DraftSource,
        drafter: StepwiseDrafter,
        context: Sequence[int],
        limit: int,
        row: list[float],
        to_beat: float,
        legal: Callable[[Sequence[int]], int] | None,
    ) -> list[int] | None:
        """Let a drafter that takes time draft, where that promises more than `to_beat` tokens per second."""
        name, acceptance = drafter.name, source.acceptance
        behind = drafter.lag(context)
        prospect = self._prospect(source, behind, row, to_beat)
        per_token, reading, trusted = prospect.per_token, prospect.reading, prospect.trusts(acceptance, limit)
        # Only lengths that the ledger could bear are planned with: a short draft that leads nowhere is money burnt.
        bearable = self.ledger.longest_draft(limit, row, per_token, 0.0, reading, trusted)
        chance = acceptance.lately()
        k, saving = prospect.plan(chance, bearable)
        probe = saving <= 0
        if probe:
            if source.wait > 0:
                return None
            at_best = acceptance.at_best()
            k, saving = prospect.plan(at_best, bearable)
            if saving > _HOPE * row[1] and self.ledger.allows((row[k + 1] + k * per_token + reading) / row[1] - 1.0):
                # Few trials, and it may well be worth it: try in earnest, at the expense of the allowance.
                chance, probe = at_best, False
                source.wait = _SOON if self.ledger.balance > self.ledger.grant else _PROMISING
            else:
                k = min(best_plan(chance, row, limit, per_token)[0], _PROBE_LENGTH)
                if reading > row[1] or 2.0 * (reading + k * per_token) > self.ledger.balance * row[1]:
                    return None  # too dear for a mere probe
                source.wait_again(int((k * per_token + reading) / row[1] / (_PROBING * self.ledger.share)))
        else:
            source.encourage()

        most = max(bearable, k)

        def go_on(confidences: Sequence[float]) -> bool:
            if len(confidences) >= most:
                return False
            calibrated = acceptance.calibrated(confidences)
            if probe:  # it goes on as long as it should, or in earnest where the drafter turns out to be sure
                ahead = sum(calibrated) / len(calibrated)
                return len(confidences) < k or worth_going_on(calibrated, ahead, row, most, per_token)
            return worth_going_on(calibrated, chance, row, most, per_token)

        started = self._clock()
        source.proposal = drafter.propose_while(context, most, go_on)
        source.confidences = list(drafter.confidence())
        took = self._clock() - started
        n = len(source.proposal)
        if not n:
            return None
        if behind > 8:
            self._reading_seconds = max(took - n * per_token, 0.1 * took)
            self.costs.observe_catch_up(name, self._reading_seconds / behind)
        elif drafter.evaluated:
            self.costs.observe_draft(name, took / drafter.evaluated)
        if legal is not None:
            n = legal(source.proposal)
        # Drafting is paid for now; only the target's step is still to be weighed.
        drafting = took - self._reading_seconds
        n = self.ledger.longest_draft(n, row, 0.0, drafting, self._reading_seconds, trusted)
        chances = acceptance.calibrated(source.confidences)[:n]
        k = best_prefix(chances, row, drafting)
        if probe and k and 1.0 + expected_accepted(chances)[k - 1] <= to_beat * row[k + 1]:
            k = 0
        return source.proposal[:k] if k or not probe else None

    def _read_prompt(self, prompt: Sequence[int]) -> None:
        """A draft model that will pay reads the prompt as the target just did, not between the first two tokens.

        Not where a match too long for chance ends here: the answer goes on with a copy, which costs no reading.
        """
        n = len(prompt)
        if not self.costs.known or self.costs.plain_steps_seen(n) < _FIRST_PLAIN or self._max_draft < 1:
            return
        row, limit = self.costs.row(n), self._max_draft
        for source in self._sources:
            drafter = source.stepwise
            if drafter is None:
                source.ask(prompt, limit)
                certain, source.proposal = source.certain, []
                if certain:
                    return
            elif isinstance(drafter, AheadReader) and (behind := drafter.lag(prompt)) > 1:
                limit = min(limit, _LONGEST_OF_A_MODEL)
                prospect = self._prospect(source, behind, row, _MARGIN * _WARY_MARGIN / row[1])
                trusted = prospect.trusts(source.acceptance, limit)
                bearable = self.ledger.longest_draft(limit, row, prospect.per_token, 0.0, prospect.reading, trusted)
                if prospect.plan(source.acceptance.lately(), bearable)[1] > 0:
                    started = self._clock()
                    drafter.read_ahead(prompt, lambda: True)
                    took = self._clock() - started
                    self.costs.observe_catch_up(drafter.name, took / behind)
                    self.ledger.settle(0, 0.0, took / row[1], invested=took / row[1])
                    self._tally.spent += took

    def _prospect(self, source: DraftSource, behind: int, row: list[float], to_beat: float) -> Prospect:
        """What this drafter costs now, when it has so many tokens to read."""
        name = source.drafter.name
        per_token = self.costs.draft(name) or _GUESS * row[1]
        reading = max(behind - 1, 0) * (self.costs.catch_up(name) or per_token / 2)
        return Prospect(row, per_token, reading, to_beat, self._ahead(), self._pace)

    def _ahead(self) -> float:
        """Tokens that are still to come, as far as is known: an answer may end any time."""
        return min(self._remaining, self._tally.emitted + _PROSPECT)
