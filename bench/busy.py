"""A busy desktop: tokens per second with as many CPU hogs as cores, ours against llama.cpp's default settings; and once
they have ended, the worker that lived through them against a fresh one.

    python -m bench.busy [--model FILE] [--pairs 15] [--only during,after]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.engine import ROOT, decode, llama_server, ours, report
from bench.pairs import HEADER, alternate, write
from localllm.engine import measure

SPELL = 20.0
"""Seconds that the hogs run at least."""


def burn() -> None:
    while True:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--only", default="during,after")
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    hogs = [multiprocessing.Process(target=burn, daemon=True) for _ in range(cores)]
    results: list[Any] = []
    print(HEADER)
    with ExitStack() as stack:
        engine = ours(options.model, stack)
        once = decode(engine, options.tokens)
        for hog in hogs:
            hog.start()
        try:
            began = time.monotonic()
            if "during" in options.only:
                complete = stack.enter_context(llama_server(options.model, cores))
                name = f"decode {options.tokens}, {cores} hogs / llama-server's defaults"
                peer = lambda: complete(measure.ENDLESS, options.tokens)
                report(results, alternate(name, once, peer, options.pairs))
            while time.monotonic() < began + SPELL:
                once()
        finally:
            for hog in hogs:
                hog.kill()
                hog.join()
        if "after" in options.only:
            fresh = decode(ours(options.model, stack), options.tokens)
            name = f"decode {options.tokens}, after the hogs / a fresh worker"
            report(results, alternate(name, once, fresh, options.pairs))
    write("busy" if options.only == parser.get_default("only") else f"busy-{options.only}", results)


if __name__ == "__main__":
    main()
