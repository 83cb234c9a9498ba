"""The factory that every front end uses: names become files, and what is opened is what was asked for."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.engine.client import WorkerEngine
from localllm.engine.protocol import EngineSpec
from localllm.errors import EngineDied, ModelNotFound
from localllm.events import Loading, Token
from localllm.history import History, MessageState
from localllm.open import engine_spec, open_assistant, open_engine
from localllm.settings import Paths, Settings
from tests.models import CHAT, need

ROOT = Path(__file__).parent.parent


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path / "config.toml", ROOT)


def test_without_a_model_the_way_to_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="pull starter"):
        engine_spec(Settings(), Paths(tmp_path, tmp_path / "c", tmp_path))


@pytest.mark.model
def test_settings_become_a_spec(paths: Paths) -> None:
    need(CHAT)
    settings = Settings(model="smollm2-135m", ctx=512, gpu_layers="3", threads=1, draft="none", kv_type="q8_0")
    spec = engine_spec(settings, paths, documents=False)
    expected = EngineSpec(
        CHAT, None, None, 512, 3, n_threads=1, kv_type="q8_0", speculation="none", sessions_dir=paths.sessions
    )
    assert replace(spec, model=spec.model.resolve()) == replace(expected, model=CHAT.resolve())


@pytest.mark.model
def test_a_turn_through_the_worker_loads_answers_and_closes(paths: Paths) -> None:
    need(CHAT)
    settings = Settings(temperature=0.0, max_tokens=12, ctx=512, draft="none")
    with History(paths.history) as history, open_assistant(settings, paths, history=history) as assistant:
        events = list(assistant.send(history.create_chat().id, "Say hello."))
        loads = [event.fraction for event in events if isinstance(event, Loading)]
        assert loads and loads == sorted(loads) and loads[-1] == 1.0
        text = "".join(event.text for event in events if isinstance(event, Token))
        assert text and history.path(1)[1].content == text
        assert assistant.engine is not None
    assert assistant.engine is None


@pytest.mark.model
def test_a_killed_worker_keeps_the_text_and_the_next_question_starts_a_new_one(paths: Paths) -> None:
    need(CHAT)
    settings = Settings(temperature=0.0, max_tokens=400, ctx=1024, draft="none")
    with History(paths.history) as history, open_assistant(settings, paths, history=history) as assistant:
        chat = history.create_chat().id
        shown = ""
        with pytest.raises(EngineDied, match="ended unexpectedly"):
            for event in assistant.send(chat, "Tell me a long story about the sea."):
                if isinstance(event, Token):
                    shown += event.text
                    if len(shown) > 20:
                        assert isinstance(assistant.engine, WorkerEngine)
                        os.kill(assistant.engine.pid, signal.SIGKILL)
        answer = history.path(chat)[1]
        assert (answer.content, answer.state) == (shown, MessageState.ERROR) and "unexpectedly" in answer.reason
        assert assistant.ask("Say hello.", chat=chat).text


@pytest.mark.model
def test_an_engine_is_ready_when_it_is_returned(paths: Paths) -> None:
    need(CHAT)
    seen: list[Loading] = []
    engine = open_engine(Settings(ctx=256, draft="none"), paths, on_progress=seen.append)
    try:
        assert engine.info.n_ctx >= 256 and engine.count_tokens("hello") > 0
        assert seen[-1].fraction == 1.0
    finally:
        engine.close()
