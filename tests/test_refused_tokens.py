"""What stands instead of a token that a text rule refuses: the same in another case, where that may stand."""

from __future__ import annotations

import pytest

from localllm.engine.protocol import EngineSpec, Request, Sampling, TokenEvent
from localllm.events import Message, Role
from localllm.rules.rulebook import Rulebook
from tests.models import CHAT, need
from tests.test_word_caps import STORY, answer


def test_under_a_rule_of_lower_case_the_model_writes_its_own_text_in_lower_case() -> None:
    text, _ = answer('[[rule]]\ntype="case"\nstyle="lower"', budget=len(STORY) - 7)
    assert text == STORY.decode().rstrip().lower()


def test_a_value_of_a_list_is_found_in_any_case() -> None:
    text, _ = answer('[[rule]]\ntype="enum"\nvalues=["oNCE upon a time", "never"]')
    assert text == "oNCE upon a time"


@pytest.mark.model
def test_the_starter_writes_its_own_words_in_lower_case() -> None:
    from localllm.engine.local import LocalEngine

    need(CHAT)
    spec = Rulebook.parse('[[rule]]\ntype="case"\nstyle="lower"').compiled().constraint
    engine = LocalEngine(EngineSpec(CHAT, n_ctx=1024, n_threads=1, speculation="none"))
    try:
        for question in (
            "Write a letter to a friend about a dog.",
            "What is the capital of France? Answer in one sentence.",
        ):
            messages = (Message(Role.USER, question),)
            request = Request(messages, max_tokens=5, sampling=Sampling(temperature=0), constraint=spec)
            free = Request(messages, max_tokens=5, sampling=Sampling(temperature=0))
            texts = ["".join(e.text for e in engine.stream(r) if isinstance(e, TokenEvent)) for r in (request, free)]
            assert texts[0] == texts[0].lower()
            assert texts[0].split()[0] == texts[1].lower().split()[0]
    finally:
        engine.close()
