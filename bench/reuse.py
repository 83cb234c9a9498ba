"""What is not evaluated twice: the second turn of a long chat, and a chat that is reopened after a restart.

    python -m bench.reuse [--model FILE] [--tokens 2000] [--pairs 15]

Second turn: time to first token against the prefill of as many new tokens behind the same context. Reopening: time to
first token with the saved KV state against a cold prefill, and whether the answer is that of the chat that was never
restarted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.pairs import write
from localllm.engine import measure
from localllm.engine.client import start_engine
from localllm.engine.protocol import Engine, EngineSpec, Request, Sampling, TokenEvent
from localllm.engine.threads import physical_cores
from localllm.events import Message, Role
from localllm.settings import Paths

ROOT = Path(__file__).parent.parent
GREEDY = Sampling(temperature=0)


def run(engine: Engine, request: Request) -> tuple[str, Any]:
    text, stats = "", None
    for event in engine.stream(request):
        if isinstance(event, TokenEvent):
            text += event.text
        elif hasattr(event, "stats"):
            stats = event.stats
    return text, stats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=15)
    options = parser.parse_args()
    second: list[float] = []
    reopened: list[float] = []
    same = 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        paths = Paths(home, home / "config.toml", ROOT)
        # fixed threads: with another number of them sums are made in another order, and answers part at near ties
        plain = EngineSpec(options.model, n_ctx=options.tokens + 1024, n_threads=physical_cores(), speculation="none")
        spec = replace(plain, sessions_dir=paths.sessions)
        new_tokens = 0
        for i in range(options.pairs):
            # one chat of the asked length, then a second question, in one engine that is never restarted
            first = Message(Role.USER, measure.words(options.tokens - 64, 1000 + i))
            opening = Request((first,), max_tokens=16, sampling=GREEDY, session=f"chat {i}")
            engine = start_engine(plain, paths)
            text, cold = run(engine, opening)
            turn = (first, Message(Role.ASSISTANT, text), Message(Role.USER, measure.words(40, i)))
            follow = Request(turn, max_tokens=24, sampling=GREEDY, session=f"chat {i}")
            answer, warm = run(engine, follow)
            new_tokens = warm.prompt_tokens - warm.cached_tokens
            # the prefill of as many new tokens behind the same context, with nothing else to do
            other = (*turn[:2], Message(Role.USER, measure.words(40, 5000 + i)))
            _, base = run(engine, Request(other, max_tokens=1, sampling=GREEDY))
            scale = (base.prompt_tokens - base.cached_tokens) / new_tokens
            second.append(warm.first_token_seconds / (base.first_token_seconds / scale))
            engine.close()
            # the same chat, closed after its first turn and opened again
            engine = start_engine(spec, paths)
            same_text, _ = run(engine, opening)
            engine.close()
            engine = start_engine(spec, paths)
            again, restored = run(engine, follow)
            engine.close()
            reopened.append(restored.first_token_seconds / cold.first_token_seconds)
            same += (text, answer) == (same_text, again)
            print(
                f"{i:>3}  second turn {warm.first_token_seconds:.3f} s for {new_tokens} of {warm.prompt_tokens} tokens "
                f"(ratio {second[-1]:.2f}); reopened {restored.first_token_seconds:.3f} s against "
                f"{cold.first_token_seconds:.3f} s cold, {restored.cached_tokens} tokens restored, same answer: "
                f"{again == answer}",
                flush=True,
            )
    print(f"second turn / prefill of the new tokens alone: {statistics.median(second):.3f} (median of {len(second)})")
    print(f"reopened / cold prefill: {statistics.median(reopened):.3f}; same answer {same} of {len(reopened)}")
    write("reuse", [{"second_turn": second, "reopened": reopened, "same_answer": same, "new_tokens": new_tokens}])


if __name__ == "__main__":
    main()
