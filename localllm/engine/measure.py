"""What this machine does with a model: decoding, prefill, time to first token, embeddings. Works with any `Engine`."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localllm.engine.protocol import Embedder, Engine, GenerationDone, Request, Sampling, TokenEvent
from localllm.events import Message, Role, Stats

_WORDS = """
time year people way day man thing woman life child world school state family student group country problem
hand part place case week company system program question work government number night point home water room
mother area money story fact month lot right study book eye job word business issue side kind head house
service friend
""".split()

ENDLESS = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,"
"""A text that every model goes on with for as long as it may; given as it is, without a chat template."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Several runs of one measurement."""

    name: str
    unit: str
    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the runs."""
        return statistics.median(self.runs)

    @property
    def low(self) -> float:
        """The smallest run."""
        return min(self.runs)

    @property
    def high(self) -> float:
        """The largest run."""
        return max(self.runs)


def words(n: int, seed: int) -> str:
    """`n` common words in an order of their own for each seed: close to one token each, and never cached."""
    return " ".join(random.Random(seed).choices(_WORDS, k=n))


def answer(engine: Engine, request: Request) -> tuple[Stats, float, int]:
    """Run a request to its end.

    Returns:
        The engine's statistics; seconds from the first text event to the end as this process saw them; and the
        tokens that arrived in that time.
    """
    first, last, tokens, done = 0.0, 0.0, 0, None
    for event in engine.stream(request):
        if isinstance(event, TokenEvent):
            last = time.perf_counter()
            if not first:
                first = last
            else:
                tokens += len(event.token_ids)
        elif isinstance(event, GenerationDone):
            done = event
    assert done is not None, "a stream ends with GenerationDone"
    return done.stats, last - first, tokens


def measure_decode(engine: Engine, n_tokens: int = 128, runs: int = 5) -> Measurement:
    """Plain decoding, tokens per second as the client sees them, without the first token."""
    request = Request(prompt=ENDLESS, max_tokens=n_tokens, sampling=Sampling(temperature=0), speculation="none")

    def once(_: int) -> float:
        seconds, tokens = answer(engine, request)[1:]
        return tokens / seconds if seconds > 0 else 0.0

    return _repeat("decode", "tokens/s", once, runs)


def measure_prefill(engine: Engine, n_tokens: int = 512, runs: int = 5) -> Measurement:
    """Reading a prompt that is not cached, tokens per second until the first token of the answer."""
    n_words = min(n_tokens, engine.info.n_ctx - 8)

    def once(seed: int) -> float:
        request = Request(prompt=words(n_words, seed), max_tokens=1, sampling=Sampling(temperature=0))
        stats = answer(engine, request)[0]
        fresh = stats.prompt_tokens - stats.cached_tokens
        return fresh / stats.first_token_seconds if stats.first_token_seconds > 0 else 0.0

    return _repeat("prefill", "tokens/s", once, runs)


def measure_first_token(engine: Engine, runs: int = 5) -> Measurement:
    """Seconds from a short question in a new chat to the first token of its answer."""

    def once(seed: int) -> float:
        question = f"What do you know about {words(2, seed)}?"
        started = time.perf_counter()
        for event in engine.stream(Request((Message(Role.USER, question),), max_tokens=1)):
            if isinstance(event, TokenEvent):
                return time.perf_counter() - started
        return time.perf_counter() - started

    return _repeat("first token", "s", once, runs)


def measure_embeddings(embedder: Embedder, texts: Sequence[str], runs: int = 3) -> Measurement:
    """Embedding, tokens per second, special tokens not counted."""
    n_tokens = sum(len(embedder.token_spans(text)) for text in texts)

    def once(_: int) -> float:
        started = time.perf_counter()
        embedder.embed(texts)
        return n_tokens / (time.perf_counter() - started)

    return _repeat("embeddings", "tokens/s", once, runs)


def _repeat(name: str, unit: str, once: Callable[[int], float], runs: int) -> Measurement:
    once(runs)  # the first run loads pages and builds graphs
    return Measurement(name, unit, tuple(once(seed) for seed in range(runs)))
