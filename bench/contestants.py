"""Who takes part in the comparison of speculation: our engine with and without it, and llama.cpp's programs."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.workloads import Workload
from localllm.engine.controller import Controller
from localllm.engine.draft_model import ModelDrafter
from localllm.engine.draft_ngram import NgramDrafter
from localllm.engine.local import LocalEngine
from localllm.engine.protocol import EngineSpec, GenerationDone, TokenEvent

N_CTX = 2048

WITH_DRAFT: dict[str, tuple[str, ...]] = {
    "draft-simple n_max 3": ("draft-simple", "--spec-draft-n-max", "3"),
    "draft-simple n_max 8": ("draft-simple", "--spec-draft-n-max", "8"),
    "draft-simple n_max 16": ("draft-simple", "--spec-draft-n-max", "16"),
    "draft-simple n_max 16, p_min 0.75": ("draft-simple", "--spec-draft-n-max", "16", "--spec-draft-p-min", "0.75"),
}
"""Configurations of llama-server with a draft model; the first is its default."""


def _mod(n: int) -> tuple[str, ...]:
    return (
        "ngram-mod", "--spec-ngram-mod-n-match", "12", "--spec-ngram-mod-n-min", "2", "--spec-ngram-mod-n-max", str(n),
    )  # fmt: skip


WITHOUT_DRAFT: dict[str, tuple[str, ...]] = {
    "ngram-mod": ("ngram-mod",),
    "ngram-simple": ("ngram-simple",),
    "ngram-map-k": ("ngram-map-k",),
    **{f"ngram-mod n_max {n}": _mod(n) for n in (3, 8, 16)},
}
"""The same without one; the first is what `--spec-default` stands for."""


@dataclass
class Run:
    """One answer."""

    rate: float
    """Tokens per second behind the first token."""
    tokens: list[int] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


class Ours:
    """Our engine with one target and draft; what it learns stays in a folder, as it does for users."""

    def __init__(self, target: Path, draft: Path | None, threads: int, folder: Path) -> None:
        self.engine = LocalEngine(
            EngineSpec(
                target, draft=draft, n_ctx=N_CTX, n_threads=threads, gpu_layers=0, sessions_dir=folder / "sessions"
            )
        )
        controller = self.engine._controller
        assert isinstance(controller, Controller)
        self.controller = controller
        drafters = [source.drafter for source in controller._sources]
        self._ngram = next(d for d in drafters if isinstance(d, NgramDrafter))
        self._draft = next((d for d in drafters if isinstance(d, ModelDrafter)), None)
        self._lengths: list[int] = []
        self._agreed: list[int] = []
        observe = controller.observe

        def record(emitted: Any, accepted: int, drafted: int, batch: int, seconds: float) -> None:
            self._lengths.append(drafted)
            self._agreed.append(accepted)
            observe(emitted, accepted, drafted, batch, seconds)

        controller.observe = record  # type: ignore[method-assign]

    def run(self, workload: Workload, prompt: str, n: int, speculation: str, seed: int = 1) -> Run:
        """Answer once, with nothing in the cache: a prompt that is read in other parts may be answered otherwise."""
        self._lengths, self._agreed = [], []
        for slot in self.engine._slots:
            slot.cut(self.engine._backend, 0)
        if self._draft is not None:
            self._draft._cut(0)
        self._ngram.close()  # the same question was answered in the pair before: that answer must not be copied
        ledger = self.controller.ledger
        lost, tokens = ledger.net_loss, ledger.tokens
        request = workload.request(prompt, n, speculation, seed)
        run = Run(0.0, prompt=self.engine._prompt_ids(request, []))
        for event in self.engine.stream(request):
            if isinstance(event, TokenEvent):
                run.tokens += event.token_ids
        assert isinstance(event, GenerationDone)
        stats = event.stats
        run.rate = stats.decode_tokens_per_second
        run.facts = {
            "drafted": stats.speculation.drafted, "accepted": stats.speculation.accepted,
            "drafter": stats.speculation.drafter, "reported": round(stats.speculation.speedup, 3),
            "lengths": dict(Counter(self._lengths)), "steps": list(zip(self._lengths, self._agreed, strict=True)),
            "ledger": round(ledger.net_loss - lost, 3), "ledger_tokens": ledger.tokens - tokens,
            "balance": round(ledger.balance, 2),
        }  # fmt: skip
        return run

    def close(self) -> None:
        """Store what was learned and free the models."""
        self.engine.close()


class Server:
    """A llama-server in one configuration.

    Args:
        folder: Where the program is.
        target: Model file.
        draft: Model file of the draft, for types that use one.
        threads: For both.
        spec: The type and its options.
        fresh: It is started anew for every answer: what it learned from the same question in the round before would
            be copied, as ours would, and ours forgets it too.

    Raises:
        RuntimeError: It did not start.
    """

    warm_up = ""
    """A prompt to begin with after each start."""
    tokens: list[int] = []  # noqa: RUF012  (replaced, never changed)
    """Of the last answer."""

    def __init__(
        self, folder: Path, target: Path, draft: Path | None, threads: int, spec: tuple[str, ...], fresh: bool = False
    ) -> None:
        self._fresh, self._used = fresh, False
        self._make: Callable[[], None] = lambda: self._start(folder, target, draft, threads, spec)
        self._make()

    def _start(self, folder: Path, target: Path, draft: Path | None, threads: int, spec: tuple[str, ...]) -> None:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self._port = s.getsockname()[1]
        command = [
            str(folder / "llama-server"), "-m", str(target), "-t", str(threads), "-c", str(N_CTX), "-np", "1", "--port",
            str(self._port), "--host", "127.0.0.1", "--no-webui", "-ngl", "0",
        ]  # fmt: skip
        if spec:
            command += ["--spec-type", *spec]
            if draft is not None and spec[0].startswith("draft"):
                command += ["-md", str(draft)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(300):
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.1)
        self.close()
        raise RuntimeError(f"llama-server did not start: {' '.join(spec)}")

    def run(self, prompt: str, n: int, temperature: float, seed: int = 1) -> float:
        """Tokens per second behind the first token, by its own timing."""
        if self._fresh:
            if self._used:
                self.close()
                self._make()
            self._used = True
            self._answer(self.warm_up or "Hello", 8, 0.0, 1)
        return self._answer(prompt, n, temperature, seed)

    def _answer(self, prompt: str, n: int, temperature: float, seed: int) -> float:
        body = {
            "prompt": prompt, "n_predict": n, "temperature": temperature, "seed": seed, "top_k": 40,
            "cache_prompt": False, "return_tokens": True,
        }  # fmt: skip
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=600) as answer:
            found = json.load(answer)
        timings, self.tokens = found["timings"], found["tokens"]
        # its count includes the first token, its time does not
        return (int(timings["predicted_n"]) - 1) / float(timings["predicted_ms"]) * 1e3

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)


def speculative_simple(folder: Path, target: Path, draft: Path, threads: int, prompt: str, n: int) -> float:
    """Tokens per second of llama-speculative-simple at its defaults, by its own timing; 0 where it failed."""
    command = [
        str(folder / "llama-speculative-simple"), "-m", str(target), "-md", str(draft), "--spec-type", "draft-simple",
        "-t", str(threads), "-c", str(N_CTX), "-n", str(n), "--temp", "0", "-ngl", "0", "-p", prompt,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    found = re.search(r"decoded\s+\d+ tokens in\s+[\d.]+ seconds, speed:\s+([\d.]+) t/s", done.stdout + done.stderr)
    return float(found[1]) if found else 0.0
