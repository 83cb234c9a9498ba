"""The starter model chooses sentences, and writes with citations that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from localllm.engine.protocol import EngineSpec, Request, Sampling, TokenEvent
from localllm.events import Message, Role
from localllm.rag.answer import ground
from tests.libraries import HANDBOOK, make_library

MODEL = Path(__file__).parent.parent / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.model
def test_the_starter_model_chooses_among_existing_sentences(tmp_path: Path) -> None:
    if not MODEL.exists():
        pytest.skip("the starter model is missing: make starter")
    from localllm.engine.local import LocalEngine

    engine = LocalEngine(EngineSpec(MODEL, n_ctx=2048, gpu_layers=0))
    try:
        library = make_library(tmp_path / "l.db", HANDBOOK)
        found = ground(
            library, "When is the seal of the pump replaced?", count_tokens=engine.count_tokens, extractive=True
        )
        assert not found.refusal
        for seed, temperature in ((0, 0.0), (1, 1.5), (2, 1.5)):
            request = Request(
                (Message(Role.SYSTEM, found.system), Message(Role.USER, found.question)),
                max_tokens=16, sampling=Sampling(temperature=temperature, seed=seed), constraint=found.constraint,
            )  # fmt: skip
            reply = "".join(e.text for e in engine.stream(request) if isinstance(e, TokenEvent))
            assert found.constraint is not None
            assert re.fullmatch(found.constraint.source, reply), reply
            answer = found.check(reply)
            assert 1 <= len(answer.citations) <= 3
            for citation in answer.citations:
                assert HANDBOOK[Path(citation.source).name][citation.start : citation.end] == citation.quote
    finally:
        engine.close()
