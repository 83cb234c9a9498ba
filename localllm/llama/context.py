"""Context: the KV cache and the evaluation of one model, for one or several sequences."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from localllm.errors import GenerationError, ModelDoesNotFit, ModelLoadFailed
from localllm.llama._api import C, quick, strlen_as_abort_callback
from localllm.llama.log import native_log

if TYPE_CHECKING:
    from localllm.llama.model import Model

KV_TYPES = {"f32": C.GGML_TYPE_F32, "f16": C.GGML_TYPE_F16, "q8_0": C.GGML_TYPE_Q8_0, "q4_0": C.GGML_TYPE_Q4_0}
_FLASH = {
    "auto": C.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": C.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": C.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


class Context:
    """Evaluates tokens and holds their KV state.

    Args:
        model: Must stay open as long as this context.
        n_ctx: Tokens of KV cache, shared by all sequences.
        n_batch: Most tokens of one evaluation.
        n_outputs_max: Most rows of logits of one evaluation; sizes the buffers, and llama.cpp ends the process beyond.
        n_seq: Sequences; they share one cache, so that copying a prefix between them costs nothing.
        n_threads: For one token, and for batches.
        kv_type: Type of the K cache, a key of `KV_TYPES`.
        kv_type_v: Type of the V cache; quantized ones need flash attention.
        embeddings: Give pooled embeddings instead of logits.
        flash_attention: ``auto`` lets llama.cpp decide.

    Raises:
        ModelDoesNotFit: The memory for the cache could not be had.
        ModelLoadFailed: llama.cpp refused the parameters.
    """

    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int,
        n_batch: int = 512,
        n_outputs_max: int = 1,
        n_seq: int = 1,
        n_threads: int = 1,
        kv_type: str = "f16",
        kv_type_v: str = "",
        embeddings: bool = False,
        flash_attention: Literal["auto", "on", "off"] = "auto",
    ) -> None:
        log = native_log()
        params = C.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = n_batch
        params.n_seq_max = n_seq
        params.n_outputs_max = 0 if embeddings else n_outputs_max
        params.n_outputs_max_per_seq = 0
        params.n_threads = params.n_threads_batch = n_threads
        params.flash_attn_type = _FLASH[flash_attention]
        params.type_k = KV_TYPES[kv_type]
        params.type_v = KV_TYPES[kv_type_v or kv_type]
        params.embeddings = embeddings
        params.kv_unified = True
        params.no_perf = True
        self._flag = ctypes.create_string_buffer(2)
        self._abort_callback = strlen_as_abort_callback()
        params.abort_callback = self._abort_callback
        params.abort_callback_data = ctypes.cast(self._flag, ctypes.c_void_p)
        with log.capture() as lines:
            self._pointer = C.llama_init_from_model(model.pointer, params)
        if not self._pointer:
            reason = log.first_error()
            if "alloc" in "".join(lines):
                raise ModelDoesNotFit(
                    f"There is no memory for a context window of {n_ctx:,} tokens.", "Choose a smaller one with --ctx."
                )
            raise ModelLoadFailed(f"llama.cpp refused the context: {reason}.", "Try --ctx 2048 and kv_type f16.")
        self.model = model
        self.n_ctx: int = C.llama_n_ctx(self._pointer)
        self.n_batch: int = C.llama_n_batch(self._pointer)
        self.n_seq = n_seq
        self.n_outputs_max = n_outputs_max
        self.n_vocab = model.vocab.n_tokens
        self.ranks: bool = C.llama_pooling_type(self._pointer) == C.LLAMA_POOLING_TYPE_RANK
        """`embed` gives a reranker's outputs."""
        self.n_pooled: int = C.llama_model_n_cls_out(model.pointer) if self.ranks else model.n_embd
        """Numbers that `embed` gives: a vector's, or a reranker's outputs."""
        self.n_threads = n_threads
        self.n_threads_batch = n_threads
        self._memory = C.llama_get_memory(self._pointer)
        self._views: dict[tuple[int, int], NDArray[np.float32]] = {}
        self._rows: NDArray[np.float32] = np.empty((0, self.n_vocab), np.float32)
        self._make_batch()

    def _make_batch(self) -> None:
        """Buffers for the largest batch, filled again for every evaluation and never replaced."""
        n = self.n_batch
        self._tokens = (C.llama_token * n)()
        self._pos = (C.llama_pos * n)()
        self._outputs = (ctypes.c_int8 * n)()
        self._n_seq_id = (ctypes.c_int32 * n)(*([1] * n))
        ids = (C.llama_seq_id * self.n_seq)(*range(self.n_seq))
        at = ctypes.addressof(ids)
        pointer = ctypes.POINTER(C.llama_seq_id)
        size = ctypes.sizeof(C.llama_seq_id)
        self._seq_rows = [(pointer * n)(*([ctypes.cast(at + seq * size, pointer)] * n)) for seq in range(self.n_seq)]
        self._keep = ids
        self._batch = C.llama_batch()
        self._batch.token = self._tokens
        self._batch.pos = self._pos
        self._batch.n_seq_id = self._n_seq_id
        self._batch.seq_id = self._seq_rows[0]
        self._batch.logits = self._outputs
        self._positions = np.ctypeslib.as_array(self._pos)
        self._flags = np.ctypeslib.as_array(self._outputs)
        self._last_seq = 0

    @property
    def pointer(self) -> Any:
        """The native handle.

        Raises:
            ValueError: The context was closed.
        """
        if not self._pointer:
            raise ValueError("the context was closed")
        return self._pointer

    def decode(self, seq: int, tokens: Sequence[int], pos: int, n_outputs: int) -> bool:
        """Evaluate `tokens` at positions `pos`, `pos + 1`, ... of a sequence; the last `n_outputs` give logits.

        Returns:
            False when `abort` was called meanwhile; `n_past` then says what is in the cache.

        Raises:
            GenerationError: llama.cpp could not evaluate them.
        """
        n = len(tokens)
        batch = self._batch
        if n == 1:
            self._tokens[0] = tokens[0]
            self._pos[0] = pos
            self._outputs[0] = n_outputs
        else:
            self._tokens[:n] = tokens if type(tokens) is list else list(tokens)
            self._positions[:n] = np.arange(pos, pos + n, dtype=np.int32)
            self._flags[: n - n_outputs] = 0
            self._flags[n - n_outputs : n] = 1
        if seq != self._last_seq:
            batch.seq_id = self._seq_rows[seq]
            self._last_seq = seq
        batch.n_tokens = n
        code = C.llama_decode(self._pointer, batch)
        if code:
            if code == 2:
                return False
            self._fail(code, n)
        if n_outputs:
            address = quick.get_logits(self._pointer)
            view = self._views.get((address, n_outputs))
            if view is None:
                view = self._make_view(address, n_outputs)
            self._rows = view
        return True

    def _make_view(self, address: int, n_outputs: int) -> NDArray[np.float32]:
        if len(self._views) > 2 * self.n_outputs_max:
            self._views.clear()  # the buffer moved more than once; the old views are not used again
        memory: Any = (ctypes.c_float * (n_outputs * self.n_vocab)).from_address(address)
        view: NDArray[np.float32] = np.frombuffer(memory, np.float32).reshape(n_outputs, self.n_vocab)
        self._views[address, n_outputs] = view
        return view

    def embed(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """The pooled embedding of one text, or a reranker's outputs for it, shape (n_pooled,).

        It is llama.cpp's memory, overwritten by the next.

        Raises:
            GenerationError: llama.cpp could not evaluate the text.
        """
        n = len(tokens)
        if self._memory:
            C.llama_memory_clear(self._memory, False)
        self._tokens[:n] = list(tokens)
        self._positions[:n] = np.arange(n, dtype=np.int32)
        self._flags[:n] = 1
        self._batch.n_tokens = n
        if code := C.llama_decode(self._pointer, self._batch):
            self._fail(code, n)
        address = quick.get_embeddings_seq(self._pointer, 0)
        if not address:
            raise GenerationError("The model gives no pooled embedding.", "Choose another embedding model.")
        memory: Any = (ctypes.c_float * self.n_pooled).from_address(address)
        vector: NDArray[np.float32] = np.frombuffer(memory, np.float32)
        return vector

    def logits(self, row: int) -> NDArray[np.float32]:
        """Logits of one output of the last evaluation, shape (n_vocab,): llama.cpp's memory, overwritten next time."""
        values: NDArray[np.float32] = self._rows[row]
        return values

    def _fail(self, code: int, n: int) -> None:
        if code == 1:
            raise GenerationError(f"The KV cache has no room for {n:,} more tokens.", "Choose a larger --ctx.")
        reason = native_log().last_error() or f"code {code}"
        raise GenerationError(f"llama.cpp could not evaluate {n:,} tokens: {reason}.", "See the worker's log file.")

    # ---- the cache ----

    def seq_rm(self, seq: int, start: int, end: int = -1) -> bool:
        """Forget positions from `start` up to `end` (-1: all) of a sequence; False where the model can't do that."""
        return bool(quick.seq_rm(self._memory, seq, start, end))

    def seq_cp(self, source: int, target: int, start: int = 0, end: int = -1) -> None:
        """Let `target` share the cached positions of `source`; nothing is copied."""
        C.llama_memory_seq_cp(self._memory, source, target, start, end)

    def seq_shift(self, seq: int, start: int, end: int) -> bool:
        """Forget positions from `start` up to `end` and move those behind them down; False where that can't be done.

        The keys that move are turned to their new positions by the next evaluation. Cells that another sequence holds
        too would move for both.
        """
        if self.model.recurrent or not C.llama_memory_can_shift(self._memory) or not self.seq_rm(seq, start, end):
            return False
        C.llama_memory_seq_add(self._memory, seq, end, -1, start - end)
        return True

    def n_past(self, seq: int) -> int:
        """Positions of a sequence that are in the cache."""
        return int(C.llama_memory_seq_pos_max(self._memory, seq)) + 1

    def clear(self) -> None:
        """Forget everything."""
        C.llama_memory_clear(self._memory, False)

    # ---- control ----

    def abort(self, stop: bool = True) -> None:
        """Stop a running evaluation, and all further ones until called with False. May be called from any thread."""
        self._flag[0] = b"\x01" if stop else b"\x00"

    @property
    def aborting(self) -> bool:
        """Whether `abort` is in force."""
        return self._flag[0] != b"\x00"

    def set_threads(self, n_threads: int, n_threads_batch: int) -> None:
        """Use these many threads from the next evaluation on; costs nothing."""
        quick.set_n_threads(self._pointer, n_threads, n_threads_batch)
        self.n_threads, self.n_threads_batch = n_threads, n_threads_batch

    def close(self) -> None:
        """Free the cache. Safe to call twice."""
        if self._pointer:
            C.llama_free(self._pointer)
            self._pointer = None
            self._views.clear()
