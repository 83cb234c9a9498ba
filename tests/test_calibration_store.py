"""Stored calibrations: a cache that may be damaged, stale or impossible to write, and then is measured again."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.engine.acceptance import Acceptance
from localllm.engine.calibration import Calibration, CalibrationStore
from localllm.engine.costs import CostTable


def calibration() -> Calibration:
    costs = CostTable()
    for b in (1, 4, 8):
        costs.observe(b, 0, 0.01 * b**0.5)
    record = Acceptance()
    record.observe(0.9, True)
    found = Calibration(costs, {"tiny": record})
    found.ledger.balance, found.ledger.allowance = 3.5, 2.5
    found.ledger.answer = -1.0
    return found


def test_what_is_stored_comes_back(tmp_path: Path) -> None:
    store = CalibrationStore(tmp_path / "calibration", ["machine", "model"])
    assert store.load() is None
    assert store.save(calibration())
    again = store.load()
    assert again is not None
    assert again.costs.to_json() == calibration().costs.to_json()
    assert again.acceptance["tiny"].trials == 1
    assert again.ledger.balance == 3.5
    assert again.ledger.allowance == 1.5, "what the last answer lost is taken off"


def test_another_machine_or_model_is_measured_anew(tmp_path: Path) -> None:
    CalibrationStore(tmp_path, ["machine", "model"]).save(calibration())
    assert CalibrationStore(tmp_path, ["machine", "other"]).load() is None


@pytest.mark.parametrize(
    "damage",
    [
        "", "{", "[]", "null", '{"version": 2}', '{"version": 99}', "\x00\xff", "[" * 100_000,
        '{"version": 2, "costs": {"buckets": {"0": {"1": "x"}}, "draft": {}, "catch_up": {}}, "acceptance": {}, '
        '"balance": 1, "allowance": 1}',
        '{"version": 2, "costs": {"buckets": {"0": {"1": 0.1}}, "draft": {}, "catch_up": {}}, "acceptance": {}, '
        '"balance": NaN, "allowance": 1}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_ignored(tmp_path: Path, damage: str) -> None:
    store = CalibrationStore(tmp_path, ["a"])
    assert store.path is not None
    store.path.write_text(damage, "utf-8")
    assert store.load() is None


def test_a_folder_that_can_t_be_written_costs_only_the_second(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    assert not CalibrationStore(file / "calibration", ["a"]).save(calibration())


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    store = CalibrationStore(None, ["a"])
    assert not store.save(calibration())
    assert store.load() is None
