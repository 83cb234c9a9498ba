"""Speculation against plain decoding and against llama.cpp's own, per workload, draft and quantization.

    python -m bench.speculation                               our speculation against our plain decoding
    LOCALLLM_PEERS=DIR python -m bench.speculation --peers --simple    and against the programs of bench/peers.sh
    python -m bench.speculation --workload copy --draft none  one cell
    python -m bench.speculation --table                       what was measured so far

Targets are synthetic (bench/synthetic.py): the starter's function at several times its cost. In each round one prompt
is answered by all contestants in turn, who starts changes from round to round; ratios are medians over the rounds with
a 95 % interval. Peers are `llama-server`s beside us, same files, threads, prompts and length, asleep while others
answer; `llama-speculative-simple` is started for each answer. Rounds are kept in `bench/results/`: `--seconds` ends a
run, and the next one goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.contestants import WITH_DRAFT, WITHOUT_DRAFT, Ours, Run, Server, speculative_simple
from bench.pairs import RESULTS
from bench.rounds import Key, Results, show
from bench.synthetic import DRAFTS, make_draft, make_target
from bench.workloads import WORKLOADS, Workload, share_copied

SIMPLE = "llama-speculative-simple"


def play(
    ours: Ours,
    servers: dict[str, Server],
    simple: Callable[[str], float] | None,
    workload: Workload,
    n: int,
    round_: int,
) -> dict[str, object]:
    """One round: everyone answers the same prompt, the next one each round, and another one begins each time."""
    lap, at = divmod(round_, len(workload.prompts))
    prompt = workload.prompts[at]
    seed = 1 + round_
    own: dict[str, Run] = {}

    def answer(mode: str) -> float:
        own[mode] = ours.run(workload, prompt, n, "auto" if mode == "auto" else "none", seed)
        return own[mode].rate

    text = workload.text(prompt, ours.engine.render)
    turns: dict[str, Callable[[], float]] = {"auto": lambda: answer("auto"), "plain": lambda: answer("plain")}
    for name, server in servers.items():
        turns[name] = lambda server=server: server.run(text, n, workload.temperature, seed)  # type: ignore[misc]
    if simple is not None and workload.temperature == 0:
        turns[SIMPLE] = lambda: simple(text)
    names = list(turns)
    if (lap + at) % 2:
        names.reverse()
    first = round_ // 2 % len(names)
    rates = {name: turns[name]() for name in [*names[first:], *names[:first]]}
    n_same = min(n, len(own["plain"].tokens))
    return {
        "rates": rates,
        "peers_same": {name: s.tokens[:n_same] == own["plain"].tokens[:n_same] for name, s in servers.items()},
        "facts": own["auto"].facts,
        "copied": share_copied(own["plain"].prompt, own["plain"].tokens),
        "tokens": len(own["plain"].tokens),
        "same": own["auto"].tokens == own["plain"].tokens,
    }


def contestants(options: argparse.Namespace, draft: str) -> dict[str, tuple[str, ...]]:
    """The configurations of llama-server for cells with this draft."""
    if options.peers is None or not options.peers:
        return {}
    chosen = {"llama-server plain": (), **(WITHOUT_DRAFT if draft == "none" else WITH_DRAFT)}
    return {k: v for k, v in chosen.items() if not options.peer or k in options.peer or k == "llama-server plain"}


def measure(options: argparse.Namespace, results: Results, quant: str, draft: str, end: float) -> bool:
    """Add rounds to the cells of one target and draft; False when time is up."""
    configurations = contestants(options, draft)
    keys: dict[str, Key] = {w: (options.layers, quant, draft, w) for w in options.workload or WORKLOADS}

    def count(key: Key) -> int:
        simple = options.simple and draft != "none" and WORKLOADS[key[3]].temperature == 0
        return results.count(key, ["auto", "plain", *configurations, *([SIMPLE] if simple else [])])

    def missing(key: Key) -> bool:
        return bool(count(key) < options.pairs)

    if not any(missing(key) for key in keys.values()):
        return True
    folder: Path = options.models
    target = make_target(folder, quant, options.layers)
    path = make_draft(folder, draft, quant) if draft != "none" else None
    peers = Path(os.environ.get("LOCALLLM_PEERS", ""))
    servers: dict[str, Server] = {}
    ours = Ours(target, path, options.threads, folder / "learned")
    try:
        row = ours.controller.costs.row(0)
        print(f"{options.layers} {quant} / {draft}: T(1) {row[1] * 1e3:.1f} ms; T(b)/T(1) " + ", ".join(
            f"{b}: {row[b] / row[1]:.2f}" for b in (2, 4, 8, 16, 32)), flush=True)  # fmt: skip
        for name, spec in configurations.items():
            servers[name] = Server(peers, target, path, options.threads, spec, fresh=name.startswith("ngram-mod"))
        warm = WORKLOADS["prose"]
        for mode in ("plain", "auto"):
            ours.run(warm, "What is a lens?", 12, mode)
        for server in servers.values():
            server.warm_up = warm.text("What is a lens?", ours.engine.render)
            server.run(server.warm_up, 12, 0.0)
        simple = None
        if options.simple and path is not None:

            def simple(text: str) -> float:
                return speculative_simple(peers, target, path, options.threads, text, options.tokens)

        longest = 0.0
        while any(missing(key) for key in keys.values()):
            for name, key in keys.items():
                if not missing(key):
                    continue
                started = time.monotonic()
                if started + longest > end:
                    return False
                round_ = count(key)
                results.add(key, play(ours, servers, simple, WORKLOADS[name], options.tokens, round_))
                longest = max(longest, time.monotonic() - started)
    finally:
        ours.close()
        for server in servers.values():
            server.close()
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS))
    parser.add_argument("--draft", action="append", choices=["none", *DRAFTS])
    parser.add_argument("--quant", action="append")
    parser.add_argument("--layers", type=int, default=180, help="of the synthetic target; the starter has 30")
    parser.add_argument("--pairs", type=int, default=8, help="rounds of each cell, those measured before included")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", action="store_true", help="with LOCALLLM_PEERS: llama-server too")
    parser.add_argument("--peer", action="append", help="only this configuration of it (and plain)")
    parser.add_argument("--simple", action="store_true", help="llama-speculative-simple too")
    parser.add_argument("--seconds", type=float, default=1e9, help="no round starts that would end later")
    parser.add_argument("--models", type=Path, default=Path(tempfile.gettempdir()) / "localllm-bench-models")
    parser.add_argument("--name", default="speculation", help="of the file of rounds")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args()
    results = Results(RESULTS / f"{options.name}.jsonl")
    end = time.monotonic() + options.seconds
    keys: list[Key] = []
    for quant in options.quant or ["Q4_0"]:
        for draft in options.draft or ["none", *DRAFTS]:
            keys += [(options.layers, quant, draft, w) for w in options.workload or WORKLOADS]
            if not options.table and not measure(options, results, quant, draft, end):
                print("time is up; the same command goes on", flush=True)
                show([results.cells[k] for k in keys if k in results.cells])
                return
    show([results.cells[k] for k in keys if k in results.cells] if not options.table else list(results.cells.values()))


if __name__ == "__main__":
    main()
