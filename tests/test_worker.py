"""The engine in a process of its own: it streams, is cancelled at once, dies without harm, and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from localllm.engine.client import WorkerEngine, start_engine
from localllm.engine.protocol import EngineSpec, GenerationDone, Request, Sampling, TokenEvent
from localllm.errors import ContextOverflow, EngineClosed, EngineDied, ModelNotFound, NotGGUF, TextTooLong
from localllm.events import FinishReason, Loading, Message, Prefilling, Role
from localllm.settings import find_paths
from tests.models import CHAT, EMBEDDER, need

pytestmark = pytest.mark.model

GREEDY = Sampling(temperature=0)
SKY = (Message(Role.USER, "Explain in three sentences why the sky is blue."),)
STORY = Request((Message(Role.USER, "Tell a long story."),), max_tokens=400, sampling=Sampling(temperature=0.9, seed=3))


def spec_for(folder: Path) -> EngineSpec:
    """Without speculation, whose calibration takes a second of every first start."""
    embedder = EMBEDDER if EMBEDDER.exists() else None
    return EngineSpec(CHAT, embedder=embedder, n_ctx=4096, sessions_dir=folder / "s", speculation="none")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerEngine]:
    need(CHAT)
    folder = tmp_path_factory.mktemp("worker")
    spec = replace(spec_for(folder), speculation="auto")
    with WorkerEngine(spec, folder / "logs" / "worker.log") as engine:
        yield engine


def answer(engine: WorkerEngine, request: Request) -> tuple[str, GenerationDone]:
    text = ""
    for event in engine.stream(request):
        if isinstance(event, TokenEvent):
            text += event.text
    assert isinstance(event, GenerationDone)
    return text, event


def test_it_answers_and_says_what_it_loaded(engine: WorkerEngine) -> None:
    text, done = answer(engine, Request(SKY, max_tokens=12, sampling=GREEDY))
    assert "sky" in text
    assert done.stats.completion_tokens == 12
    assert engine.ready
    assert engine.info.architecture == "llama"
    assert engine.info.path == CHAT
    assert engine.count_tokens("Hello there") == len(engine.tokenize("Hello there")) == 2
    assert engine.render(SKY).text.endswith("<|im_start|>assistant\n")


def test_native_output_goes_to_a_log_that_only_the_user_can_read(engine: WorkerEngine) -> None:
    engine.wait_ready()
    log = engine.log_path
    assert "load_tensors" in log.read_text("utf-8", "replace")
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.parent.stat().st_mode & 0o777 == 0o700


def test_nothing_native_reaches_the_screen(tmp_path: Path) -> None:
    need(CHAT)
    code = (
        "import sys; from pathlib import Path; from localllm.engine.client import WorkerEngine;"
        "from localllm.engine.protocol import *; from localllm.events import *;"
        f"e = WorkerEngine(EngineSpec(Path({str(CHAT)!r}), n_ctx=256), Path({str(tmp_path / 'w.log')!r}));"
        "list(e.stream(Request((Message(Role.USER, 'Hi'),), max_tokens=2))); e.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert done.stdout == done.stderr == b""


def test_cancelling_keeps_the_text_and_the_engine(engine: WorkerEngine) -> None:
    cancel = threading.Event()
    seen = ""
    for event in engine.stream(STORY, cancel):
        if isinstance(event, TokenEvent):
            seen += event.text
            if len(seen) > 40:
                cancel.set()
    assert isinstance(event, GenerationDone)
    assert event.reason is FinishReason.CANCELLED
    assert event.stats.completion_tokens < 100
    assert answer(engine, Request(SKY, max_tokens=4, sampling=GREEDY))[0]


def test_cancelling_reaches_into_a_running_prefill(engine: WorkerEngine) -> None:
    cancel = threading.Event()
    request = Request((Message(Role.USER, "word " * 3900),), max_tokens=4)
    n_done = 0
    for event in engine.stream(request, cancel):
        if isinstance(event, Prefilling):
            n_done = event.done
            cancel.set()
    assert isinstance(event, GenerationDone)
    assert event.reason is FinishReason.CANCELLED
    assert n_done < 2000, "it did not wait for the whole prompt"


def test_an_abandoned_stream_stops_the_worker_too(engine: WorkerEngine) -> None:
    events = engine.stream(STORY)
    for event in events:
        if isinstance(event, TokenEvent):
            break
    events.close()  # type: ignore[attr-defined]
    started = time.perf_counter()
    answer(engine, Request(SKY, max_tokens=2, sampling=GREEDY))
    assert time.perf_counter() - started < 30, "400 tokens were not generated for nobody"


def test_errors_keep_their_class_and_figures(engine: WorkerEngine) -> None:
    with pytest.raises(ContextOverflow) as caught:
        answer(engine, Request((Message(Role.USER, "word " * 5000),)))
    assert caught.value.n_ctx == 4096
    assert caught.value.n_prompt > 5000
    assert "4,096" in caught.value.message


def test_two_threads_may_ask_at_once(engine: WorkerEngine) -> None:
    results: dict[int, str] = {}

    def ask(n: int) -> None:
        results[n] = answer(engine, Request(SKY, max_tokens=8, sampling=GREEDY))[0]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results.values())) == 1
    assert len(results) == 3


def test_embedding_goes_on_beside_an_answer(engine: WorkerEngine) -> None:
    need(EMBEDDER)
    embedder = engine.embedder
    assert embedder is not None
    texts = [f"Sentence number {i} is about pumps and seals." for i in range(40)]
    answer(engine, Request(SKY, max_tokens=2, sampling=GREEDY))  # both answers below find the prompt read
    rows: list[object] = []
    thread = threading.Thread(target=lambda: rows.append(embedder.embed(texts)))
    events = engine.stream(Request(SKY, max_tokens=40, sampling=GREEDY))
    next(events)
    thread.start()
    text = "".join(e.text for e in events if isinstance(e, TokenEvent))
    thread.join(30)
    assert text == answer(engine, Request(SKY, max_tokens=40, sampling=GREEDY))[0]
    (matrix,) = rows
    assert isinstance(matrix, np.ndarray)
    assert matrix.shape == (40, 384)
    assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)
    with pytest.raises(TextTooLong):
        embedder.embed(["word " * 600])


def test_a_question_cancels_idle_work(engine: WorkerEngine) -> None:
    result: list[int] = []
    system = (Message(Role.SYSTEM, "You are kind. " * 900),)
    thread = threading.Thread(target=lambda: result.append(engine.prefill(system)))
    thread.start()
    time.sleep(0.3)
    answer(engine, Request(SKY, max_tokens=2, sampling=GREEDY))
    thread.join(20)
    assert result
    assert result[0] < len(engine.render(system).token_ids)


def test_kill_9_during_an_answer_keeps_the_text_and_the_next_question_starts_anew(engine: WorkerEngine) -> None:
    engine.wait_ready()
    first_pid = engine.pid
    seen = ""
    with pytest.raises(EngineDied) as caught:
        for event in engine.stream(STORY):
            if isinstance(event, TokenEvent):
                seen += event.text
                if len(seen) > 20:
                    os.kill(engine.pid, signal.SIGKILL)
    assert len(seen) > 20
    assert "killed" in caught.value.message
    assert "ask again" in caught.value.hint
    assert not engine.ready
    assert answer(engine, Request(SKY, max_tokens=4, sampling=GREEDY))[0]
    assert engine.pid != first_pid


def test_a_worker_that_died_while_idle_is_replaced_without_a_word(engine: WorkerEngine) -> None:
    engine.wait_ready()
    os.kill(engine.pid, signal.SIGKILL)
    while engine.ready:
        time.sleep(0.01)
    assert engine.tokenize("still here")
    assert answer(engine, Request(SKY, max_tokens=4, sampling=GREEDY))[0]


# ---- starting and ending ----


def test_construction_does_not_wait_and_loading_reports_progress(tmp_path: Path) -> None:
    need(CHAT)
    seen: list[Loading] = []
    with WorkerEngine(spec_for(tmp_path), tmp_path / "w.log", seen.append) as engine:
        assert not engine.ready, "it came back before the model was loaded"
        assert engine.wait_ready(60)
    fractions = [loading.fraction for loading in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_a_question_may_be_asked_and_taken_back_while_the_model_loads(tmp_path: Path) -> None:
    need(CHAT)
    cancel = threading.Event()
    cancel.set()
    with WorkerEngine(spec_for(tmp_path), tmp_path / "w.log") as engine:
        events = list(engine.stream(Request(SKY), cancel))
        assert isinstance(events[-1], GenerationDone)
        assert events[-1].reason is FinishReason.CANCELLED
        text, done = answer(engine, Request(SKY, max_tokens=3, sampling=GREEDY))
        assert text
        assert done.stats.load_seconds > 0


def test_start_engine_waits_and_reports_from_the_calling_thread(tmp_path: Path) -> None:
    need(CHAT)
    threads = set()
    paths = find_paths({"LOCALLLM_HOME": str(tmp_path)})
    engine = start_engine(
        spec_for(tmp_path), paths, on_progress=lambda loading: threads.add(threading.current_thread())
    )
    assert engine.ready
    engine.close()
    assert threads == {threading.current_thread()}
    assert (tmp_path / "logs" / "worker.log").exists()


@pytest.mark.parametrize("kind", ["missing", "garbage"])
def test_a_bad_file_is_refused_with_its_own_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.gguf"
    if kind == "garbage":
        path.write_bytes(b"GGUF" + b"\xff" * 100)
    engine = WorkerEngine(EngineSpec(path), tmp_path / "w.log")
    with pytest.raises(ModelNotFound if kind == "missing" else NotGGUF, match=r"model\.gguf"):
        engine.wait_ready()
    with pytest.raises((ModelNotFound, NotGGUF)):
        list(engine.stream(Request(SKY)))
    engine.close()


def test_closing_is_safe_twice_and_while_an_answer_is_written(tmp_path: Path) -> None:
    need(CHAT)
    engine = WorkerEngine(spec_for(tmp_path), tmp_path / "w.log")
    events = engine.stream(STORY)
    with pytest.raises(EngineClosed):
        for event in events:
            if isinstance(event, TokenEvent):
                engine.close()
    engine.close()
    with pytest.raises(EngineClosed):
        engine.tokenize("x")
    assert not alive(engine.pid)


def test_closing_while_loading_is_quick_and_leaves_no_process(tmp_path: Path) -> None:
    need(CHAT)
    engine = WorkerEngine(spec_for(tmp_path), tmp_path / "w.log")
    engine.close()
    assert not alive(engine.pid)


def test_the_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    need(CHAT)
    code = (
        "import time; from pathlib import Path; from localllm.engine.client import WorkerEngine;"
        "from localllm.engine.protocol import EngineSpec;"
        f"e = WorkerEngine(EngineSpec(Path({str(CHAT)!r}), n_ctx=256), Path({str(tmp_path / 'w.log')!r}));"
        "e.wait_ready(); print(e.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout as out:
        pid = int(out.readline())
        assert alive(pid)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_a_closed_chat_goes_on_after_a_restart_with_the_same_answer(tmp_path: Path) -> None:
    need(CHAT)
    long = (Message(Role.USER, "Explain why the sky is blue. " * 30),)
    request = Request(long, max_tokens=16, sampling=GREEDY, session="chat")
    with WorkerEngine(spec_for(tmp_path), tmp_path / "w.log") as engine:
        first, _ = answer(engine, request)
    with WorkerEngine(spec_for(tmp_path), tmp_path / "w.log") as engine:
        again, done = answer(engine, request)
    assert again == first
    assert done.stats.cached_tokens == done.stats.prompt_tokens - 1


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
