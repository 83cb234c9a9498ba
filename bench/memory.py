"""Peak memory of the worker against llama-completion on the same work: a 512-token prompt and 128 tokens of answer.

LOCALLLM_PEERS=DIR python -m bench.memory [--model FILE]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.engine import PEERS, ROOT, ours
from bench.pairs import write
from localllm.engine import measure
from localllm.engine.protocol import Request, Sampling


def peak_of(pid: int) -> int:
    """Peak resident memory in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not say")


def children() -> list[int]:
    """Workers of this process."""
    mine, found = f"\nPPid:\t{os.getpid()}\n", []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mine in (folder / "status").read_text("utf-8", "replace"):
                command = (folder / "cmdline").read_bytes()
                found += [int(folder.name)] if b"localllm.engine.worker" in command else []
        except OSError:  # it ended meanwhile
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    options = parser.parse_args()
    prompt = measure.words(512, 1)
    with ExitStack() as stack, tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        engine = ours(options.model, stack)
        measure.answer(engine, Request(prompt=prompt, max_tokens=128, sampling=Sampling(temperature=0)))
        worker = max(peak_of(pid) for pid in children())
        file.write(prompt)
        file.flush()
        command = [
            str(PEERS / "llama-completion"),
            "-m",
            str(options.model),
            "-f",
            file.name,
            "-n",
            "128",
            "-c",
            "4096",
        ]
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        subprocess.run(
            [*command, "--temp", "0", "-no-cnv", "-t", str(engine.info.n_threads)],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        peer = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        assert peer >= before
    more = (worker - peer * 1024) / 1e6
    print(f"worker {worker / 1e6:.0f} MB, llama-completion {peer * 1024 / 1e6:.0f} MB, ours more by {more:+.0f} MB")
    write("memory", [{"worker_bytes": worker, "llama_completion_bytes": peer * 1024}])


if __name__ == "__main__":
    main()
