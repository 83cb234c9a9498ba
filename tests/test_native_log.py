"""The messages of llama.cpp are ours to read, whoever else in this process has asked for them."""

from __future__ import annotations

import subprocess
import sys

from tests.models import CHAT, need

SCRIPT = """
import sys
from localllm.llama.log import native_log
native_log()
import llama_cpp  # its high-level package takes the messages over when it is imported
from pathlib import Path
from localllm.llama.model import Model
model = Model(Path(sys.argv[1]), load="mmap")
print(len(model.placement.layers))
"""


def test_the_report_of_a_load_survives_another_taker_of_the_log() -> None:
    need(CHAT)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(CHAT)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "31", done.stderr[-500:]
