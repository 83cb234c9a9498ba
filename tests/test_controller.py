"""The controller on a simulated clock: near the best fixed length, never slower than plain by more than the ledger."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence

import pytest

from localllm.engine.acceptance import Acceptance
from localllm.engine.controller import Controller
from localllm.engine.costs import CostTable, calibrate
from localllm.engine.draft_ngram import NgramDrafter
from localllm.engine.ledger import Ledger
from tests.speculation import CURVES, Machine, ScriptedDrafter, best_fixed, cost, decode, no_draws, simulate, steps

TEXT = list(range(0, 12_000, 2))
CHANCES = (0.0, 0.3, 0.6, 0.8, 0.9, 0.97, 1.0)


@pytest.mark.parametrize("price", [0.05, 0.2])
@pytest.mark.parametrize("chance", CHANCES)
@pytest.mark.parametrize("curve", CURVES)
def test_it_comes_within_5_percent_of_the_best_fixed_length(curve: str, chance: float, price: float) -> None:
    """Step times scatter by 5 %; the first 1,000 tokens are for learning and are not timed."""
    machine = Machine(CURVES[curve], noise=0.05)
    outcome = simulate(machine, ScriptedDrafter(machine, TEXT, lambda _: chance, price), skip=1000)
    _, best = best_fixed(machine, chance, price)
    assert outcome.rate >= 0.95 * best


@pytest.mark.parametrize("honest", [True, False])
@pytest.mark.parametrize("curve", CURVES)
def test_a_useless_drafter_costs_at_most_1_percent(curve: str, honest: bool) -> None:
    machine = Machine(CURVES[curve])
    drafter = ScriptedDrafter(machine, TEXT[:2000], lambda _: 0.0, 0.2, honest)
    outcome = simulate(machine, drafter, ledger=Ledger(grant=0.0))
    assert outcome.seconds <= 1.01 * outcome.tokens * machine.plain_seconds


@pytest.mark.parametrize("seed", range(200 if os.environ.get("LOCALLLM_SOAK") else 12))
def test_the_loss_never_exceeds_1_percent_and_the_grant_whatever_the_drafter_does(seed: int) -> None:
    rng = random.Random(seed)
    curve = rng.choice(list(CURVES.values()))
    stretches = [rng.choice((0.0, 0.2, 0.5, 0.8, 0.95, 1.0)) for _ in range(8)]
    machine = Machine(curve, noise=0.0, rng=rng)
    drafter = ScriptedDrafter(
        machine, TEXT[:2400], lambda i: stretches[i // 300 % 8], rng.choice((0.02, 0.1, 0.4)), rng.random() < 0.5
    )
    outcome = simulate(machine, drafter, calibrated=True)
    plain = outcome.tokens * machine.plain_seconds
    ledger = outcome.controller.ledger
    assert outcome.seconds <= plain * 1.01 + 1.1 * ledger.grant * machine.plain_seconds
    assert ledger.net_loss <= 0.01 * ledger.tokens + 1.1 * ledger.grant


def test_it_follows_a_drafter_that_is_good_only_at_times() -> None:
    machine = Machine(CURVES["Q4_0, repacked"])
    drafter = ScriptedDrafter(machine, TEXT, lambda i: 1.0 if i // 300 % 2 else 0.1, 0.1)
    outcome = simulate(machine, drafter)
    # Half of the text at the best rate, half plain, would be the oracle's time.
    _, best = best_fixed(machine, 1.0, 0.1)
    oracle = outcome.tokens / 2 / best + outcome.tokens / 2 * machine.plain_seconds
    assert outcome.seconds <= 1.1 * oracle


@pytest.mark.parametrize("rebuild", [0.0, 0.3])
def test_the_ledger_sees_what_a_draft_costs_the_plain_step_behind_it(rebuild: float) -> None:
    """Every graph that a draft leaves behind is built anew: that was lost too, and stood in no account."""
    machine = Machine(CURVES["Q4_0, repacked"], rebuild=rebuild)
    costs = CostTable(33)
    calibrate(costs, machine.step, machine.clock, seconds=80 * machine.plain_seconds)
    controller = Controller(costs, [NgramDrafter()], clock=machine.clock)
    rng = random.Random(5)
    passage = [*range(1000, 1200)]
    answer: list[int] = []
    while len(answer) < 2000:
        at = rng.randrange(150)
        answer += [*passage[at : at + 20], *(rng.randrange(20_000, 50_000) for _ in range(12))]
    seconds = decode(machine, controller, [*passage, *answer], n_prompt=200)
    lost = seconds / machine.plain_seconds - (len(answer) - 1)
    assert controller.ledger.gained > 100
    assert controller.ledger.net_loss == pytest.approx(lost, rel=0.02, abs=2.0)


def test_the_same_timings_give_the_same_decisions() -> None:
    def run() -> list[int]:
        machine = Machine(CURVES["Q8_0, a wall at two"], noise=0.2, rng=random.Random(11))
        return simulate(machine, ScriptedDrafter(machine, TEXT[:1500], lambda _: 0.95, 0.1)).lengths

    assert run() == run()


def test_it_avoids_the_lengths_where_the_curve_has_a_wall() -> None:
    machine = Machine(CURVES["Q8_0, a wall at two"])
    lengths = simulate(machine, ScriptedDrafter(machine, TEXT[:3000], lambda _: 0.97, 0.02)).lengths
    short = [k for k in lengths[100:] if 0 < k < 6]
    assert len(short) <= 0.01 * len(lengths), "a batch of 2 to 6 never pays on this curve, but for measuring it"
    assert max(lengths) >= 7


def test_a_machine_that_slows_down_does_not_end_speculation() -> None:
    machine = Machine(CURVES["Q4_0, repacked"])
    drafter = ScriptedDrafter(machine, TEXT[:3000], lambda _: 1.0, 0.1)

    def slow(i: int) -> float:
        machine.slowdown = 3.0 if i > 1500 else 1.0
        return 1.0

    drafter.right = slow
    outcome = simulate(machine, drafter)
    assert sum(outcome.lengths[-30:]) > 200


@pytest.mark.parametrize("curve", CURVES)
def test_what_a_copy_gained_is_not_lost_on_the_story_after_it(curve: str) -> None:
    """A drafter that was always right for an answer, and is always wrong in the next: that answer alone is bounded."""
    machine = Machine(CURVES[curve])
    n = 1200
    drafter = ScriptedDrafter(machine, TEXT[: 2 * n], lambda i: 1.0 if i < n else 0.0, 0.05, honest=False)
    costs = CostTable(33)
    calibrate(costs, machine.step, machine.clock, seconds=60 * machine.plain_seconds)
    controller = Controller(costs, [drafter], clock=machine.clock)
    decode(machine, controller, TEXT[:n])
    ledger = controller.ledger
    assert ledger.net_loss < 0
    before, tokens = ledger.net_loss, ledger.tokens
    drafter.right = lambda _: 0.0
    decode(machine, controller, TEXT[:n])
    stake = max(2.0 * (cost(machine.curve, 7) - 1.0), 4.0)
    assert ledger.net_loss - before <= stake + 0.02 * (ledger.tokens - tokens)


def test_a_draft_is_never_cut_to_a_length_that_cannot_pay() -> None:
    """A batch of two costs three; with little to stake nothing is sent rather than that."""
    machine = Machine(CURVES["Q8_0, a wall at two"])
    costs = CostTable(33)
    calibrate(costs, machine.step, machine.clock, seconds=80 * machine.plain_seconds)
    ngram = NgramDrafter()
    controller = Controller(costs, [ngram], clock=machine.clock, ledger=Ledger(grant=4.0))
    text = [*range(40)] * 8
    sent: list[int] = []
    observe = controller.observe

    def record(emitted: Sequence[int], accepted: int, drafted: int, batch: int, seconds: float) -> None:
        sent.append(drafted)
        observe(emitted, accepted, drafted, batch, seconds)

    controller.observe = record  # type: ignore[method-assign]
    decode(machine, controller, text)
    assert 1 not in sent
    assert controller.ledger.net_loss <= 1.0


def test_what_was_learned_at_temperature_0_is_not_believed_of_answers_that_are_drawn() -> None:
    machine = Machine(CURVES["Q4_0, repacked"])
    drafter = ScriptedDrafter(machine, TEXT[:600], lambda _: 1.0, 0.1, honest=False)
    costs = CostTable(33)
    calibrate(costs, machine.step, machine.clock, seconds=60 * machine.plain_seconds)
    controller = Controller(costs, [drafter], clock=machine.clock)
    decode(machine, controller, TEXT[:600])
    source = controller._sources[0]
    greedy = source.acceptance.lately()
    assert greedy > 0.95
    controller.begin(TEXT[:1], draws=no_draws)
    assert 0.6 < source.acceptance.lately() < 0.85
    assert source.acceptance.at_best() > 0.9  # a good draft is tried all the same
    controller.begin(TEXT[:1])
    assert source.acceptance.lately() == greedy
    assert set(controller.acceptance) == {"scripted", "scripted (drawn)"}


@pytest.mark.parametrize("name", ["Q4_0, repacked", "Q8_0, a wall at two", "F16, a wall and then flat"])
def test_a_draft_that_is_never_wrong_is_used_in_short_answers_from_their_beginning(name: str) -> None:
    """The allowance of an answer once let it begin with three tokens at a time, or not at all where those never pay."""
    machine = Machine(CURVES[name])
    drafter = ScriptedDrafter(machine, TEXT[:101], lambda _: 1.0, 0.2)
    costs = CostTable(33)
    calibrate(costs, machine.step, machine.clock, seconds=80 * machine.plain_seconds)
    costs.observe_draft(drafter.name, 0.2 * machine.plain_seconds)
    record = Acceptance()
    for _ in range(60):  # as the calibration's sample text tells
        record.observe(1.0, True)
    ledger = Ledger(balance=64.0)
    controller = Controller(costs, [drafter], clock=machine.clock, ledger=ledger, acceptance={drafter.name: record})
    for _ in range(4):
        seconds = decode(machine, controller, TEXT[:101])
    _, best = best_fixed(machine, 1.0, 0.2)
    assert 99 / seconds >= 0.75 * best


def test_an_answer_has_to_copy_before_long_drafts_are_sent_for_it() -> None:
    """Matches were right in answers that copied; in a story that shares some phrases with its prompt they are not."""
    machine = Machine(CURVES["F16, a wall and then flat"])
    costs = CostTable(33)
    calibrate(costs, machine.step, machine.clock, seconds=80 * machine.plain_seconds)
    ngram = NgramDrafter()
    controller = Controller(costs, [ngram], clock=machine.clock)
    passage = [*range(1000, 1200)]
    for _ in range(4):
        decode(machine, controller, [*passage, *passage], n_prompt=200)
    before, tokens = controller.ledger.net_loss, controller.ledger.tokens
    rng = random.Random(5)
    for _ in range(6):
        story: list[int] = []
        while len(story) < 160:  # every now and then six words of the prompt, and then something else
            at = rng.randrange(190)
            story += [*(rng.randrange(20_000, 50_000) for _ in range(24)), *passage[at : at + 6]]
        decode(machine, controller, [*passage, *story], n_prompt=200)
    assert before < 0
    assert controller.ledger.net_loss - before <= 0.012 * (controller.ledger.tokens - tokens)


@pytest.mark.parametrize("name", CURVES)
def test_an_answer_that_goes_on_from_a_long_match_is_sent_long_drafts_at_once(name: str) -> None:
    """Six dozen equal tokens are no chance: drafts once began with three tokens, and grew with what they gained."""
    machine = Machine(CURVES[name])
    costs = CostTable(65)
    calibrate(costs, machine.step, machine.clock, seconds=120 * machine.plain_seconds)
    controller = Controller(costs, [NgramDrafter()], clock=machine.clock, ledger=Ledger(balance=64.0))
    passage = [*range(1000, 1140)]
    text = [*passage, *passage, *passage]
    decode(machine, controller, text, n_prompt=360)  # the first plain steps, and how sure such matches are
    context = text[:360]
    controller.begin(context[:-1])
    assert next(n for n in steps(machine, controller, text, context) if n) >= 20


class Reading(ScriptedDrafter):
    """A draft model that has to read a prompt before it drafts."""

    n_read = 0

    def begin(self, prompt: Sequence[int]) -> None:
        self.n_read = 0

    def lag(self, context: Sequence[int]) -> int:
        return max(len(context) - self.n_read, 1)

    def read_ahead(self, prompt: Sequence[int], go_on: Callable[[], bool]) -> None:
        self.machine.work(0.02 * self.lag(prompt))
        self.n_read = len(prompt)

    def propose_while(self, context: Sequence[int], k: int, go_on: Callable[[Sequence[float]], bool]) -> list[int]:
        self.machine.work(0.02 * (self.lag(context) - 1))
        self.n_read = len(context)
        return super().propose_while(context, k, go_on)


def reading_controller(machine: Machine, truth: Sequence[int]) -> tuple[Controller, Reading]:
    """N-grams and a draft model that is always right, its costs and its worth known."""
    drafter = Reading(machine, truth, lambda _: 1.0, 0.2)
    costs = CostTable(65)
    calibrate(costs, machine.step, machine.clock, seconds=120 * machine.plain_seconds)
    costs.observe_draft(drafter.name, 0.2 * machine.plain_seconds)
    costs.observe_catch_up(drafter.name, 0.02 * machine.plain_seconds)
    record = Acceptance()
    for _ in range(60):
        record.observe(1.0, True)
    controller = Controller(
        costs, [NgramDrafter(), drafter], clock=machine.clock, ledger=Ledger(balance=64.0),
        acceptance={drafter.name: record},
    )  # fmt: skip
    return controller, drafter


def test_a_draft_model_that_will_pay_reads_the_prompt_before_the_first_token() -> None:
    machine = Machine(CURVES["Q4_0, repacked"])
    controller, drafter = reading_controller(machine, TEXT[:400])
    decode(machine, controller, TEXT[:400], n_prompt=300)
    balance, room, before = controller.ledger.balance, controller.ledger.room, machine.now
    controller.begin(TEXT[:300])
    assert drafter.n_read == 300
    assert machine.now - before == pytest.approx(0.02 * 300 * machine.plain_seconds, rel=0.01)
    assert controller.ledger.balance < balance, "it is paid for"
    assert controller.ledger.room >= min(room, controller.ledger.most), "but by what is invested"


def test_no_draft_model_reads_the_prompt_of_an_answer_that_goes_on_from_a_long_match() -> None:
    machine = Machine(CURVES["Q4_0, repacked"])
    passage = [*range(1000, 1140)]
    text = [*passage, *passage, *passage]
    controller, drafter = reading_controller(machine, text)
    decode(machine, controller, text, n_prompt=360)
    controller.begin(text[:360])
    assert drafter.n_read == 0


def test_an_answer_is_not_doubted_for_what_went_wrong_in_the_last() -> None:
    record = Acceptance()
    for _ in range(200):
        record.observe(0.9, True)
    fresh = record.calibrated([0.9] * 30, wary=True)
    for _ in range(4):
        record.observe(0.9, False)
    doubted = record.calibrated([0.9] * 30, wary=True)
    assert doubted[0] < 0.8 * fresh[0]
    assert doubted[29] > 0.9 * fresh[29], "thirty right tokens would have made up for it"
    record.turn_the_page()
    assert record.calibrated([0.9])[0] > 0.95 * fresh[0]


def test_a_draft_that_a_rule_cuts_is_weighed_as_it_is_left() -> None:
    """Eight tokens of a copy pay and one alone never does: where the rule lets one pass, none is sent."""
    machine = Machine(CURVES["Q8_0, a wall at two"])
    costs = CostTable(33)
    calibrate(costs, machine.step, machine.clock, seconds=80 * machine.plain_seconds)
    text = [*range(40)] * 8
    lengths: dict[int, int] = {}
    for passed in (1, 31):
        controller = Controller(costs, [NgramDrafter()], clock=machine.clock)
        controller.begin(text[:80])
        for i in range(80, 140):
            draft = controller.choose(text[: i + 1], 31, lambda tokens, n=passed: min(n, len(tokens))).tokens  # type: ignore[misc]
            lengths[passed] = max(lengths.get(passed, 0), len(draft))
            machine.step(1)
            controller.observe(text[i + 1 : i + 2], 0, 0, 1, machine.plain_seconds)
    assert lengths[1] == 0
    assert lengths[31] >= 6


def test_where_nothing_is_worth_sending_looking_for_it_grows_rare() -> None:
    """Looking takes time as well, on a small model nearly one per cent of a step."""
    machine = Machine(CURVES["Q4_0, repacked"])
    costs = CostTable(33)
    calibrate(costs, machine.step, machine.clock, seconds=80 * machine.plain_seconds)
    looks = 0

    class Counts(NgramDrafter):
        def propose(self, context: Sequence[int], k: int) -> list[int]:
            nonlocal looks
            looks += 1
            return super().propose(context, k)

    controller = Controller(costs, [Counts()], clock=machine.clock)
    story = random.Random(3).sample(range(40_000), 400)
    decode(machine, controller, story)
    assert looks <= 24 + 400 / 4
    copied = story[:200] * 2
    decode(machine, controller, [*story[:200], *copied], n_prompt=200)
    assert controller.ledger.net_loss < -100


def test_a_useless_draft_is_never_read_the_prompt_to() -> None:
    """What the calibration's sample text says about it is enough."""
    machine = Machine(CURVES["Q4_0, repacked"])

    class Reads(ScriptedDrafter):
        def lag(self, context: object) -> int:
            return 60

    drafter = Reads(machine, TEXT[:400], lambda _: 0.05, 0.2)
    costs = CostTable(33)
    calibrate(costs, machine.step, machine.clock, seconds=80 * machine.plain_seconds)
    costs.observe_draft(drafter.name, 0.2 * machine.plain_seconds)
    costs.observe_catch_up(drafter.name, 0.08 * machine.plain_seconds)
    record = Acceptance()
    for i in range(60):
        record.observe(0.4, i % 20 == 0)
    controller = Controller(costs, [drafter], clock=machine.clock, acceptance={drafter.name: record})
    for _ in range(5):
        decode(machine, controller, TEXT[:400])
    assert controller.ledger.lost == 0.0


