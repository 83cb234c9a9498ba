"""A draft with another vocabulary, on real models: the starter with the first half of its tokens drafts for itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.synthetic import trim_vocabulary
from localllm.engine.local import LocalEngine
from localllm.engine.protocol import EngineSpec, GenerationDone, Request, Sampling, TokenEvent
from localllm.engine.speculate import make_controller
from localllm.engine.translation import ByText
from localllm.errors import DraftMismatch
from localllm.events import Message, Role
from localllm.llama.model import Model
from localllm.models.header import read_model_header
from localllm.models.pairing import _cover, judge
from tests.drafting import assert_equal_up_to_a_near_tie, free_batches
from tests.models import CHAT, need

pytestmark = pytest.mark.model

N_TOKENS = 24_000
QUESTION = (Message(Role.USER, "Why is the sky blue? Explain at length."),)


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need(CHAT)
    path = tmp_path_factory.mktemp("trimmed") / "trimmed.gguf"
    trim_vocabulary(CHAT, path, N_TOKENS)
    return path


@pytest.fixture(scope="module")
def engine(trimmed: Path) -> Iterator[LocalEngine]:
    engine = LocalEngine(EngineSpec(CHAT, draft=trimmed, n_ctx=1024, n_threads=1))
    assert engine._controller is not None
    engine._controller.ledger.balance = 64.0
    with free_batches(engine._controller):  # a draft as dear as the target would rarely be asked
        yield engine
    engine.close()


def answer(engine: LocalEngine, speculation: str) -> tuple[list[int], GenerationDone]:
    ids: list[int] = []
    request = Request(
        QUESTION,
        max_tokens=80,
        sampling=Sampling(temperature=0),
        speculation="auto" if speculation == "auto" else "none",
    )
    for event in engine.stream(request):
        if isinstance(event, TokenEvent):
            ids += event.token_ids
    assert isinstance(event, GenerationDone)
    return ids, event


def test_by_its_header_the_target_knows_all_of_its_tokens(trimmed: Path) -> None:
    target, draft = read_model_header(CHAT), read_model_header(trimmed)
    assert _cover(target, draft) == pytest.approx(0.999)
    assert "too large" in judge(target, draft).reason  # the same depth: only the vocabulary is smaller


def test_its_drafts_are_accepted_and_the_text_is_that_of_plain_decoding(engine: LocalEngine) -> None:
    plain, _ = answer(engine, "none")
    drafted, done = answer(engine, "auto")
    assert_equal_up_to_a_near_tie(engine, QUESTION, plain, drafted)
    assert done.stats.speculation.drafter == "trimmed"
    assert done.stats.speculation.accepted > 20
    assert done.stats.speculation.target_steps < len(drafted) / 2


def test_tokens_that_it_lacks_are_read_as_its_own_cut_of_their_text(trimmed: Path) -> None:
    target, draft = Model(CHAT), Model(trimmed)
    translation = ByText(target.vocab, draft.vocab)
    assert translation.covered == 1.0
    beyond = range(N_TOKENS, target.vocab.n_tokens, 499)
    for token in beyond:
        ids = translation.to_draft(token)
        assert len(ids) > 1
        assert b"".join(draft.vocab.piece(d) for d in ids) == target.vocab.piece(token)
    draft.close()
    target.close()


def test_a_vocabulary_that_is_mostly_foreign_is_refused(engine: LocalEngine, trimmed: Path, tmp_path: Path) -> None:
    from tests.recurrent_model import write_mamba  # any file that can't draft

    with pytest.raises(DraftMismatch):
        make_controller(EngineSpec(CHAT, draft=write_mamba(tmp_path / "mamba.gguf")), engine._model, engine._backend)
