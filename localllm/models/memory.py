"""Will it fit: weights, KV cache, compute buffers and a draft model, in closed form from headers alone.

The formulae are llama.cpp's own; the KV cache comes out exact for attention with full or sliding windows. Compute
buffers are estimated, as they depend on the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from localllm.errors import ModelDoesNotFit
from localllm.models.header import Header
from localllm.models.ram import available_memory
from localllm.models.tensor_types import row_bytes

CONTEXT_STEP = 256
"""llama.cpp rounds context windows up to this."""
DEFAULT_CONTEXT = 8192
"""Window of a model that was made for a longer one, unless another is asked for."""
MIB = 1 << 20
RESERVE = 256 * MIB
"""Left for the rest of the program; below it a model fits only tightly."""
GPU_RESERVE = 1024 * MIB
"""Left free on a GPU, as llama.cpp does by default: drivers and screens need some too."""

Verdict = Literal["fits", "tight", "no"]

# Layers with a sliding window where the header does not say: all but every n-th.
_WINDOW_PATTERNS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2}


@dataclass(frozen=True, slots=True)
class Load:
    """How a model is to be loaded, as far as memory depends on it."""

    n_ctx: int = 0
    """0 means the model's own window, `DEFAULT_CONTEXT` at most."""
    kv_type: str = "f16"
    kv_type_v: str = ""
    """Empty means that of K."""
    n_batch: int = 512
    """Tokens evaluated at once."""
    flash_attention: bool = True
    n_seq: int = 1
    """Sequences side by side; they share the window."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What loading needs, in bytes, and what there is."""

    name: str
    n_ctx: int
    """The window that the figures are for."""
    weights: int
    kv_cache: int
    compute: int
    draft: int
    """Weights, KV cache and compute buffers of the draft model."""
    available: int
    """Memory that can be used now; 0 where the system does not say."""

    @property
    def total(self) -> int:
        """Everything together."""
        return self.weights + self.kv_cache + self.compute + self.draft

    @property
    def verdict(self) -> Verdict:
        """Whether it fits, and with a reserve."""
        if not self.available or self.total + RESERVE <= self.available:
            return "fits"
        return "tight" if self.total <= self.available else "no"

    def check(self) -> None:
        """Refuse a load that can't succeed.

        Raises:
            ModelDoesNotFit: With both figures and the window they are for.
        """
        if self.verdict == "no":
            raise ModelDoesNotFit(
                f"{self.name} needs {_gib(self.total)} with a context of {self.n_ctx:,} tokens, and "
                f"{_gib(self.available)} are free.",
                'Try a smaller --ctx, `kv_type = "q8_0"`, or a smaller model; `localllm models fit` shows what fits.',
            )


def fits(
    header: Header, load: Load | None = None, draft: Header | None = None, available: int | None = None
) -> Estimate:
    """Estimate what loading the model takes.

    Args:
        header: Of the model; of all its files (`read_model_header`) where it has several.
        load: How it is to be loaded.
        draft: Of the draft model, which gets the same window.
        available: Bytes to compare with; None asks the system.
    """
    load = load or Load()
    n_ctx = context_window(header, load.n_ctx)
    extra = 0
    if draft is not None:
        extra = draft.weight_bytes + kv_bytes(draft, n_ctx, load) + compute_bytes(draft, n_ctx, load)
    return Estimate(
        header.name,
        n_ctx,
        header.weight_bytes,
        kv_bytes(header, n_ctx, load),
        compute_bytes(header, n_ctx, load),
        extra,
        available_memory() if available is None else available,
    )


def largest_context(header: Header, load: Load, available: int, draft: Header | None = None) -> int:
    """The longest window, in steps of 256 and not beyond the model's own, with which everything fits; 0 for none."""
    low, high = 0, max(CONTEXT_STEP, header.n_ctx_train) // CONTEXT_STEP
    while low < high:
        middle = (low + high + 1) // 2
        trial = Load(
            middle * CONTEXT_STEP, load.kv_type, load.kv_type_v, load.n_batch, load.flash_attention, load.n_seq
        )
        if fits(header, trial, draft, available).total <= available:
            low = middle
        else:
            high = middle - 1
    return low * CONTEXT_STEP


def gpu_layers(header: Header, load: Load, free: int, reserve: int = GPU_RESERVE) -> int:
    """How many layers fit on a GPU with `free` bytes; llama.cpp counts from the last, and the output as one more."""
    n_ctx = context_window(header, load.n_ctx)
    left = free - reserve - compute_bytes(header, n_ctx, load)
    per_layer = _weights_per_layer(header)
    kv = _kv_per_layer(header, n_ctx, load)
    output = header.weight_bytes - sum(per_layer)
    if not any(t.name == "output.weight" for t in header.tensors):  # tied: the embeddings serve as the output too
        output = sum(t.n_bytes for t in header.tensors if t.name == "token_embd.weight")
    if output > left:
        return 0
    left -= output
    for n, (weights, cache) in enumerate(zip(reversed(per_layer), reversed(kv), strict=True)):
        left -= weights + cache
        if left < 0:
            return n
    return header.n_layer + 1


