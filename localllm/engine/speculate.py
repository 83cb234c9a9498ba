"""Setting speculation up for a loaded model: drafters, calibration, controller."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from localllm.engine.acceptance import Acceptance
from localllm.engine.calibration import Calibration, CalibrationStore, machine_id
from localllm.engine.controller import Controller
from localllm.engine.costs import CostTable, calibrate
from localllm.engine.decode import MAX_DRAFT
from localllm.engine.draft_model import ModelDrafter
from localllm.engine.draft_ngram import NgramDrafter
from localllm.engine.drafting import Drafter
from localllm.engine.protocol import EngineSpec
from localllm.engine.sessions import file_fingerprint
from localllm.engine.translation import ByText, make_translation
from localllm.errors import DraftMismatch
from localllm.llama.work_split import splits_evenly

if TYPE_CHECKING:
    from localllm.engine.llama_backend import LlamaBackend
    from localllm.llama.context import Context
    from localllm.llama.model import Model
    from localllm.llama.vocab import Vocab

_LEAST_COVER = 0.5
"""A draft that shares fewer of its tokens with the target could hardly propose anything."""

# Two models agree or not on any text; this one has prose, a list, a quotation, numbers and code, in 60 or so tokens.
SAMPLE = (
    "Water boils at 100 degrees Celsius at sea level. The three primary colours are red, yellow and blue. "
    'for i in range(10):\n    print(i)\n"To be, or not to be, that is the question." '
    "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday."
)


def make_controller(
    spec: EngineSpec,
    model: Model,
    backend: LlamaBackend,
    *,
    clock: Callable[[], float] = time.perf_counter,
    calibration_seconds: float = 1.0,
) -> Controller:
    """The controller of a freshly loaded model, calibrated: from the stored file, or by measuring for a second.

    Args:
        spec: Names the draft model, if any, and the folder beside which calibrations are kept.
        model: The target; it can take tokens back.
        backend: The target's context; sequence 0 must be empty, and is empty again afterwards.
        clock: Seconds.
        calibration_seconds: How long to measure where nothing is stored.

    Raises:
        DraftMismatch: The draft model can't serve this target.
        ModelError: The draft model can't be loaded.
    """
    draft = _load_draft(spec, model, backend) if spec.draft is not None else None
    store = CalibrationStore(
        spec.sessions_dir.parent / "calibration" if spec.sessions_dir is not None else None,
        (
            machine_id(), file_fingerprint(spec.model), backend.n_threads, model.placement.n_gpu_layers, spec.kv_type,
            spec.kv_type_v, spec.flash_attention, file_fingerprint(spec.draft) if spec.draft is not None else "",
            splits_evenly(),
        ),
    )  # fmt: skip
    found = store.load()
    if found is None:
        found = Calibration(CostTable(MAX_DRAFT + 2))
        _measure(found, backend, draft, clock, calibration_seconds)
        store.save(found)
    vocab = model.vocab
    drafters: list[Drafter] = [NgramDrafter(vocab.eog | set(vocab.control.values()))]
    if draft is not None:
        drafters.append(draft.drafter)
    return Controller(
        found.costs,
        drafters,
        clock=clock,
        ledger=found.ledger,
        acceptance=found.acceptance,
        max_draft=MAX_DRAFT,
        on_close=lambda: store.save(found),
    )


class _LoadedDraft:
    """The draft model with its context and the drafter that uses them."""

    def __init__(self, model: Model, context: Context, target: Vocab, backend: LlamaBackend) -> None:
        self.model, self.context = model, context
        self.translation = make_translation(target, model.vocab, lambda vocab, t: vocab.raw_text(t))  # type: ignore[attr-defined]
        self.drafter = ModelDrafter(
            model.path.stem,
            context,
            translation=self.translation,
            eog=target.eog,
            before=lambda: self._follow(backend),
            release=self.close,
        )

    def _follow(self, backend: LlamaBackend) -> None:
        if self.context.n_threads != backend.n_threads:
            self.context.set_threads(backend.n_threads, backend.n_threads_batch)

    def close(self) -> None:
        self.context.close()
        self.model.close()


def _load_draft(spec: EngineSpec, target: Model, backend: LlamaBackend) -> _LoadedDraft:
    from localllm.llama.context import Context
    from localllm.llama.model import Model

    assert spec.draft is not None
    model = Model(spec.draft, n_gpu_layers=spec.gpu_layers, main_gpu=spec.main_gpu, load="memory")
    try:
        if model.recurrent or model.has_encoder or not model.has_decoder:
            raise DraftMismatch(
                f"{model.path.name} can't draft: a draft model must be able to take tokens back.",
                "`localllm models pair` lists the drafts that fit.",
            )
        context = Context(
            model,
            n_ctx=min(backend.n_ctx, model.n_ctx_train or backend.n_ctx),
            n_batch=min(spec.n_batch, backend.n_ctx),
            n_outputs_max=1 + MAX_DRAFT,
            n_threads=backend.n_threads,
            kv_type=spec.kv_type,
            kv_type_v=spec.kv_type_v,
            flash_attention=spec.flash_attention,
        )
        try:
            draft = _LoadedDraft(model, context, target.vocab, backend)
            if isinstance(draft.translation, ByText) and draft.translation.covered < _LEAST_COVER:
                raise DraftMismatch(
                    f"{model.path.name} shares only {draft.translation.covered:.0%} of its tokens with "
                    f"{target.path.name}.",
                    "`localllm models pair` lists the drafts that fit.",
                )
        except BaseException:
            context.close()
            raise
    except BaseException:
        model.close()
        raise
    return draft


def _measure(
    found: Calibration,
    backend: LlamaBackend,
    draft: _LoadedDraft | None,
    clock: Callable[[], float],
    seconds: float,
) -> None:
    """Measure costs, and how often the draft agrees with the target on a sample text."""
    vocab = backend.model.vocab
    sample = vocab.tokenize(SAMPLE)
    if vocab.add_bos and vocab.bos >= 0:
        sample = [vocab.bos, *sample]
    many = sample * (MAX_DRAFT // len(sample) + 2)

    def step(n: int) -> None:
        backend.decode(0, many[:n], 0, n)
        backend.seq_rm(0, 0)

    calibrate(found.costs, step, clock, seconds=seconds)
    if draft is not None:
        _measure_draft(found, backend, draft, sample, clock)


def _measure_draft(
    found: Calibration, backend: LlamaBackend, draft: _LoadedDraft, sample: list[int], clock: Callable[[], float]
) -> None:
    """What drafting and catching up cost, and teacher-forced agreement: both models read the sample."""
    name, context, translation = draft.drafter.name, draft.context, draft.translation
    record = found.acceptance.setdefault(name, Acceptance())
    ids = [d for t in sample for d in translation.to_draft(t)]
    context.decode(0, ids, 0, 1)  # warm-up
    context.seq_rm(0, 0)
    started = clock()
    context.decode(0, ids, 0, 1)
    found.costs.observe_catch_up(name, (clock() - started) / len(ids))
    for _ in range(4):
        context.seq_rm(0, len(ids) - 1)
        started = clock()
        context.decode(0, ids[-1:], len(ids) - 1, 1)
        best = int(context.logits(0).argmax())
        translation.to_target(best)
        found.costs.observe_draft(name, clock() - started)
    context.seq_rm(0, 0)
    # Rows of logits are limited, so the sample is read in parts; each token's successor is compared.
    rows = context.n_outputs_max
    at = draft_at = 0
    for start in range(0, len(sample), rows // 2):
        part = sample[start : start + rows // 2]
        backend.decode(0, part, at, len(part))
        wanted = [int(backend.logits(i).argmax()) for i in range(len(part))]
        cut = [translation.to_draft(t) for t in part]
        flat = [d for ds in cut for d in ds]
        if not flat or len(flat) > rows:
            break
        context.decode(0, flat, draft_at, len(flat))
        row = -1
        for ds, target_token in zip(cut, wanted, strict=True):
            row += len(ds)
            if not ds:
                continue
            logits = context.logits(row)
            best = int(logits.argmax())
            confidence = 1.0 / float(np.exp(logits - logits[best]).sum())
            record.observe(confidence, translation.to_target(best) == target_token)
        at += len(part)
        draft_at += len(flat)
    backend.seq_rm(0, 0)
    context.seq_rm(0, 0)