def test_without_a_measured_plain_step_nothing_is_drafted() -> None:
    machine = Machine(CURVES["Q4_0, repacked"])
    controller = Controller(CostTable(), [ScriptedDrafter(machine, TEXT, lambda _: 1.0, 0.1)], clock=machine.clock)
    controller.begin([0])
    assert list(controller.choose([0, 2], 16).tokens) == []
    assert controller.plain_seconds(2) == 0.0


def test_a_slow_draft_catches_up_only_where_the_rest_of_the_answer_pays_for_it() -> None:
    machine = Machine(CURVES["Q4_0, repacked"])

    class Behind(ScriptedDrafter):
        def lag(self, context: object) -> int:
            return 5000

    costs = CostTable()
    calibrate(costs, machine.step, machine.clock, seconds=1.0)
    drafter = Behind(machine, TEXT, lambda _: 1.0, 0.1)
    costs.observe_draft(drafter.name, 0.1 * machine.plain_seconds)
    costs.observe_catch_up(drafter.name, 0.1 * machine.plain_seconds)
    controller = Controller(costs, [drafter], clock=machine.clock)
    controller.begin([0])
    assert list(controller.choose([0, 2], 16).tokens) == []


def test_speedup_is_measured_against_plain_steps() -> None:
    machine = Machine(CURVES["Q4_0, repacked"])
    outcome = simulate(machine, ScriptedDrafter(machine, TEXT[:3000], lambda _: 1.0, 0.1))
    report = outcome.controller.report()
    assert report.speedup == pytest.approx(outcome.tokens * machine.plain_seconds / outcome.seconds, rel=0.02)
    assert report.drafter == "scripted"
    assert report.accepted == report.drafted
    assert report.target_steps == len(outcome.lengths)


