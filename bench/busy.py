"""A busy desktop: tokens per second with as many CPU hogs as cores, ours against llama.cpp's default settings.

python -m bench.busy [--model FILE] [--pairs 15]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from contextlib import ExitStack
from pathlib import Path

from bench.engine import ROOT, decode, llama_server, ours
from bench.pairs import HEADER, alternate, write
from localllm.engine import measure


def burn() -> None:
    while True:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    hogs = [multiprocessing.Process(target=burn, daemon=True) for _ in range(cores)]
    with ExitStack() as stack:
        engine = ours(options.model, stack)
        prompt = measure.ENDLESS
        complete = stack.enter_context(llama_server(options.model, cores))
        for hog in hogs:
            hog.start()
        print(HEADER)
        try:
            once = decode(engine, options.tokens)
            name = f"decode {options.tokens}, {cores} hogs / llama-server's defaults"
            pairs = alternate(name, once, lambda: complete(prompt, options.tokens), options.pairs)
        finally:
            for hog in hogs:
                hog.kill()
    print(pairs.row())
    write("busy", [pairs])


if __name__ == "__main__":
    main()
