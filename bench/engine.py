"""The engine against its peers, in alternating pairs: plain decoding, prefill, long answers, embeddings.

Ours decodes without drafts, but for the rows that say so: there both go on with a new text in every pair.

    python -m bench.engine [--model FILE] [--pairs 15] [--only decode,prefill,...]

Peers: llama.cpp's own programs from the folder LOCALLLM_PEERS (see bench/peers.sh), and llama-cpp-python's `Llama`,
as shipped and tuned, and xllamacpp, each in a process of its own. A peer that is not there is reported as missing. What
a token costs beyond its evaluation is the matter of bench.one_layer.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx

from bench.pairs import HEADER, Pairs, alternate, write
from localllm.engine import measure
from localllm.engine.client import start_engine
from localllm.engine.protocol import Engine, EngineSpec, Request, Sampling
from localllm.models.catalog import STARTER_EMBEDDERS
from localllm.settings import Paths

ROOT = Path(__file__).parent.parent
EMBEDDER = next(
    (path for name in STARTER_EMBEDDERS if (path := ROOT / "models" / name).exists()),
    ROOT / "models" / STARTER_EMBEDDERS[0],
)
TEXTS = 19
"""Pairs at most where each wants a new text; the warm-up takes one, too."""
PEERS = Path(os.environ.get("LOCALLLM_PEERS", "/nonexistent"))

_LLAMA = """
import json, sys, time
from llama_cpp import Llama
options = json.loads(sys.argv[2])
llm = Llama(model_path=sys.argv[1], verbose=False, n_ctx=4096, **options)
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    llm.reset()
    if job["kind"] == "decode":
        first = last = 0.0
        n = 0
        for chunk in llm.create_completion(job["prompt"], max_tokens=job["n"], temperature=0, stream=True):
            last = time.perf_counter()
            if first: n += 1
            else: first = last
        print(n / (last - first), flush=True)
    elif job["kind"] == "embed":
        started = time.perf_counter()
        llm.embed(job["texts"])
        print(job["n"] / (time.perf_counter() - started), flush=True)
"""

_XLLAMACPP = """
import json, sys, time
import xllamacpp
options = json.loads(sys.argv[2])
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx, params.n_parallel, params.verbosity = 4096, 1, -1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options["n_threads"]
server = xllamacpp.Server(params)
print("ready", flush=True)
times = []
def note(chunk):
    for part in chunk if isinstance(chunk, list) else [chunk]:
        if part["choices"][0].get("text"):
            times.append(time.perf_counter())
for line in sys.stdin:
    job = json.loads(line)
    times.clear()
    body = {"prompt": job["prompt"], "max_tokens": job["n"], "temperature": 0, "stream": True, "cache_prompt": False}
    server.handle_completions(body, note)
    print((len(times) - 1) / (times[-1] - times[0]), flush=True)