def test_calibration_spends_about_its_second() -> None:
    for plain in (0.001, 0.02, 0.2):
        machine = Machine(CURVES["Q4_0, repacked"], plain_seconds=plain)
        table = CostTable()
        calibrate(table, machine.step, machine.clock, seconds=1.0)
        assert machine.now <= 1.3 + 5 * plain
        assert table.plain(0) == pytest.approx(plain)
        assert 2.1 <= table.row(0)[4] / plain <= 2.4  # seldom measured sizes count as a little cheaper


@pytest.mark.parametrize("held_up", [(3,), (2, 3), (10,), (5, 12), (9, 10, 18)])
@pytest.mark.parametrize("name", CURVES)
def test_an_evaluation_held_up_by_another_program_does_not_make_batches_look_cheap(
    name: str, held_up: tuple[int, ...]
) -> None:
    """Plain steps that took ten times as long once made a batch of sixteen look cheaper than a single token."""
    machine = Machine(CURVES[name])
    count = 0

    def step(n: int) -> None:
        nonlocal count
        machine.step(n)
        if count in held_up:
            machine.work(9.0)
        count += 1

    table = CostTable(33)
    calibrate(table, step, machine.clock, seconds=60 * machine.plain_seconds)
    row = table.row(0)
    for n in (2, 4, 8, 16, 32):
        assert row[n] / row[1] >= 0.7 * cost(machine.curve, n)
    knots = [table._curve(0).knots[n] for n in sorted(table._curve(0).knots)]
    assert knots == sorted(knots)


