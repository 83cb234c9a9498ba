"""What an evaluation costs, learned beside other programs: ratios that were right then stay right when they end."""

from __future__ import annotations

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
