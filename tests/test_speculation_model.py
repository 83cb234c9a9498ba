"""Speculation on the starter model: the same text as plain decoding, honest figures, nothing stored in public."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.engine.local import LocalEngine
from localllm.engine.protocol import EngineSpec, GenerationDone, Request, Sampling, TokenEvent
from localllm.events import Message, Role
from tests.drafting import assert_equal_up_to_a_near_tie, free_batches
from tests.models import CHAT, need

pytestmark = pytest.mark.model

PASSAGE = (
    "The lantern of Morrow Bay was built in 1847 by Ines Calloway, a glassmaker who had lost two brothers to the rocks "
    "below the cliff. She ground the lens herself over eleven winters, and the light could be seen for nineteen miles."
)
COPY = (Message(Role.USER, f"Repeat this text word for word, and nothing else:\n\n{PASSAGE}"),)
SKY = (Message(Role.USER, "Explain in three sentences why the sky is blue."),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[LocalEngine]:
    need(CHAT)
    engine = LocalEngine(EngineSpec(CHAT, draft=CHAT, n_ctx=1024, sessions_dir=folder / "sessions"))
    assert engine._controller is not None
    engine._controller.ledger.balance = 64.0
    yield engine
    engine.close()


def ids(engine: LocalEngine, request: Request) -> tuple[list[int], GenerationDone]:
    tokens: list[int] = []
    for event in engine.stream(request):
        if isinstance(event, TokenEvent):
            tokens += event.token_ids
    assert isinstance(event, GenerationDone)
    return tokens, event


@pytest.mark.parametrize("question", [COPY, SKY], ids=["copy", "prose"])
def test_greedy_text_is_that_of_plain_decoding_or_parts_from_it_at_a_near_tie(
    engine: LocalEngine, question: tuple[Message, ...]
) -> None:
    greedy = Sampling(temperature=0)
    plain, _ = ids(engine, Request(question, max_tokens=80, sampling=greedy, speculation="none"))
    spec, done = ids(engine, Request(question, max_tokens=80, sampling=greedy))
    assert_equal_up_to_a_near_tie(engine, question, plain, spec)
    stats = done.stats.speculation
    assert stats.accepted <= stats.drafted
    assert stats.target_steps >= stats.plain_steps


def test_a_perfect_draft_is_right_above_temperature_0_as_well(tmp_path: Path) -> None:
    """It draws with the target's own numbers; the likeliest token would be right about every second time here."""
    need(CHAT)
    hot = Sampling(temperature=1.2, top_k=40, top_p=1.0, min_p=0.0, seed=5)
    engine = LocalEngine(EngineSpec(CHAT, draft=CHAT, n_ctx=1024, sessions_dir=tmp_path / "sessions"))
    assert engine._controller is not None
    engine._controller.ledger.balance = 64.0
    with free_batches(engine._controller):
        _, done = ids(engine, Request(SKY, max_tokens=120, sampling=hot))
    engine.close()
    assert done.stats.speculation.drafted > 40
    assert done.stats.speculation.acceptance_rate >= 0.75


def test_a_copied_passage_takes_fewer_target_steps(engine: LocalEngine) -> None:
    controller = engine._controller
    assert controller is not None
    with free_batches(controller):
        spec, done = ids(engine, Request(COPY, max_tokens=60, sampling=Sampling(temperature=0)))
    stats = done.stats.speculation
    assert stats.target_steps <= 0.5 * len(spec)
    assert stats.acceptance_rate > 0.5
    assert stats.drafter is not None


def test_none_is_always_there(engine: LocalEngine) -> None:
    _, done = ids(engine, Request(COPY, max_tokens=8, sampling=Sampling(temperature=0), speculation="none"))
    stats = done.stats.speculation
    assert (stats.drafted, stats.accepted, stats.speedup, stats.drafter) == (0, 0, 1.0, None)


def test_the_calibration_is_stored_privately_and_used_again(engine: LocalEngine, folder: Path) -> None:
    (file,) = (folder / "calibration").glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    data = json.loads(file.read_text("utf-8"))
    assert data["version"] == 3
    assert float(data["costs"]["buckets"]["0"]["1"]) > 0
    assert not list(file.parent.glob("*.part"))


def test_a_perfect_draft_agrees_on_the_sample_text(engine: LocalEngine) -> None:
    assert engine._controller is not None
    record = engine._controller.acceptance[CHAT.stem]
    assert record.trials > 20
    assert record.lately() > 0.85
