"""Engine: what the rest of the house may ask of a language model.

Three real engines exist: in this process (`engine.local`), in a worker process (`engine.client`), and behind an
OpenAI-compatible server (`engine.remote`). `tests/fakes.py` holds a fourth with scripted logits. This module imports
neither numpy nor llama_cpp at run time, so that the command line stays quick.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from localllm.events import FinishReason, Message, Prefilling, Stats

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from localllm.engine.json_position import JsonPosition


# ---- what is asked --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Which models to load, and how. Picklable: it travels to the worker process."""

    model: Path
    draft: Path | None = None
    """A small draft model for speculative decoding; n-gram drafting needs none."""
    embedder: Path | None = None
    n_ctx: int = 0
    """Context window in tokens; 0 means the model's own, at most 8,192."""
    gpu_layers: int = -1
    """Layers on the GPU; -1 means as many as fit, 0 none."""
    main_gpu: int = 0
    tensor_split: tuple[float, ...] = ()
    n_threads: int = 0
    """0 means physical cores."""
    n_batch: int = 512
    kv_type: str = "f16"
    """Type of the K cache: ``f16``, ``q8_0``, ``q4_0``, ``f32``."""
    kv_type_v: str = ""
    """Type of the V cache; empty means that of K."""
    flash_attention: Literal["auto", "on", "off"] = "auto"
    speculation: Literal["auto", "none"] = "auto"
    n_seq: int = 1
    """Sequences (slots) that can be decoded side by side."""
    sessions_dir: Path | None = None
    """Folder of saved KV states; None keeps nothing on disk."""
    sessions_max_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Temperature 0 is greedy, and then every other field but the penalties is moot."""

    temperature: float = 0.7
    top_k: int = 40
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    """Above 1 makes tokens of the last `repeat_last_n` less likely."""
    repeat_last_n: int = 64
    seed: int | None = None
    """None draws a new seed for every request."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these token ids."""

    def __post_init__(self) -> None:
        checks = (
            (0 <= self.temperature <= 10, "temperature must be between 0 and 10"),
            (self.top_k >= 0, "top_k must not be negative"),
            (0 < self.top_p <= 1, "top_p must be above 0 and at most 1"),
            (0 <= self.min_p <= 1, "min_p must be between 0 and 1"),
            (self.repeat_penalty > 0, "repeat_penalty must be above 0"),
        )
        for good, complaint in checks:
            if not good:
                raise ValueError(complaint)


@dataclass(frozen=True, slots=True)
class ConstraintSpec:
    """A grammar that the answer must follow: plain, picklable data, compiled in the worker by `engine.constraint`."""

    kind: Literal["json_schema", "lark", "regex"]
    source: str
    """The schema as JSON text, the Lark grammar, or the regular expression."""
    after: str = ""
    """The grammar starts after this text was generated (``</think>``); empty means at once."""
    close_within_budget: bool = True
    """Steer to the shortest legal end when the token budget runs out."""
    mask_first: bool = False
    """Mask the logits before sampling, for exactness at temperature above 0, instead of sample-then-check."""
    closers: tuple[str, ...] = ()
    """Texts that lead to a legal end, in order: written where the model wants to end and may not yet."""
    most_words: int = 0
    """Words at most: the answer ends behind the last sentence that fits, and where no other word may begin; 0: they are
    not counted."""
    no_loops: bool = False
    """While the answer may not end, it does not say again what it said before (see `engine.repeats`)."""


LONGEST_STRING, LONGEST_LIST = 512, 2048
"""Tokens that one string or one array of JSON may take under a constraint, however large the token budget is."""


@dataclass(frozen=True, slots=True)
class Request:
    """One answer to generate."""

    messages: tuple[Message, ...] = ()
    """Rendered by the model's own chat template in the worker."""
    prompt: str | None = None
    """A raw prompt instead of `messages`; special tokens in it are parsed."""
    max_tokens: int = 0
    """0 means until the context window is full, or was filled eight times where it shifts."""
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()
    """The answer ends before any of these strings; they are never shown."""
    constraint: ConstraintSpec | None = None
    prefix: str = ""
    """Text of the answer that stands already: generation goes on behind it, on the token ids it was made of."""
    ban: tuple[str, ...] = ()
    """Right after `prefix` the text must not begin with any of these strings."""
    corpus: tuple[str, ...] = ()
    """Texts that the answer may copy from, for the n-gram drafter; the prompt itself always counts."""
    speculation: Literal["auto", "none"] = "auto"
    when_full: Literal["stop", "shift"] = "stop"
    """What a full context window does: ``stop`` ends the answer with the reason ``length``; ``shift`` forgets the first
    half of what stands behind the system prompt and goes on, which a note says and `Stats.forgotten_tokens` counts."""
    session: str = ""
    """Names the chat whose KV state may be saved and restored; empty saves nothing."""


# ---- what comes back ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """Text that may be shown: whole characters, with stop strings held back."""

    text: str
    token_ids: tuple[int, ...] = ()
    from_draft: bool = False


@dataclass(frozen=True, slots=True)
class GenerationDone:
    """The last event of a stream."""

    reason: FinishReason
    stats: Stats
    notes: tuple[str, ...] = ()


