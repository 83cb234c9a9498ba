"""A backend with scripted logits and a byte tokenizer: the decode loop without weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from localllm.engine.cache import Slot
from localllm.engine.decode import Generation, Job
from localllm.engine.drafting import Draft, DrawsAhead
from localllm.engine.protocol import Cancel, EngineEvent, GenerationDone, Sampling, TokenEvent
from localllm.engine.sampling import TokenSampler
from localllm.events import Speculation

EOG = 256
N_VOCAB = 257

Script = Callable[[list[int]], "int | NDArray[np.float32]"]
"""From the tokens so far to the next token, or to a whole row of logits."""


def says(text: str, prompt: str = "") -> Script:
    """A model that answers `prompt` with `text` and then ends its turn."""
    answer = [*list(text.encode()), EOG]

    def script(tokens: list[int]) -> int:
        n = len(tokens) - len(prompt.encode())
        return answer[n] if 0 <= n < len(answer) else EOG

    return script


class FakeBackend:
    """Evaluates by asking a script; keeps count of everything."""

    eog = frozenset({EOG})
    n_vocab = N_VOCAB

    def __init__(
        self, script: Script, *, n_ctx: int = 512, n_batch: int = 64, n_outputs_max: int = 32, rolls_back: bool = True
    ) -> None:
        self.n_ctx, self.n_batch, self.n_outputs_max = n_ctx, n_batch, n_outputs_max
        self.rolls_back = rolls_back
        self.shifts = True
        """Whether its memory can shift."""
        self.shifted: list[tuple[int, int]] = []
        self.script = script
        self.sequences: dict[int, list[int]] = {}
        self.evaluated = 0
        """Tokens evaluated in all."""
        self.batches: list[list[int]] = []
        self.removals = 0
        self.abort_after: int | None = None
        """Abort the evaluation with this number, counted from now."""
        self._rows = np.zeros((n_outputs_max, N_VOCAB), np.float32)
        self._n_rows = 0

    def piece(self, token: int) -> bytes:
        return b"" if token == EOG else bytes([token])

    def decode(self, seq: int, tokens: Sequence[int], pos: int, n_outputs: int) -> bool:
        held = self.sequences.setdefault(seq, [])
        assert pos == len(held), f"evaluated at {pos}, but the sequence holds {len(held)}"
        assert 0 < len(tokens) <= self.n_batch
        assert 0 <= n_outputs <= min(len(tokens), self.n_outputs_max)
        assert pos + len(tokens) <= self.n_ctx, "beyond the context window"
        self._rows[:] = np.nan  # logits of the step before must not be read any more
        if self.abort_after is not None:
            if self.abort_after == 0:
                return False
            self.abort_after -= 1
        for i, token in enumerate(tokens):
            held.append(token)
            row = i - (len(tokens) - n_outputs)
            if row >= 0:
                self._rows[row] = self._logits(held)
        self._n_rows = n_outputs
        self.evaluated += len(tokens)
        self.batches.append(list(tokens))
        return True

    def _logits(self, held: list[int]) -> NDArray[np.float32]:
        answer = self.script(list(held))
        if isinstance(answer, np.ndarray):
            return answer
        row = np.zeros(N_VOCAB, np.float32)
        row[answer] = 10.0
        return row

    def logits(self, row: int) -> NDArray[np.float32]:
        assert row < self._n_rows, "a row that was not asked for"
        values: NDArray[np.float32] = self._rows[row]
        return values

    def seq_rm(self, seq: int, start: int, end: int = -1) -> bool:
        assert end == -1
        if start and not self.rolls_back:
            return False
        self.removals += 1
        del self.sequences.setdefault(seq, [])[start:]
        return True

    def seq_shift(self, seq: int, start: int, end: int) -> bool:
        if not self.shifts:
            return False
        held = self.sequences[seq]
        assert 0 <= start < end <= len(held)
        del held[start:end]
        self.shifted.append((start, end))
        return True

    def n_past(self, seq: int) -> int:
        return len(self.sequences.get(seq, []))


class ScriptedController:
    """Drafts what a function says; records what the loop reports."""

    def __init__(self, draft: Callable[[list[int], int], list[int]]) -> None:
        self.draft = draft
        self.steps: list[tuple[list[int], int, int, int]] = []
        self.prompts: list[list[int]] = []

    def begin(
        self, prompt: Sequence[int], corpus: Sequence[Sequence[int]] = (), draws: DrawsAhead | None = None
    ) -> None:
        self.prompts.append(list(prompt))

    def choose(self, context: Sequence[int], limit: int, legal: Callable[[Sequence[int]], int] | None = None) -> Draft:
        tokens = self.draft(list(context), limit)
        if tokens and legal is not None:
            tokens = tokens[: legal(tokens)]
        return Draft(tokens, "scripted") if tokens else Draft()

    def observe(self, emitted: Sequence[int], accepted: int, drafted: int, batch: int, seconds: float) -> None:
        self.steps.append((list(emitted), accepted, drafted, batch))

    def plain_seconds(self, n_past: int) -> float:
        return 0.001

    def report(self) -> Speculation:
        return Speculation(speedup=1.5)

    def close(self) -> None:
        pass


def run(
    backend: FakeBackend,
    prompt: str = "p",
    *,
    slot: Slot | None = None,
    sampling: Sampling | None = None,
    cancel: Cancel | None = None,
    **job: object,
) -> tuple[str, GenerationDone, list[EngineEvent]]:
    """Generate one answer; returns its text, the last event and all events."""
    ids = list(prompt.encode())
    sampler = TokenSampler(sampling or Sampling(temperature=0), N_VOCAB, ids)
    generation = Generation(backend, slot or Slot(0), Job(ids, sampler, **job), cancel)  # type: ignore[arg-type]
    events = list(generation)
    done = events[-1]
    assert isinstance(done, GenerationDone)
    text = "".join(e.text for e in events if isinstance(e, TokenEvent))
    assert text == generation.text
    return text, done, events
