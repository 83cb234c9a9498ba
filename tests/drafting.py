"""What tests of drafts on real models share: steps that take the same time, and texts that may part at near ties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from localllm.engine.controller import Controller
from localllm.engine.local import LocalEngine
from localllm.events import Message

NEAR_TIE = 0.35
"""Logits. Kernels add up in another order for batches; on the starter that moved a logit by at most a third of this."""

_STEP = 0.01


@contextmanager
def free_batches(controller: Controller) -> Iterator[None]:
    """Inside, every evaluation takes 10 ms, whatever its batch and however busy the machine, and drafting nothing.

    What is drafted is then a matter of the texts alone.
    """
    costs, clock, observe = controller.costs, controller._clock, controller.observe
    row = [0.0] + [_STEP] * costs.max_batch

    def in_steady_time(emitted: Sequence[int], accepted: int, drafted: int, batch: int, seconds: float) -> None:
        observe(emitted, accepted, drafted, batch, _STEP)

    controller.observe = in_steady_time  # type: ignore[method-assign]
    controller._clock = lambda: 0.0
    costs.row = lambda n_context: row  # type: ignore[method-assign]
    costs.draft = lambda name: _STEP / 1000  # type: ignore[method-assign]
    costs.catch_up = costs.draft  # type: ignore[method-assign]
    try:
        yield
    finally:
        controller._clock = clock
        del controller.observe, costs.row, costs.draft, costs.catch_up


def assert_equal_up_to_a_near_tie(
    engine: LocalEngine, question: Sequence[Message], plain: list[int], drafted: list[int]
) -> None:
    """The two answers are equal, or first part where the target's two best tokens are about as likely."""
    if drafted == plain:
        return
    at = next(i for i, (a, b) in enumerate(zip(drafted, plain, strict=False)) if a != b)
    backend = engine._backend
    prompt = [*engine.render(question).token_ids, *plain[:at]]
    backend.clear()
    engine._slots = type(engine._slots)(1)
    for start in range(0, len(prompt), 32):
        backend.decode(0, prompt[start : start + 32], start, 1)
    top = np.sort(np.array(backend.logits(0)))[::-1]
    backend.clear()
    assert top[0] - top[1] < NEAR_TIE, f"parted at token {at}, which was no near tie"