@pytest.mark.parametrize("held_up", range(2, 22))
def test_a_large_model_measures_a_size_again_that_was_held_up(held_up: int) -> None:
    """In its second each size is measured once: a batch of eight that was held up was never used again."""
    machine = Machine(CURVES["Q4_0, repacked"])
    count = 0

    def step(n: int) -> None:
        nonlocal count
        machine.step(n)
        if count == held_up:
            machine.work(6.0)
        count += 1

    table = CostTable(65)
    calibrate(table, step, machine.clock, seconds=60 * machine.plain_seconds)
    for n in (2, 4, 8, 16):
        assert table.row(0)[n] / table.row(0)[1] <= 1.3 * cost(machine.curve, n)


def test_the_ledger_is_not_deceived_by_a_table_that_is_wrong() -> None:
    """Long batches look nearly free: the first ones are charged what they took, and soon none are sent."""
    machine = Machine(CURVES["Q4_1, no repacking"])
    table = CostTable(33)
    for n, looks in ((1, 1.0), (8, 1.05), (16, 1.1), (32, 1.2)):
        table._curve(0).set(n, looks * machine.plain_seconds)
    drafter = ScriptedDrafter(machine, TEXT[:2000], lambda _: 0.6, 0.05)
    controller = Controller(table, [drafter], clock=machine.clock)
    seconds, ledger = decode(machine, controller, drafter.truth), controller.ledger
    lost = (seconds - len(drafter.truth) * machine.plain_seconds) / machine.plain_seconds
    assert lost <= ledger.net_loss + 6.0
    assert lost <= 0.01 * ledger.tokens + 1.5 * ledger.grant


