"""The command line with a scripted engine: `python -m tests.fake_program ask ...`, for tests in real processes.

``FAKE_ENGINE`` holds a script in JSON: arguments of `FakeEngine`, ``load_seconds``, ``dies_after`` (tokens), ``fails``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import localllm.open
from localllm.cli import main
from localllm.engine.protocol import Cancel, Engine, EngineEvent, EngineSpec, Request
from localllm.errors import EngineDied, ModelLoadFailed
from localllm.events import Loading
from localllm.settings import Paths, Settings
from tests.fakes import FakeEngine

SCRIPT: dict[str, Any] = json.loads(os.environ.get("FAKE_ENGINE", "{}"))
LOAD_SECONDS, DIES_AFTER, FAILS = (SCRIPT.pop(key, 0) for key in ("load_seconds", "dies_after", "fails"))


class Scripted(FakeEngine):
    def stream(self, request: Request, cancel: Cancel | None = None) -> Iterator[EngineEvent]:
        for i, event in enumerate(super().stream(request, cancel)):
            if DIES_AFTER and i > DIES_AFTER:
                raise EngineDied("The worker process ended.", "Ask again to start a new one.")
            yield event


def open_engine(
    settings: Settings,
    paths: Paths,
    *,
    on_progress: Callable[[Loading], None] | None = None,
    spec: EngineSpec | None = None,
) -> Engine:
    if FAILS == "bug":
        raise RuntimeError("a mistake\nof two lines")
    if FAILS:
        raise ModelLoadFailed("llama.cpp refused the model: unknown architecture.", "Update localllm.")
    time.sleep(LOAD_SECONDS)
    return Scripted(**SCRIPT)


def engine_spec(settings: Settings, paths: Paths, *, documents: bool = True) -> EngineSpec:
    return EngineSpec(Path("fake.gguf"))


localllm.open.open_engine = open_engine
localllm.open.engine_spec = engine_spec

if __name__ == "__main__":
    sys.exit(main())