EngineEvent = Prefilling | TokenEvent | GenerationDone


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A prompt exactly as the model sees it."""

    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """A processor that llama.cpp can use."""

    name: str
    description: str
    kind: Literal["cpu", "gpu", "igpu", "accel"]
    memory_free: int
    memory_total: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What is loaded, read from the loader, not guessed."""

    model: str
    """Display name, such as ``SmolLM2-135M-Instruct.Q4_1``."""
    path: Path | None
    architecture: str
    quantization: str
    n_params: int
    n_ctx: int
    n_ctx_train: int
    n_layer: int
    n_gpu_layers: int
    """Layers that really are on a GPU."""
    n_threads: int
    devices: tuple[Device, ...] = ()
    draft: str | None = None
    embedder: str | None = None
    embedder_fingerprint: str | None = None
    """Names the embedder's vectors: sha256 over what changes them."""
    embedding_dim: int = 0
    embedder_max_tokens: int = 0
    load_seconds: float = 0.0
    has_chat_template: bool = True
    recurrent: bool = False
    """Recurrent and hybrid models can't roll back, so nothing is drafted for them."""
    size_bytes: int = 0
    even_parts: bool = False
    """Each thread has a fixed part of every matrix, because that was quicker here than chunks (`llama.work_split`)."""
    notes: tuple[str, ...] = ()


# ---- the seams ------------------------------------------------------------------------------------------------------


class Cancel(Protocol):
    """Anything with the `is_set` of a `threading.Event`."""

    def is_set(self) -> bool:
        """True once the user asked to stop."""
        ...


class Embedder(Protocol):
    """Turns text into vectors."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors would: model, pooling, prefixes."""
        ...

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        ...

    @property
    def max_tokens(self) -> int:
        """Tokens that one text may have, special tokens included."""
        ...

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character span of each of the embedder's tokens in `text`, without special tokens, in order.

        Used to cut chunks that are token-exact; spans are half open, ascending and inside the text.
        """
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit-length rows, shape (len(texts), dim), float32.

        Raises:
            TextTooLong: A text has more tokens than `max_tokens`; nothing is ever cut in silence.
        """
        ...


class Engine(Protocol):
    """A loaded language model."""

    @property
    def info(self) -> EngineInfo:
        """What is loaded and where."""
        ...

    def stream(self, request: Request, cancel: Cancel | None = None) -> Iterator[EngineEvent]:
        """Generate one answer; the last event is a `GenerationDone`.

        Raises:
            ContextOverflow: The prompt does not fit; nothing was generated.
            ConstraintRefused: The constraint can't be compiled.
            EngineDied: The worker process ended; events so far stay valid.
        """
        ...

    def render(self, messages: Sequence[Message], prefix: str = "") -> RenderedPrompt:
        """Apply the model's chat template, ready for an answer that begins with `prefix`."""
        ...

    def prefill(self, messages: Sequence[Message], cancel: Cancel | None = None, session: str = "") -> int:
        """Evaluate what is certain already, in idle time; returns the tokens now cached. Cancelling is no error.

        A last message of the user is the beginning of one that is still being written. `session` is that of the
        request to come: a saved state of it is taken up.
        """
        ...

    def tokenize(self, text: str) -> list[int]:
        """Token ids of plain text: special tokens in it are treated as text, none are added."""
        ...

    def count_tokens(self, text: str) -> int:
        """`len(self.tokenize(text))`."""
        ...

    @property
    def embedder(self) -> Embedder | None:
        """The embedder that was loaded beside the model, if any."""
        ...

    def close(self) -> None:
        """Release everything; safe to call twice."""
        ...


class Matcher(Protocol):
    """A compiled constraint at one position of an answer (see `engine.constraint`)."""

    def legal_prefix(self, tokens: Sequence[int]) -> int:
        """How many of these tokens may follow, in order."""
        ...

    def commit(self, tokens: Sequence[int]) -> None:
        """The tokens were emitted."""
        ...

    def mask(self) -> NDArray[np.bool_]:
        """True for every token id that may come next, shape (n_vocab,)."""
        ...

    def forced(self) -> list[int]:
        """Tokens that must come next, possibly none."""
        ...

    @property
    def accepting(self) -> bool:
        """The answer may end here."""
        ...

    @property
    def stopped(self) -> bool:
        """The answer must end here."""
        ...

    def repeats(self, token: int) -> bool:
        """This legal token goes on with a loop where the answer may not end: any other that is legal is better."""
        ...

    def closing(self, limit: int) -> list[int] | None:
        """A shortest known way to a legal end in at most `limit` tokens, or None; empty where the answer may end."""
        ...

    def closing_after(self, token: int, limit: int) -> list[int] | None:
        """What `closing` would be once this legal token was committed."""
        ...

    def token_of(self, text: bytes) -> int | None:
        """The token that stands for these bytes alone, if there is one."""
        ...

    @property
    def words_left(self) -> int | None:
        """Words that may still begin; None where they are not counted."""
        ...

    @property
    def position(self) -> JsonPosition | None:
        """Where a JSON answer is; None where the constraint is no JSON, or that has not begun."""
        ...