# ---- the parts ----------------------------------------------------------------------------------------------------


def context_window(header: Header, n_ctx: int = 0) -> int:
    """The window in tokens that a request for `n_ctx` gets, rounded up as llama.cpp does."""
    wanted = n_ctx or min(header.n_ctx_train or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    return -(-wanted // CONTEXT_STEP) * CONTEXT_STEP


def kv_bytes(header: Header, n_ctx: int, load: Load) -> int:
    """Bytes of the KV cache, and of the running state of recurrent layers."""
    return sum(_kv_per_layer(header, n_ctx, load))


def compute_bytes(header: Header, n_ctx: int, load: Load) -> int:
    """Bytes of the compute buffer: the largest of the logits and a layer's activations, for one batch."""
    batch = min(load.n_batch, n_ctx)
    logits = 0 if header.is_embedder else header.n_vocab
    n_ff = max(header.per_layer("feed_forward_length", 4 * header.n_embd), default=0)
    experts = header.integer("{arch}.expert_used_count")
    if experts:
        n_ff = max(n_ff, experts * header.integer("{arch}.expert_feed_forward_length", n_ff))
    flash = load.flash_attention and not header.is_embedder
    scores = 0 if flash else header.n_head * (batch if header.is_embedder else n_ctx)
    widest = max(logits, 2 * n_ff + 2 * header.n_embd, scores)  # never alive at the same time
    mask = batch * n_ctx * (2 if flash else 4)
    return 4 * batch * (widest + 2 * header.n_embd) + mask


def _kv_per_layer(header: Header, n_ctx: int, load: Load) -> list[int]:
    if header.is_embedder and not header.chat_template:
        return [0] * header.n_layer
    n_head = max(1, header.n_head)
    d_k = header.integer("{arch}.attention.key_length", header.n_embd // n_head)
    d_v = header.integer("{arch}.attention.value_length", header.n_embd // n_head)
    latent = (
        header.integer("{arch}.attention.kv_lora_rank") > 0 and header.integer("{arch}.attention.key_length_mla") > 0
    )
    window = header.integer("{arch}.attention.sliding_window")
    windowed = _windowed_layers(header) if window else [False] * header.n_layer
    short = min(n_ctx, -(-(window * load.n_seq + load.n_batch) // CONTEXT_STEP) * CONTEXT_STEP)
    attends = _attention_layers(header)
    state = _state_bytes(header) * load.n_seq
    sizes = []
    for i, heads in enumerate(header.head_count_kv):
        size = 0
        if attends[i]:
            row = row_bytes(load.kv_type, heads * d_k)
            row += 0 if latent else row_bytes(load.kv_type_v or load.kv_type, heads * d_v)
            size = row * (short if windowed[i] else n_ctx)
        if header.recurrent and (not attends[i] or not any(header.head_count_kv)):
            size += state
        sizes.append(size)
    return sizes


def _attention_layers(header: Header) -> list[bool]:
    every = header.integer("{arch}.full_attention_interval")
    return [heads > 0 and (not every or (i + 1) % every == 0) for i, heads in enumerate(header.head_count_kv)]


def _windowed_layers(header: Header) -> list[bool]:
    key = f"{header.architecture}.attention.sliding_window_pattern"
    pattern = header.metadata.get(key)
    if isinstance(pattern, tuple):
        return [bool(p) for p in header.per_layer("attention.sliding_window_pattern", 0)]
    every = header.integer(key, _WINDOW_PATTERNS.get(header.architecture, 0))
    return [every > 0 and i % every < every - 1 for i in range(header.n_layer)]


def _state_bytes(header: Header) -> int:
    """Running state of one recurrent layer, for one sequence, in float32."""
    conv = header.integer("{arch}.ssm.conv_kernel")
    inner = header.integer("{arch}.ssm.inner_size")
    groups = header.integer("{arch}.ssm.group_count")
    state = header.integer("{arch}.ssm.state_size")
    return 4 * (max(0, conv - 1) * (inner + 2 * groups * state) + state * inner)


def _weights_per_layer(header: Header) -> list[int]:
    sizes = [0] * header.n_layer
    for tensor in header.tensors:
        number = tensor.name.split(".")[1] if tensor.name.startswith("blk.") else ""
        if number.isdecimal() and int(number) < len(sizes):
            sizes[int(number)] += tensor.n_bytes
    return sizes


def _gib(n: int) -> str:
    return f"{n / (1 << 30):.1f} GiB" if n >= 1 << 30 else f"{n / MIB:.0f} MiB"
