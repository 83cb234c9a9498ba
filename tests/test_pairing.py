"""Pairing drafts with targets by their headers: ranked, with a reason for each that does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from localllm.cli.main import cli
from localllm.models.header import Header, read_model_header
from localllm.models.pairing import best_draft, judge, rank_pairs
from localllm.settings import Paths
from tests.gguf_files import gguf_bytes, llama_metadata, llama_tensors


def model(folder: Path, name: str, *, layers: int = 2, **changes: object) -> Path:
    path = folder / f"{name}.gguf"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gguf_bytes(llama_metadata(**changes, llama__block_count=layers), llama_tensors(layers)))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Header:
    return read_model_header(model(tmp_path, "Tiny-7B-Instruct", layers=40, general__name="Tiny 7B Instruct"))


def test_a_small_relative_with_the_same_vocabulary_fits(tmp_path: Path, target: Header) -> None:
    pair = judge(target, read_model_header(model(tmp_path, "Tiny-135M", general__name="Tiny 135M Instruct")))
    assert pair.fits
    assert pair.cover == 1.0
    assert pair.cost < 0.2
    assert pair.reason == "the same vocabulary, the same family"


def test_a_draft_that_is_hardly_smaller_is_refused_with_its_cost(tmp_path: Path, target: Header) -> None:
    pair = judge(target, read_model_header(model(tmp_path, "Tiny-6B", layers=36)))
    assert not pair.fits
    assert "too large" in pair.reason
    assert "%" in pair.reason


def test_another_vocabulary_is_refused_and_a_trimmed_one_serves(tmp_path: Path, target: Header) -> None:
    other = model(tmp_path, "Other", tokenizer__ggml__tokens=[f"x{i}" for i in range(96)])
    trimmed = model(tmp_path, "Trimmed", tokenizer__ggml__tokens=[f"t{i}" for i in range(0, 96, 2)] + ["zz"] * 4)
    refused, served = judge(target, read_model_header(other)), judge(target, read_model_header(trimmed))
    assert not refused.fits
    assert "vocabulary" in refused.reason
    assert served.fits
    assert 0.9 < served.cover < 1.0


def test_nothing_is_drafted_for_or_by_recurrent_models(tmp_path: Path, target: Header) -> None:
    recurrent = read_model_header(model(tmp_path, "Mamba", llama__ssm__state_size=16))
    small = read_model_header(model(tmp_path, "Tiny-135M"))
    assert "take tokens back" in judge(target, recurrent).reason
    assert "take tokens back" in judge(recurrent, small).reason


def test_relatives_come_before_cheaper_strangers_and_misfits_last(tmp_path: Path, target: Header) -> None:
    stranger = model(tmp_path, "Stranger-100M", layers=1, general__name="Stranger 100M")
    relative = model(tmp_path, "Tiny-500M", layers=4, general__name="Tiny 500M Instruct")
    misfit = model(tmp_path, "Huge", layers=39)
    ranked = rank_pairs(target, map(read_model_header, (misfit, stranger, relative, target.path)))
    assert [p.draft for p in ranked] == ["Tiny-500M", "Stranger-100M", "Huge"]


def test_auto_takes_the_best_that_fits_and_none_where_there_is_none(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home", tmp_path / "config.toml", tmp_path / "program")
    big = model(paths.models, "Tiny-7B", layers=40, general__name="Tiny 7B")
    assert best_draft(big, paths) is None
    small = model(paths.models, "Tiny-135M", general__name="Tiny 135M")
    assert best_draft(big, paths) == small
    assert best_draft(small, paths) is None
    assert best_draft(tmp_path / "missing.gguf", paths) is None


def test_the_command_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALLLM_HOME", str(tmp_path))
    model(tmp_path / "models", "Tiny-7B", layers=40, general__name="Tiny 7B")
    model(tmp_path / "models", "Tiny-135M", general__name="Tiny 135M")
    done = CliRunner().invoke(cli, ["models", "pair", "Tiny-7B"])
    assert done.exit_code == 0, done.output
    assert "1. Tiny-135M" in done.output
    done = CliRunner().invoke(cli, ["models", "pair", "--json"])
    pairs = json.loads(done.output)["pairs"]
    assert pairs["Tiny-7B"][0]["fits"]
    assert not next(p for p in pairs["Tiny-135M"] if p["draft"] == "Tiny-7B")["fits"]
