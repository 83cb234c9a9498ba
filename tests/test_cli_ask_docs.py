"""`localllm ask -d` on the real models: from a folder to a cited answer, or to "not in your documents"."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from localllm.events import SupportState
from tests.models import CHAT, EMBEDDER, need
from tests.test_cli_ask import ANSWER, ROOT, document, environment, history

pytestmark = pytest.mark.model
PUMP = """# Pump manual

## Service

Replace the seal every 400 hours of operation. Use part QX-2291.

The filter is cleaned every week with water.
"""


def run(home: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "localllm_tui", *args]
    return subprocess.run(
        command, capture_output=True, stdin=subprocess.DEVNULL, cwd=ROOT, env=environment(home), timeout=120
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need(CHAT, EMBEDDER)
    root = tmp_path_factory.mktemp("ask-docs")
    (root / "notes").mkdir()
    (root / "notes" / "pump.md").write_text(PUMP)
    (root / "notes" / "holidays.txt").write_text("The office is closed from 24 December to 2 January.\n")
    added = run(root / "home", "docs", "add", str(root / "notes"), "-d", "work")
    assert added.returncode == 0, added.stderr
    return root / "home"


def test_an_answer_names_its_source_and_the_exact_place(home: Path) -> None:
    done = run(home, "ask", "When is the seal replaced?", "-d", "work", "-t", "0", "-n", "64", "--json")
    value = document(done, ANSWER)
    assert done.returncode == 0 and value["context"]["passages"] >= 1
    seal = next(c for c in value["citations"] if "seal" in c["quote"])
    assert Path(seal["source"]).name == "pump.md" and (seal["line"], seal["state"]) == (5, "verified")
    assert PUMP[seal["start"] : seal["end"]] == seal["quote"]
    assert f"[{seal['n']}]" in value["text"]
    with history(home) as kept:
        last = kept.last_chat()
        assert last is not None
        answer = kept.path(last.id)[-1]
        assert answer.content == value["text"] and answer.passages
        assert {c.state for c in answer.citations} == {SupportState.VERIFIED}


def test_sources_go_to_standard_error_and_the_answer_alone_to_standard_output(home: Path) -> None:
    done = run(home, "ask", "When is the seal replaced?", "-d", "work", "-t", "0", "-n", "64")
    assert done.returncode == 0 and b"400 hours" in done.stdout and b"pump.md, line" not in done.stdout
    assert b"pump.md, line 5: verified" in done.stderr


def test_what_is_not_in_the_documents_exits_4_with_the_nearest_places(home: Path) -> None:
    done = run(home, "ask", "Who won the football world cup in 1998?", "-d", "work", "--json")
    value = document(done, ANSWER)
    assert (done.returncode, value["finish_reason"]) == (4, "refused")
    assert value["nearest"] and value["usage"]["completion_tokens"] == 0


def test_a_library_that_is_not_there_is_one_line_and_nothing_is_stored(home: Path) -> None:
    with history(home) as kept:
        before = len(kept.chats())
    done = run(home, "ask", "q", "-d", "nothing")
    assert done.returncode == 1 and done.stdout == b"" and len(done.stderr.splitlines()) == 1
    assert b"no library 'nothing'" in done.stderr
    with history(home) as kept:
        assert len(kept.chats()) == before


def test_the_prompt_holds_the_passages_as_data(home: Path) -> None:
    done = run(
        home, "ask", "When is the seal replaced?", "-d", "work", "--answer", "generate", "--show-prompt", "-n", "16"
    )
    assert b"Replace the seal every 400 hours" in done.stderr and b"[1]" in done.stderr
