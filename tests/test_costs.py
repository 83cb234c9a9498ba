"""What an evaluation costs, learned beside other programs: ratios that were right then stay right when they end."""

from __future__ import annotations

import random

import pytest

from localllm.engine.costs import CostTable, calibrate

QUIET = {1: 6.5, 2: 11.0, 4: 16.0, 8: 26.0, 16: 45.0, 32: 80.0}
"""Milliseconds by batch size."""


def seconds(n: int) -> float:
    """Between the sizes above, the next larger one's."""
    return next(ms for size, ms in QUIET.items() if size >= n) / 1e3


def measured(slowness: float) -> CostTable:
    """A table that was measured, stored and read again while everything took this many times as long."""
    table, now = CostTable(32), [0.0]

    def step(n: int) -> None:
        now[0] += slowness * seconds(n)

    calibrate(table, step, lambda: now[0], seconds=slowness)
    return CostTable.from_json(table.to_json(), 32)


@pytest.mark.parametrize("slowness", [1, 2, 3, 5, 10])
def test_a_table_measured_in_a_busy_spell_is_right_once_it_is_over(slowness: float) -> None:
    table = measured(slowness)
    for _ in range(60):
        table.observe(1, 100, seconds(1))
    row = table.row(100)
    assert row[1] == pytest.approx(seconds(1), rel=0.05)
    for n in (4, 8, 16, 32):
        assert row[n] / row[1] == pytest.approx(seconds(n) / seconds(1), rel=0.25), n


def test_what_was_measured_since_is_believed_and_not_reckoned_back() -> None:
    table = measured(5)
    for i in range(60):
        table.observe(1, 100, seconds(1))
        if i % 8 == 0:
            table.observe(8, 100, 2 * seconds(8))  # larger batches don't pay any more
    row = table.row(100)
    assert row[8] / row[1] == pytest.approx(2 * seconds(8) / seconds(1), rel=0.25)


REBUILD = 0.0008
"""Seconds that a plain step takes longer behind a batch."""


def test_calibration_tells_a_plain_step_from_one_that_follows_a_batch() -> None:
    table, now, before = CostTable(32), 0.0, 1

    def step(n: int) -> None:
        nonlocal now, before
        now += seconds(n) + (REBUILD if n == 1 and before != 1 else 0.0)
        before = n

    calibrate(table, step, lambda: now, seconds=1.0)
    assert table.plain(0) == pytest.approx(seconds(1), rel=0.01)
    assert table.rebuild == pytest.approx(REBUILD, rel=0.01)
    assert CostTable.from_json(table.to_json(), 32).rebuild == table.rebuild


def test_plain_steps_that_follow_batches_do_not_look_dearer_than_they_are() -> None:
    """In a long copy there are no others: the yardstick rose by a tenth, and drafts seemed to gain that much more."""
    table = measured(1)
    for _ in range(200):
        table.observe(8, 100, seconds(8))
        table.observe(1, 100, seconds(1) + REBUILD, behind_batch=True)
        table.observe(1, 100, seconds(1))
    for _ in range(200):
        table.observe(8, 100, seconds(8))
        table.observe(1, 100, seconds(1) + REBUILD, behind_batch=True)
    assert table.plain(100) == pytest.approx(seconds(1), rel=0.01)
    assert table.rebuild == pytest.approx(REBUILD, rel=0.1)


def test_a_table_from_before_rebuilds_were_measured_is_still_read() -> None:
    data = measured(1).to_json()
    del data["rebuild"]
    assert CostTable.from_json(data, 32).rebuild == 0.0


def test_a_row_that_is_read_seldom_is_the_row_that_is_read_always() -> None:
    """Rows are filled when they are asked for; what was observed meanwhile must all be in them."""
    for seed in range(20):
        rng = random.Random(seed)
        eager, lazy = measured(1), measured(1)
        for _ in range(300):
            n, took = rng.choice((1, 1, 1, 2, 5, 8, 17, 32)), rng.lognormvariate(0.0, 0.3)
            for table in (eager, lazy):
                table.observe(n, 100, took * seconds(n))
            eager.row(100)
        assert eager.row(100) == lazy.row(100)
