"""What a token costs beyond the evaluation: decoding with a model of one layer, in alternating pairs with every peer.

    LOCALLLM_PEERS=DIR python -m bench.one_layer [--pairs 9] [--only python,llama-bench,...]

A model of one layer is made of the given one, so that little is left but what is done around it. Two kinds of rows: the
microseconds per token that ours takes more (or, below zero, less) than each peer, through the worker, text events
included; and where they go: inside the worker the time between two evaluations (all of it Python: choosing the token,
its text, the event, the pipe), and the processor time of the program that asked. llama-completion's figure is its own
(`eval time`, without its sampling and printing).
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.engine import PEERS, ROOT, LlamaPeer, XllamacppPeer, llama_bench, llama_server, ours
from bench.pairs import HEADER, Pairs, alternate, write
from localllm.engine import measure, spawn
from localllm.engine.client import WorkerEngine
from localllm.engine.protocol import Engine, EngineSpec, Request, Sampling
from localllm.llama.quantize import quantize_file

TOKENS = 512
_GAP = "time between evaluations"


def worker() -> None:
    """A worker that notes the time between two evaluations of one token, and says it in its log."""
    from localllm.engine.worker import run_worker
    from localllm.llama import context

    native, clock, gaps, state = vars(context)["C"], time.perf_counter, list[float](), [0.0]

    class Timed:
        def __getattr__(self, name: str) -> Any:
            return getattr(native, name)

        @staticmethod
        def llama_decode(pointer: Any, batch: Any) -> int:
            started = clock()
            if state[0] and batch.n_tokens == 1:
                gaps.append(1e6 * (started - state[0]))
            code: int = native.llama_decode(pointer, batch)
            state[0] = clock() if batch.n_tokens == 1 else 0.0
            if len(gaps) >= TOKENS - 8:
                print(f"{_GAP}: {statistics.median(gaps)} {statistics.fmean(gaps)}", file=sys.stderr, flush=True)
                gaps.clear()
                state[0] = 0.0
            return code

    vars(context)["C"] = Timed()
    run_worker()


def python_share(model: Path, sampling: Sampling, runs: int) -> dict[str, float]:
    """Microseconds per token of Python: in the worker between two evaluations, and in the asking process."""
    command = spawn.worker_command
    spawn.worker_command = lambda: [sys.executable, "-m", "bench.one_layer", "--worker"]
    try:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "worker.log"
            asking: list[float] = []
            with WorkerEngine(EngineSpec(model, n_ctx=4096, speculation="none"), log) as engine:
                engine.wait_ready()
                request = Request(prompt=measure.ENDLESS, max_tokens=TOKENS, sampling=sampling, speculation="none")
                for _ in range(runs):
                    started = time.process_time()
                    tokens = measure.answer(engine, request)[2]
                    asking.append(1e6 * (time.process_time() - started) / tokens)
            found = [(float(a), float(b)) for a, b in re.findall(rf"{_GAP}: (\S+) (\S+)", log.read_text("utf-8"))]
    finally:
        spawn.worker_command = command
    return {
        "worker_median": statistics.median(median for median, _ in found),
        "worker_mean": statistics.median(mean for _, mean in found),
        "asking_process": statistics.median(asking),
    }


def llama_completion(model: Path, threads: int) -> float:
    """Tokens per second of llama-completion, by its own account."""
    command = [
        str(PEERS / "llama-completion"),
        "-m",
        str(model),
        "-p",
        measure.ENDLESS,
        "-n",
        str(TOKENS),
        "-c",
        "4096",
    ]
    done = subprocess.run(
        [*command, "--temp", "0", "-no-cnv", "-t", str(threads), "--ignore-eos"],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    found = re.search(r"  eval time =.*?([\d.]+) tokens per second", done.stdout + done.stderr)
    assert found is not None, "llama-completion does not say how fast it was"
    return float(found[1])


def peers(model: Path, threads: int, only: set[str], stack: ExitStack) -> dict[str, Callable[[], float]]:
    """Those that were asked for and are here, by name: each decodes the same number of tokens."""
    rows: dict[str, Callable[[], float]] = {}
    if not (PEERS / "llama-bench").exists():
        print("peer missing: llama.cpp's programs (bench/peers.sh DIR, then LOCALLLM_PEERS=DIR)")
    else:
        if "llama-bench" in only:
            rows["llama-bench"] = lambda: llama_bench(model, threads, n=TOKENS)
        if "llama-completion" in only:
            rows["llama-completion"] = lambda: llama_completion(model, threads)
        if "llama-server" in only:
            complete = stack.enter_context(llama_server(model, threads))
            rows["llama-server"] = lambda: complete(measure.ENDLESS, TOKENS)
    kinds: dict[str, dict[str, Any]] = {
        "Llama as shipped": {},
        "Llama tuned": {"n_threads": threads, "flash_attn": True},
    }
    for name, options in kinds.items():
        if name in only:
            llama = LlamaPeer(model, **options)
            stack.callback(llama.close)
            rows[name] = lambda llama=llama: llama.run(kind="decode", prompt=measure.ENDLESS, n=TOKENS)  # type: ignore[misc]
    if "xllamacpp" in only:
        if XllamacppPeer.present():
            x = XllamacppPeer(model, n_threads=threads)
            stack.callback(x.close)
            rows["xllamacpp"] = lambda: x.run(prompt=measure.ENDLESS, n=TOKENS)
        else:
            print("peer missing: xllamacpp (bench/peers.sh installs it)")
    return rows


def ours_once(engine: Engine) -> Callable[[], float]:
    request = Request(prompt=measure.ENDLESS, max_tokens=TOKENS, sampling=Sampling(temperature=0), speculation="none")

    def once() -> float:
        _, seconds, tokens = measure.answer(engine, request)
        return tokens / seconds

    return once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--pairs", type=int, default=9)
    names = [
        "python",
        "llama-bench",
        "llama-completion",
        "llama-server",
        "Llama as shipped",
        "Llama tuned",
        "xllamacpp",
    ]
    parser.add_argument("--only", default=",".join(names))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker()
    only = set(options.only.split(","))
    results: list[Any] = []
    with ExitStack() as stack:
        small = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "one-layer.gguf"
        quantize_file(options.model, small, "Q4_1", prune_layers=range(1, 1000))
        if "python" in only:
            for label, sampling in (
                ("greedy", Sampling(temperature=0)),
                ("sampled", Sampling(temperature=0.8, seed=3)),
            ):
                share = python_share(small, sampling, options.pairs)
                results.append({"name": f"Python per token, {label}", **share})
                inside = f"{share['worker_median']:.0f} (mean {share['worker_mean']:.0f})"
                print(f"{label}: microseconds of Python between two evaluations: {inside}", end="; ")
                print(f"of processor time in the asking process: {share['asking_process']:.0f}")
        engine = ours(small, stack)
        threads = engine.info.n_threads
        print(HEADER)
        for name, peer in peers(small, threads, only, stack).items():
            pairs: Pairs = alternate(f"one layer, decode {TOKENS} / {name}", ours_once(engine), peer, options.pairs)
            more = statistics.median(1e6 / a - 1e6 / b for a, b in zip(pairs.ours, pairs.peer, strict=True))
            print(f"{pairs.row()}  {more:+.0f} microseconds per token")
            results.append({**pairs.as_json(), "microseconds_more": more})
    write("one_layer-" + "-".join(sorted(only)) if len(only) < len(names) else "one_layer", results)


if __name__ == "__main__":
    main()
