"""Recurrent models can't take tokens back: nothing is drafted for them, which is said, and everything else works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from localllm.cli.main import cli
from localllm.engine.local import LocalEngine
from localllm.engine.protocol import EngineSpec, GenerationDone, Request, Sampling, TokenEvent
from localllm.models.header import read_model_header
from localllm.models.pairing import best_draft, judge
from localllm.settings import Paths
from tests.gguf_files import write_model
from tests.recurrent_model import write_mamba

NOTE = "Nothing is drafted: this kind of model can't take tokens back."
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    write_mamba(home / "models" / "Tiny-Mamba.gguf")
    write_model(home / "models" / "Small.gguf")
    return home


@pytest.fixture(scope="module")
def engine(home: Path) -> Iterator[LocalEngine]:
    models = home / "models"
    engine = LocalEngine(EngineSpec(models / "Tiny-Mamba.gguf", draft=models / "Small.gguf", n_ctx=512))
    yield engine
    engine.close()


def answer(engine: LocalEngine, prompt: str) -> tuple[list[int], GenerationDone]:
    ids: list[int] = []
    for event in engine.stream(Request(prompt=prompt, max_tokens=24, sampling=GREEDY)):
        if isinstance(event, TokenEvent):
            ids += event.token_ids
    assert isinstance(event, GenerationDone)
    return ids, event


def test_it_answers_without_drafts_and_says_so(engine: LocalEngine) -> None:
    assert engine.info.recurrent
    assert engine.info.draft is None
    assert NOTE in engine.info.notes
    ids, done = answer(engine, "the cat the cat the cat")
    assert len(ids) == 24
    assert done.notes == (NOTE,)
    speculation = done.stats.speculation
    assert (speculation.drafted, speculation.accepted, speculation.speedup) == (0, 0, 1.0)
    assert speculation.plain_steps == speculation.target_steps


def test_another_prompt_is_read_from_its_beginning_and_answers_alike(engine: LocalEngine) -> None:
    first, _ = answer(engine, "the cat the cat the cat")
    other, done = answer(engine, "the dog")
    again, _ = answer(engine, "the cat the cat the cat")
    assert again == first
    assert done.stats.cached_tokens == 0
    assert other != first


def test_where_no_draft_was_asked_for_nothing_is_said_with_the_answer(home: Path) -> None:
    engine = LocalEngine(EngineSpec(home / "models" / "Tiny-Mamba.gguf", n_ctx=512))
    _, done = answer(engine, "the cat")
    engine.close()
    assert done.notes == ()


def test_no_pair_is_made_with_it_and_the_reason_is_named(home: Path) -> None:
    models = home / "models"
    mamba, small = (read_model_header(models / f"{name}.gguf") for name in ("Tiny-Mamba", "Small"))
    assert mamba.recurrent
    assert judge(mamba, small).reason == "the target can't take tokens back, so nothing can be drafted for it"
    assert judge(small, mamba).reason == "it can't take tokens back"
    assert best_draft(mamba.path, Paths(home, home / "config.toml", home / "program")) is None


def test_the_commands_say_it_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALLLM_HOME", str(home))
    done = CliRunner().invoke(cli, ["models", "pair", "Tiny-Mamba"])
    assert done.exit_code == 0, done.output
    assert "the target can't take tokens back" in done.output
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOCALLLM_")} | {"LOCALLLM_HOME": str(home)}
    command = [sys.executable, "-m", "localllm_tui", "ask", "-m", "Tiny-Mamba", "--draft", "Small", "--max-tokens", "8"]
    asked = subprocess.run(
        [*command, "--json", "hello"], capture_output=True, env=environment, cwd=Path(__file__).parent.parent
    )
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    assert found["draft"] is None
    assert found["speculation"]["drafted"] == 0
    shown = subprocess.run(
        [*command, "hello"], capture_output=True, env=environment, cwd=Path(__file__).parent.parent, text=True
    )
    assert NOTE in shown.stderr
