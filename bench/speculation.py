"""Speculation against plain decoding and against llama.cpp's own, per workload, draft and quantization.

    python -m bench.speculation --quick                       a small slice
    python -m bench.speculation --workload copy --draft none  one cell
    LOCALLLM_PEERS=DIR python -m bench.speculation            everything, with the programs that bench/peers.sh built

Targets are synthetic (bench/synthetic.py): the starter's function at several times its cost. Each cell runs in
alternating pairs within one process; figures are medians, ratios come with a 95 % interval. Peers run as
`llama-server` beside us, same files, threads, prompts and length; `llama-speculative-simple` runs on its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from bench.pairs import Pairs, alternate, write
from bench.synthetic import DRAFTS, make_draft, make_target
from bench.workloads import WORKLOADS, Workload, share_copied
from localllm.engine.controller import Controller
from localllm.engine.draft_ngram import NgramDrafter
from localllm.engine.local import LocalEngine
from localllm.engine.protocol import EngineSpec, GenerationDone, TokenEvent

N_CTX = 2048
SERVER_DRAFT = {f"draft-simple n_max {n}": ("draft-simple", "--spec-draft-n-max", str(n)) for n in (3, 8, 16)}
SERVER_NGRAM = {
    "ngram-simple": ("ngram-simple",),
    "ngram-map-k": ("ngram-map-k",),
    "ngram-mod": ("ngram-mod",),
    **{f"ngram-mod n_max {n}": (
        "ngram-mod", "--spec-ngram-mod-n-match", "12", "--spec-ngram-mod-n-min", "2", "--spec-ngram-mod-n-max", str(n),
    ) for n in (3, 8, 16)},
}  # fmt: skip


@dataclass
class Cell:
    """One workload with one draft in one quantization."""

    workload: str
    draft: str
    quant: str
    plain: Pairs
    drafted: int = 0
    accepted: int = 0
    lengths: list[int] = field(default_factory=list)
    ledger_loss: float = 0.0
    """Net loss over tokens, by the ledger; negative where it gained."""
    reported: list[float] = field(default_factory=list)
    """The speed-ups that the stats claimed."""
    copied: float = 0.0
    peers: dict[str, Pairs | str] = field(default_factory=dict)

    @property
    def mean_length(self) -> float:
        sent = [n for n in self.lengths if n]
        return statistics.fmean(sent) if sent else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "workload": self.workload, "draft": self.draft, "quant": self.quant, "plain": self.plain.as_json(),
            "acceptance": self.accepted / self.drafted if self.drafted else None, "mean_length": self.mean_length,
            "lengths": {n: self.lengths.count(n) for n in sorted(set(self.lengths))}, "ledger_loss": self.ledger_loss,
            "reported_speedup": self.reported, "share_copied": self.copied,
            "peers": {k: v if isinstance(v, str) else v.as_json() for k, v in self.peers.items()},
        }  # fmt: skip


class Ours:
    """Our engine with one target and draft, runs one answer at a time."""

    def __init__(self, target: Path, draft: Path | None, threads: int) -> None:
        self.engine = LocalEngine(EngineSpec(target, draft=draft, n_ctx=N_CTX, n_threads=threads, gpu_layers=0))
        controller = self.engine._controller
        assert isinstance(controller, Controller)
        self.controller = controller
        self.lengths: list[int] = []
        self.last: list[int] = []
        drafters = [source.drafter for source in controller._sources]
        self.ngram = next((d for d in drafters if isinstance(d, NgramDrafter)), None)
        observe = controller.observe

        def record(emitted: Any, accepted: int, drafted: int, batch: int, seconds: float) -> None:
            self.lengths.append(drafted)
            observe(emitted, accepted, drafted, batch, seconds)

        controller.observe = record  # type: ignore[method-assign]

    def run(self, workload: Workload, prompt: str, n: int, speculation: str, cell: Cell | None = None) -> float:
        """Tokens per second behind the first token."""
        self.last = []
        if self.ngram is not None:
            self.ngram.close()  # the same question was answered in the pair before: that answer must not be copied
        for event in self.engine.stream(workload.request(prompt, n, speculation)):
            if isinstance(event, TokenEvent):
                self.last += event.token_ids
        assert isinstance(event, GenerationDone)
        stats = event.stats
        if cell is not None:
            cell.drafted += stats.speculation.drafted
            cell.accepted += stats.speculation.accepted
            cell.reported.append(stats.speculation.speedup)
        return stats.decode_tokens_per_second


# ---- peers --------------------------------------------------------------------------------------------------------


@contextmanager
def server(folder: Path, target: Path, draft: Path | None, threads: int, spec: tuple[str, ...]) -> Iterator[int | None]:
    """A running llama-server, as its port, or None where it did not start."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [
        str(folder / "llama-server"), "-m", str(target), "-t", str(threads), "-c", str(N_CTX), "-np", "1", "--port",
        str(port), "--host", "127.0.0.1", "--no-webui", "-ngl", "0",
    ]  # fmt: skip
    if spec:
        command += ["--spec-type", *spec]
        if draft is not None and spec[0].startswith("draft"):
            command += ["-md", str(draft)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(300):
                if process.poll() is not None:
                    break
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
                        if answer.status == 200:
                            yield port
                            return
                except OSError:
                    time.sleep(0.2)
            yield None
        finally:
            process.terminate()
            process.wait(20)


def ask(port: int, prompt: str, n: int, temperature: float) -> float:
    """Tokens per second of a llama-server, by its own timing."""
    body = {"prompt": prompt, "n_predict": n, "temperature": temperature, "seed": 1, "top_k": 40, "cache_prompt": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return float(json.load(answer)["timings"]["predicted_per_second"])


def speculative_simple(folder: Path, target: Path, draft: Path, threads: int, prompt: str, n: int) -> float:
    """Tokens per second of llama-speculative-simple at its defaults, by its own timing; 0 where it failed."""
    command = [
        str(folder / "llama-speculative-simple"), "-m", str(target), "-md", str(draft), "--spec-type", "draft-simple",
        "-t", str(threads), "-c", str(N_CTX), "-n", str(n), "--temp", "0", "-ngl", "0", "-p", prompt,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    found = re.search(r"decoded\s+\d+ tokens in\s+[\d.]+ seconds, speed:\s+([\d.]+) t/s", done.stdout + done.stderr)
    return float(found[1]) if found else 0.0


# ---- the cells ----------------------------------------------------------------------------------------------------


def measure(ours: Ours, workload: Workload, draft: str, quant: str, n: int, pairs: int) -> Cell:
    """Our speculation against our own plain decoding."""
    ledger = ours.controller.ledger
    loss, tokens = ledger.net_loss, ledger.tokens
    cell = Cell(workload.name, draft, quant, Pairs("", (), ()))
    ours.lengths.clear()
    # each pair asks the same prompt of both; an unpaired warm-up comes first
    a, b = cycle(workload.prompts), cycle(workload.prompts)
    cell.plain = alternate(
        f"{workload.name} / {draft} / {quant}",
        lambda: ours.run(workload, next(a), n, "auto", cell),
        lambda: ours.run(workload, next(b), n, "none"),
        pairs,
    )
    first = workload.prompts[0]
    ours.run(workload, first, n, "none")
    rendered = ours.engine._prompt_ids(workload.request(first, n, "none"), [])
    cell.copied = share_copied(rendered, ours.last)
    cell.lengths = list(ours.lengths)
    cell.ledger_loss = (ledger.net_loss - loss) / max(ledger.tokens - tokens, 1)
    return cell


def against_peers(
    ours: Ours, cells: list[Cell], target: Path, draft: Path | None, options: argparse.Namespace, folder: Path | None
) -> None:
    """Our speculation against each peer, per cell."""
    configurations: dict[str, tuple[str, ...]] = {"llama-server plain": ()}
    if draft is not None:
        configurations |= {f"llama-server {k}": v for k, v in SERVER_DRAFT.items()}
    else:
        configurations |= {f"llama-server {k}": v for k, v in SERVER_NGRAM.items()}
    if options.quick:
        default = "llama-server draft-simple n_max 3" if draft is not None else "llama-server ngram-mod"
        configurations = {k: v for k, v in configurations.items() if k in ("llama-server plain", default)}
    for name, spec in configurations.items():
        if folder is None or not (folder / "llama-server").exists():
            for cell in cells:
                cell.peers[name] = "peer missing"
            continue
        with server(folder, target, draft, options.threads, spec) as port:
            for cell in cells:
                if port is None:
                    cell.peers[name] = "did not start"
                    continue
                workload = WORKLOADS[cell.workload]
                a, b = cycle(workload.prompts), cycle(workload.prompts)
                cell.peers[name] = alternate(
                    name,
                    lambda w=workload, a=a: ours.run(w, next(a), options.tokens, "auto"),  # type: ignore[misc]
                    lambda w=workload, b=b, port=port: ask(  # type: ignore[misc]
                        port, w.text(next(b), ours.engine.render), options.tokens, w.temperature
                    ),
                    options.pairs,
                )
    if draft is None:
        return
    for cell in cells:
        workload = WORKLOADS[cell.workload]
        if folder is None or not (folder / "llama-speculative-simple").exists():
            cell.peers["llama-speculative-simple"] = "peer missing"
        elif workload.temperature == 0:
            text = workload.text(workload.prompts[0], ours.engine.render)
            cell.peers["llama-speculative-simple"] = alternate(
                "llama-speculative-simple",
                lambda w=workload: ours.run(w, w.prompts[0], options.tokens, "auto"),  # type: ignore[misc]
                lambda text=text: speculative_simple(folder, target, draft, options.threads, text, options.tokens),  # type: ignore[misc]
                max(2, options.pairs // 2),
            )


def show(cell: Cell) -> None:
    acceptance = f"{cell.accepted / cell.drafted:.0%}" if cell.drafted else "-"
    low, high = cell.plain.interval
    print(
        f"{cell.workload:<10} {cell.draft:<8} {cell.quant:<5} {statistics.median(cell.plain.peer):6.1f} -> "
        f"{statistics.median(cell.plain.ours):6.1f} t/s  x{cell.plain.ratio:5.3f} [{low:.3f}, {high:.3f}]  "
        f"accepted {acceptance:>4}  length {cell.mean_length:4.1f}  ledger {cell.ledger_loss:+.2%}  "
        f"copied {cell.copied:.0%}",
        flush=True,
    )
    for name, pairs in cell.peers.items():
        if isinstance(pairs, str):
            print(f"{'':<11}{name:<38} {pairs}")
        else:
            low, high = pairs.interval
            peer = statistics.median(pairs.peer)
            print(f"{'':<11}{name:<38} {peer:6.1f} t/s  ours x{pairs.ratio:5.3f} [{low:.3f}, {high:.3f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few pairs, default peers, three workloads")
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS))
    parser.add_argument("--draft", action="append", choices=["none", *DRAFTS])
    parser.add_argument("--quant", action="append")
    parser.add_argument("--layers", type=int, default=180, help="of the synthetic target; the starter has 30")
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "localllm-bench-models")
    parser.add_argument("--name", default="speculation", help="of the result file")
    options = parser.parse_args()
    options.pairs = options.pairs or (3 if options.quick else 15)
    workloads = options.workload or (["copy", "json", "prose"] if options.quick else list(WORKLOADS))
    drafts = options.draft or (["none", "perfect"] if options.quick else ["none", *DRAFTS])
    folder = Path(os.environ["LOCALLLM_PEERS"]) if "LOCALLLM_PEERS" in os.environ else None
    results: list[Cell] = []
    for quant in options.quant or (["Q4_0"] if options.quick else ["Q4_0", "Q4_1", "Q8_0"]):
        target = make_target(options.models, quant, options.layers)
        for draft in drafts:
            path = make_draft(options.models, draft, quant) if draft != "none" else None
            ours = Ours(target, path, options.threads)
            row = ours.controller.costs.row(0)
            print(f"{quant} / {draft}: T(1) {row[1] * 1e3:.1f} ms; T(b)/T(1) " + ", ".join(
                f"{b}: {row[b] / row[1]:.2f}" for b in (2, 4, 8, 16, 32)), flush=True)  # fmt: skip
            cells = [measure(ours, WORKLOADS[w], draft, quant, options.tokens, options.pairs) for w in workloads]
            if not options.no_peers:
                against_peers(ours, cells, target, path, options, folder)
            for cell in cells:
                show(cell)
            results += cells
            ours.engine.close()
    ratios = [c.plain.ratio for c in results]
    print(f"geometric mean of {len(ratios)} ratios to plain: {statistics.geometric_mean(ratios):.3f}; "
          f"largest ledger loss {max(c.ledger_loss for c in results):+.2%}")  # fmt: skip
    write(options.name, [c.as_json() for c in results])


if __name__ == "__main__":
    main()
