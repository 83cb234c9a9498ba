"""How soon a cancellation takes effect while a prompt of 512 tokens is being read, from the program's side.

python -m bench.cancel [--model FILE] [--runs 30]
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from bench.engine import ROOT, ours
from bench.pairs import write
from localllm.engine import measure
from localllm.engine.protocol import GenerationDone, Request, Sampling
from localllm.events import FinishReason, Prefilling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    seconds: list[float] = []
    with ExitStack() as stack:
        engine = ours(options.model, stack)

        def request(seed: int) -> Request:
            return Request(prompt=measure.words(512, seed), max_tokens=8, sampling=Sampling(temperature=0))

        whole = statistics.median(measure.answer(engine, request(seed))[0].first_token_seconds for seed in range(3))
        for run in range(options.runs):
            cancel, at = threading.Event(), [0.0]

            def stop(cancel: threading.Event = cancel, at: list[float] = at) -> None:
                at[0] = time.perf_counter()
                cancel.set()

            # evenly over the middle four fifths of the prefill
            timer = threading.Timer(whole * (0.1 + 0.8 * run / options.runs), stop)
            for event in engine.stream(request(100 + run), cancel):
                if isinstance(event, Prefilling) and event.done == 0:
                    timer.start()
                if isinstance(event, GenerationDone):
                    over = time.perf_counter()
                    assert event.reason is FinishReason.CANCELLED, event.reason
            timer.join()
            seconds.append(over - at[0])
    ms = sorted(1000 * s for s in seconds)
    print(
        f"cancelled while reading 512 tokens ({whole:.2f} s in all): {statistics.median(ms):.1f} ms (median), "
        f"{ms[len(ms) * 9 // 10]:.1f} (90th percentile), {ms[-1]:.1f} (longest of {len(ms)})"
    )
    write("cancel", [{"prefill_seconds": whole, "seconds": seconds}])


if __name__ == "__main__":
    main()