"""


class LlamaPeer:
    """llama-cpp-python's `Llama` in a process of its own."""

    script = _LLAMA

    def __init__(self, model: Path, python: str | Path = sys.executable, **options: Any) -> None:
        self.process = subprocess.Popen(
            [str(python), "-c", self.script, str(model), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the peer process ended")
        return line

    def run(self, **job: Any) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class XllamacppPeer(LlamaPeer):
    """xllamacpp (llama-server's code behind a Python binding, of a wheel for any processor) in a process of its own."""

    script = _XLLAMACPP
    python = PEERS / "python" / "bin" / "python"

    def __init__(self, model: Path, n_threads: int) -> None:
        super().__init__(model, self.python, n_threads=n_threads)

    @classmethod
    def present(cls) -> bool:
        """Whether it is installed beside the peers."""
        if not cls.python.exists():
            return False
        return subprocess.run([cls.python, "-c", "import xllamacpp"], capture_output=True, check=False).returncode == 0


def llama_bench(model: Path, threads: int, *, prompt: int = 0, n: int = 0, flags: tuple[str, ...] = ()) -> float:
    """One run of llama-bench (with its own warm-up), tokens per second."""
    command = [str(PEERS / "llama-bench"), "-m", str(model), "-p", str(prompt), "-n", str(n), "-t", str(threads)]
    out = subprocess.run([*command, "-r", "1", "-o", "json", *flags], capture_output=True, text=True, check=True).stdout
    return float(json.loads(out)[0]["avg_ts"])


@contextmanager
def llama_server(model: Path, threads: int) -> Iterator[Callable[[str, int], float]]:
    """A running llama-server; yields a function that streams a completion and returns tokens per second."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [str(PEERS / "llama-server"), "-m", str(model), "-t", str(threads), "-c", "4096", "-np", "1"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(timeout=120, limits=httpx.Limits(max_keepalive_connections=0)) as client:
            for _ in range(200):
                try:
                    if client.get(f"{url}/health").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.1)

            def complete(prompt: str, n: int) -> float:
                body = {"prompt": prompt, "n_predict": n, "temperature": 0, "stream": True, "cache_prompt": False}
                first = last = 0.0
                count = 0
                with client.stream("POST", f"{url}/completion", json=body) as response:
                    for line in response.iter_lines():
                        if line.startswith("data: ") and json.loads(line[6:]).get("content"):
                            last = time.perf_counter()
                            if first:
                                count += 1
                            else:
                                first = last
                return count / (last - first)

            yield complete
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def ours(
    model: Path,
    stack: ExitStack,
    *,
    embedder: Path | None = None,
    n_ctx: int = 4096,
    speculation: Literal["auto", "none"] = "none",
) -> Engine:
    home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    engine = start_engine(
        EngineSpec(model, embedder=embedder, n_ctx=n_ctx, speculation=speculation),
        Paths(home, home / "config.toml", ROOT),
    )
    stack.callback(engine.close)
    return engine


def decode(engine: Engine, n: int) -> Callable[[], float]:
    request = Request(prompt=measure.ENDLESS, max_tokens=n, sampling=Sampling(temperature=0), speculation="none")

    def once() -> float:
        stats, seconds, tokens = measure.answer(engine, request)
        assert stats.completion_tokens == n, f"the answer ended after {stats.completion_tokens} tokens"
        return tokens / seconds

    return once


def openings() -> Iterator[str]:
    """Beginnings of texts of five kinds, to be gone on with: each is new to the n-grams. One more than `TEXTS`."""
    for form in ("A story", "A letter", "An essay", "A list of facts", "A conversation"):
        for subject in ("the sea", "a garden in spring", "an old machine", "bread"):
            yield f"{form} about {subject}.\n\n"


def decode_with_drafts(engine: Engine, prompts: Iterator[str], n: int) -> Callable[[], float]:
    """As the program ships: n-grams draft what a text repeats, and so small a model repeats itself in long ones."""

    def once() -> float:
        request = Request(prompt=next(prompts), max_tokens=n, sampling=Sampling(temperature=0))
        _, seconds, tokens = measure.answer(engine, request)
        return tokens / seconds

    return once


def prefill(engine: Engine, n: int) -> Callable[[], float]:
    seeds = iter(range(10_000))

    def once() -> float:
        stats, _, _ = measure.answer(engine, Request(prompt=measure.words(n, next(seeds)), max_tokens=1))
        return (stats.prompt_tokens - stats.cached_tokens) / stats.first_token_seconds

    return once


def report(results: list[Any], pairs: Pairs) -> None:
    results.append(pairs)
    print(pairs.row(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--embedder", type=Path, default=EMBEDDER)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", default="decode,prefill,llama,long,drafts,server,xllamacpp,embed")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    only, n = set(options.only.split(",")), options.pairs
    results: list[Any] = []
    print(HEADER)
    with ExitStack() as stack:
        engine = ours(options.model, stack, embedder=options.embedder if "embed" in only else None)
        threads = options.threads or engine.info.n_threads
        prompt = measure.ENDLESS
        cpp = (PEERS / "llama-bench").exists()
        if not cpp:
            print("peer missing: llama.cpp's programs (bench/peers.sh DIR, then LOCALLLM_PEERS=DIR)")
        if "decode" in only and cpp:
            peer = lambda: llama_bench(options.model, threads, n=128)
            report(results, alternate("decode 128 / llama-bench tg128", decode(engine, 128), peer, n))
        if "prefill" in only and cpp:
            peer = lambda: llama_bench(options.model, threads, prompt=512)
            report(results, alternate("prefill 512 / llama-bench pp512", prefill(engine, 512), peer, n))
        if "server" in only and cpp:
            with llama_server(options.model, threads) as complete:
                peer = lambda: complete(prompt, 128)
                report(results, alternate("decode 128 / llama-server over HTTP", decode(engine, 128), peer, n))
        kinds: list[tuple[str, dict[str, Any]]] = [
            ("as shipped", {}),
            ("tuned", {"n_threads": threads, "flash_attn": True}),
        ]
        for label, flags in kinds:
            if not only & {f"{row}{of}" for row in ("llama", "long", "drafts") for of in ("", f" {label}")}:
                continue
            llama = LlamaPeer(options.model, **flags)
            if only & {"llama", f"llama {label}"}:
                peer = lambda llama=llama: llama.run(kind="decode", prompt=prompt, n=128)
                report(results, alternate(f"decode 128 / Llama {label}", decode(engine, 128), peer, n))
            if only & {"long", f"long {label}"}:
                peer = lambda llama=llama: llama.run(kind="decode", prompt=prompt, n=1000)
                report(results, alternate(f"decode 1000 / Llama {label}", decode(engine, 1000), peer, n))
            for length in (128, 1000):
                if not only & {"drafts", f"drafts {label}"}:
                    break
                drafting = ours(options.model, stack, speculation="auto")  # a new one: it remembers what it wrote
                mine, theirs = openings(), openings()
                peer = lambda llama=llama, prompts=theirs, n=length: llama.run(kind="decode", prompt=next(prompts), n=n)
                once = decode_with_drafts(drafting, mine, length)
                report(
                    results, alternate(f"texts of {length}, n-gram drafts / Llama {label}", once, peer, min(n, TEXTS))
                )
                drafting.close()
            llama.close()
        if "embed" in only and engine.embedder is not None:
            texts = [measure.words(120, seed) for seed in range(64)]
            tokens = sum(len(engine.embedder.token_spans(text)) for text in texts)
            llama = LlamaPeer(options.embedder, embedding=True)
            embedder = engine.embedder

            def embed_ours() -> float:
                started = time.perf_counter()
                embedder.embed(texts)
                return tokens / (time.perf_counter() - started)

            def embed_llama() -> float:
                return llama.run(kind="embed", texts=texts, n=tokens)

            report(results, alternate("embeddings / Llama.embed as shipped", embed_ours, embed_llama, n))
            llama.close()
        if "xllamacpp" in only:
            if XllamacppPeer.present():
                x = XllamacppPeer(options.model, threads)
                peer = lambda: x.run(prompt=prompt, n=128)
                report(results, alternate("decode 128 / xllamacpp", decode(engine, 128), peer, n))
                x.close()
            else:
                print("peer missing: xllamacpp (bench/peers.sh installs it)")
    write("engine" + (f"-{options.only}" if options.only != parser.get_default("only") else ""), results)


if __name__ == "__main__":
    main()
