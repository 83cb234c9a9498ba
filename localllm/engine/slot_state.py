"""The state of a slot, to disk and back: what a chat that is opened again goes on from."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from localllm.engine.cache import Slot, common_prefix
from localllm.engine.llama_backend import LlamaBackend
from localllm.engine.sessions import SessionStore
from localllm.llama.state import read_state, write_state


def restore_slot(
    store: SessionStore, session: str, backend: LlamaBackend, slot: Slot, prompt: Sequence[int]
) -> list[str]:
    """Load the saved state of a chat where it holds more of the prompt than the slot does.

    Returns:
        A note for the user where there is a state that can't be used, and is deleted; otherwise nothing.
    """
    try:
        saved = store.find(session)
        if saved is None:
            return []
        useful = common_prefix(saved.tokens, prompt)
        if useful <= slot.holds(prompt) or len(saved.tokens) > backend.n_ctx:
            return []
        state = store.read_state(saved)
        slot.tokens = []  # what it held is replaced
        if not write_state(backend, slot.seq, state):
            backend.seq_rm(slot.seq, 0)
            raise ValueError("llama.cpp refused it")
        slot.tokens = saved.tokens
    except ValueError as reason:
        with contextlib.suppress(OSError):
            store.forget(session)
        return [f"The saved state of this chat was not used: {reason}."]
    return []


def save_slot(store: SessionStore, backend: LlamaBackend, slot: Slot) -> bool:
    """Write the state of a slot under the name of its chat; False where there is none, or no room for it."""
    slot.dirty = False
    return bool(slot.tokens) and store.save(slot.session, slot.tokens, read_state(backend, slot.seq))
