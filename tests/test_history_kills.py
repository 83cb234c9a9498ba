"""A history whose writer is killed at random moments: sound, and never more than one write behind.

A seeded sample of 8 kills; LOCALLLM_SOAK=1 runs 200.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localllm.history import History, MessageState

WRITER = """
import sys
from pathlib import Path
from localllm.events import Role
from localllm.history import History, MessageState
history = History(Path(sys.argv[1]))
chat, n = history.create_chat().id, 0
print("open", flush=True)
while True:
    n += 1
    leaf = history.chat(chat).leaf_id
    question = history.add_message(chat, Role.USER, f"question {n}", parent=leaf)
    answer = history.add_message(chat, Role.ASSISTANT, "", parent=question.id, state=MessageState.STREAMING)
    text = ""
    for word in range(5):
        text += f"word{word} "
        history.update_message(answer.id, content=text)
        print(n, text, flush=True)
    history.update_message(answer.id, state=MessageState.COMPLETE)
"""
KILLS = 200 if os.environ.get("LOCALLLM_SOAK") else 8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_kill_at_a_random_moment_loses_nothing_that_was_written(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "h.db"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    time.sleep(random.Random(seed).uniform(0.0, 0.25))
    process.kill()
    said = process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    with History(path) as history:
        assert history._conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        for index in ("messages_fts", "chats_fts"):
            history._conn.execute(f"INSERT INTO {index} ({index}) VALUES ('integrity-check')")
        assert history._conn.execute("PRAGMA foreign_key_check").fetchall() == []
        messages = history.path(1)
        assert all(m.state in (MessageState.COMPLETE, MessageState.STOPPED) for m in messages)
        answers = [m.content for m in messages if m.role == "assistant"]
        whole = "word0 word1 word2 word3 word4 "
        assert all(answer == whole for answer in answers[:-1])
        if said and said[-1].count(" ") > 1:
            n, _, text = said[-1].partition(" ")
            assert answers[int(n) - 1].startswith(text.rstrip("\n"))
