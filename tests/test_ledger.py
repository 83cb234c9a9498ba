"""The regret ledger: whatever drafters do, answers that lose don't lose more than they may."""

from __future__ import annotations

import random

from localllm.engine.ledger import Ledger


def play(ledger: Ledger, tokens: int, gains: list[float], risk: float) -> float:
    """Answers of so many tokens, each trying a step of this risk wherever that is allowed; the loss of the last."""
    before = 0.0
    for gain in gains:
        ledger.begin(8.0)
        before = ledger.net_loss
        for _ in range(tokens):
            if ledger.allows(risk):
                ledger.settle(1, 1.0 + gain, 1.0)
            else:
                ledger.settle(1, 1.0, 1.0)
    return ledger.net_loss - before


def test_answers_that_lose_in_a_row_share_one_allowance() -> None:
    ledger = Ledger()
    play(ledger, 100, [5.0], 1.0)
    gained = -ledger.net_loss
    play(ledger, 100, [-1.0] * 20, 1.0)
    assert gained + ledger.net_loss <= 8.0 + 0.01 * 2000
    assert ledger.balance > 30, "and it was not the balance that ended it"


def test_what_was_gained_elsewhere_is_not_staked() -> None:
    ledger = Ledger()
    play(ledger, 100, [5.0] * 10, 1.0)
    assert ledger.net_loss < -1000
    assert play(ledger, 200, [-1.0], 1.0) <= 8.0 + 0.01 * 200


def test_an_answer_may_stake_what_it_gained_itself() -> None:
    ledger = Ledger()
    ledger.begin(8.0)
    assert not ledger.allows(6.0)
    ledger.settle(9, 9.0, 4.0)
    assert ledger.allows(6.0)


def test_a_gain_fills_the_allowance_again() -> None:
    ledger = Ledger()
    play(ledger, 100, [-1.0] * 10, 1.0)
    ledger.begin(8.0)
    assert not ledger.allows(4.0)
    play(ledger, 10, [5.0], 0.1)
    ledger.begin(8.0)
    assert ledger.allows(4.0)


def test_reading_is_borne_by_the_balance_alone() -> None:
    ledger = Ledger(grant=16.0)
    ledger.begin(4.0)
    assert not ledger.allows(3.0)
    assert ledger.allows(2.0, investment=6.0)
    assert not ledger.allows(2.0, investment=6.1)
    ledger.settle(1, 1.0, 7.0, invested=6.0)
    assert ledger.room > 3.9
    assert ledger.balance < 10.1


def test_a_drafter_that_hardly_ever_fails_is_bound_by_the_balance_alone() -> None:
    ledger = Ledger(balance=20.0)
    ledger.begin(4.0)
    assert not ledger.allows(8.0)
    assert ledger.allows(8.0, trusted=True)
    assert not ledger.allows(11.0, trusted=True)
    assert Ledger(balance=64.0, allowance=4.0).allows(14.0, trusted=True)
    assert not Ledger(balance=64.0, allowance=4.0).allows(15.0, trusted=True), "no single step may risk that"


def test_what_of_a_risk_is_hardly_ever_lost_is_borne_by_the_balance_alone() -> None:
    ledger = Ledger(balance=64.0)
    ledger.begin(4.0)
    assert not ledger.allows(10.0)
    assert ledger.allows(10.0, sure=8.0)
    assert not ledger.allows(10.0, sure=7.0)
    assert not Ledger(balance=19.0).allows(10.0, sure=8.0)


def test_trust_ends_where_the_answer_has_lost_an_allowance() -> None:
    """A draft model right 94 times of 100 lost ten plain steps in an answer of 128: one failed draft after another."""
    ledger = Ledger(balance=64.0)
    ledger.begin(4.0)
    ledger.settle(1, 1.0, 6.0)
    assert not ledger.allows(3.0, trusted=True)
    for _ in range(200):
        ledger.settle(1, 1.0, 1.0)
    assert ledger.allows(3.0, trusted=True), "in a long answer it is earned again"
    ledger.begin(4.0)
    assert ledger.allows(3.0, trusted=True)


def test_no_play_of_gains_and_losses_loses_more_than_the_share_and_the_grant() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        ledger = Ledger()
        for _ in range(30):
            ledger.begin(rng.choice((4.0, 8.0)))
            for _ in range(rng.randrange(1, 80)):
                risk = rng.uniform(0.1, 6.0)
                tries = ledger.allows(risk, trusted=rng.random() < 0.2)
                ledger.settle(1, 1.0 + (rng.choice((-risk, -risk, 0.5)) if tries else 0.0), 1.0)
            assert ledger.net_loss <= ledger.grant + 0.01 * ledger.tokens