def test_a_cost_table_survives_json_and_refuses_nonsense() -> None:
    table = CostTable()
    for b, seconds in ((1, 0.01), (8, 0.03), (16, 0.05)):
        table.observe(b, 100, seconds)
    table.observe_draft("tiny", 0.002)
    again = CostTable.from_json(table.to_json())
    assert again.to_json() == table.to_json()
    for bad in (
        {},
        {"buckets": {"0": {"1": -1}}, "draft": {}, "catch_up": {}},
        {"buckets": 3, "draft": 1, "catch_up": 1},
    ):
        with pytest.raises(ValueError):
            CostTable.from_json(bad)


def test_a_confidence_that_was_counted_is_not_corrected_again() -> None:
    record = Acceptance()
    record.counted = True
    for _ in range(300):
        record.observe(0.97, True)
        record.observe(0.5, False)
        record.observe(0.5, True)
    record.turn_the_page()
    assert record.calibrated([0.97, 0.5]) == [0.97, 0.5]
    record.observe(0.97, False)
    assert record.calibrated([0.97], wary=True)[0] < 0.97, "but a setback in this text counts"


def test_of_tokens_drawn_alike_all_confidences_learn_together() -> None:
    """An answer has few tokens of each confidence: learned one by one, they kept a perfect draft at three tokens."""
    record = Acceptance()
    record.even = True
    record.start_evenly(0.7)
    assert record.calibrated([0.1, 0.99]) == pytest.approx([0.7, 0.7], abs=0.02)
    for _ in range(80):
        record.observe(0.6, True)
    assert min(record.calibrated([0.1, 0.6, 0.99])) > 0.93
    for _ in range(20):
        record.observe(0.1, False)
        record.observe(0.99, True)
    unlikely, likely = record.calibrated([0.1, 0.99])
    assert unlikely < 0.5 < likely


def test_confidences_become_observed_frequencies() -> None:
    record = Acceptance()
    rng = random.Random(5)
    for _ in range(3000):
        record.observe(0.92, rng.random() < 0.4)
        record.observe(0.3, rng.random() < 0.8)
    sure, unsure = record.calibrated([0.92, 0.3])
    assert abs(sure - 0.4) < 0.12
    assert abs(unsure - 0.8) < 0.12
    again = Acceptance.from_json(record.to_json())
    assert again.to_json() == record.to_json()
    with pytest.raises(ValueError):
        Acceptance.from_json({"hits": [1] * 12, "trials": [0] * 12, "lately": 0, "weight": 0})
