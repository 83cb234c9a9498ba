"""Loading: from a spec to a loaded model, checked before anything native sees the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from localllm.engine.decode import MAX_DRAFT
from localllm.engine.llama_backend import LlamaBackend
from localllm.engine.protocol import Device, EngineSpec
from localllm.engine.threads import make_governor, physical_cores
from localllm.llama.devices import list_devices, supports_gpu
from localllm.llama.model import Model
from localllm.models.header import Header, read_model_header
from localllm.models.memory import Estimate, Load, fits
from localllm.models.ram import available_memory

_BATCHES = ((1 << 29, 512), (3 << 29, 256), (1 << 32, 128))
"""Bytes of weights below which so many tokens of a prompt are read at once, and else 64: some seconds on two cores."""

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Plan:
    """What will be loaded, and how."""

    header: Header
    draft: Header | None
    embedder: Header | None
    n_ctx: int
    load: Literal["memory", "mmap"]
    n_threads: int
    estimate: Estimate
    notes: tuple[str, ...] = ()


def plan_load(spec: EngineSpec) -> Plan:
    """Read the headers and weigh them against the memory that is free.

    Raises:
        ModelNotFound: A file is not there.
        NotGGUF: A file is damaged.
        ModelDoesNotFit: With both figures.
    """
    header = read_model_header(spec.model)
    draft = read_model_header(spec.draft) if spec.draft is not None else None
    embedder = read_model_header(spec.embedder) if spec.embedder is not None else None
    free = available_memory()
    on_gpu = spec.gpu_layers != 0 and supports_gpu()
    if on_gpu and free:
        free += sum(d.memory_free for d in list_devices() if d.kind == "gpu")
    wanted = Load(
        n_ctx=spec.n_ctx,
        kv_type=spec.kv_type,
        kv_type_v=spec.kv_type_v,
        n_batch=spec.n_batch,
        flash_attention=spec.flash_attention != "off",
        n_seq=spec.n_seq,
    )
    estimate = fits(header, wanted, draft, free)
    estimate.check()
    notes = []
    if spec.n_ctx > header.n_ctx_train > 0:
        notes.append(
            f"The model was trained for {header.n_ctx_train:,} tokens; beyond that its answers may make no sense."
        )
    # Weights of our own, in huge pages, decode 3 to 6 % faster than a mapped file, but can't be dropped by the system.
    roomy = not free or estimate.total + estimate.weights // 2 <= free
    if not roomy:
        notes.append("Memory is short: the model file is mapped instead of read.")
    return Plan(
        header,
        draft,
        embedder,
        estimate.n_ctx,
        "memory" if roomy and not on_gpu else "mmap",
        spec.n_threads or physical_cores(),
        estimate,
        tuple(notes),
    )


def batch_for(weights: int, on_gpu: bool) -> int:
    """Tokens of a prompt that are read at once: fewer of a large model, so that progress is seen every few seconds.

    Args:
        weights: Bytes.
        on_gpu: A GPU reads some of its layers; it is quick, and wants large batches.
    """
    if on_gpu:
        return _BATCHES[0][1]
    return next((size for limit, size in _BATCHES if weights < limit), 64)


def load_model(spec: EngineSpec, plan: Plan, on_progress: Progress | None = None) -> tuple[Model, LlamaBackend]:
    """Load the target model and make its context.

    Raises:
        ModelError: llama.cpp refused it, or the memory could not be had.
    """

    def report(fraction: float) -> bool:
        if on_progress is not None:
            on_progress(0.95 * fraction)
        return True

    adaptive = not spec.n_threads and plan.n_threads > 1
    governor = make_governor(plan.n_threads) if adaptive else None
    model = Model(
        spec.model,
        n_gpu_layers=spec.gpu_layers,
        main_gpu=spec.main_gpu,
        tensor_split=spec.tensor_split,
        load=plan.load,
        on_progress=report,
    )
    try:
        if governor is not None:
            governor.look()  # at what other programs used while the weights were read
        backend = LlamaBackend(
            model,
            n_ctx=plan.n_ctx,
            n_seq=spec.n_seq,
            governor=governor,
            n_batch=min(spec.n_batch, plan.n_ctx, batch_for(plan.estimate.weights, bool(model.placement.n_gpu_layers))),
            n_outputs_max=1 + MAX_DRAFT,
            n_threads=plan.n_threads,
            kv_type=spec.kv_type,
            kv_type_v=spec.kv_type_v,
            flash_attention=spec.flash_attention,
        )
        try:
            backend.warm_up()
        except BaseException:
            backend.close()
            raise
    except BaseException:
        model.close()
        raise
    return model, backend


def devices() -> tuple[Device, ...]:
    """Every processor that this build of llama.cpp can use."""
    return tuple(Device(d.name, d.description, d.kind, d.memory_free, d.memory_total) for d in list_devices())


def cores_for_embedding() -> int:
    """Contexts of the embedder: one per physical core, at most eight."""
    return min(8, physical_cores(), os.cpu_count() or 1)
