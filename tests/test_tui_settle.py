"""What happens once after the first paint."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from localllm_tui import app as app_module
from localllm_tui.app import LocalLLMApp
from tests.tui import opened

PROBE = """
import gc, sys
import localllm_tui.app
before = len(gc.get_objects())
from localllm_tui.settle import settle
settle()
print(before, gc.get_freeze_count(), len(gc.get_objects()), "pygments" in sys.modules, "markdown_it" in sys.modules)
"""


def test_what_is_there_to_stay_is_out_of_the_collectors_way_and_the_parser_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=120, check=True)
    before, frozen, left, pygments, markdown = done.stdout.split()
    assert int(frozen) > int(before) > 100 * int(left)
    assert (pygments, markdown) == ("True", "True")


async def test_it_happens_once_in_a_terminal_and_never_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = threading.Event()
    monkeypatch.setattr(app_module, "settle", called.set)
    async with opened(tmp_path / "a") as here:
        await here.pilot.pause()
        assert not called.is_set()
    monkeypatch.setattr(LocalLLMApp, "is_headless", property(lambda self: False))
    async with opened(tmp_path / "b") as here:
        await here.until(called.is_set, "the call")
