"""Opening the house: from settings to a running engine and an assistant, the same way for every front end.

spec = engine_spec(settings, paths)            # finds the files, loads nothing
engine = open_engine(settings, paths)          # starts the worker process and loads
assistant = open_assistant(settings, paths)    # loads the engine with the first question
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from localllm.engine.protocol import Engine, EngineSpec
from localllm.errors import ModelError
from localllm.events import Loading
from localllm.settings import Paths, Settings

if TYPE_CHECKING:
    from localllm.assistant import Assistant, Retriever, Rulebook
    from localllm.assistant.slot import Opener
    from localllm.engine.embedder_process import EmbedderProcess, RerankerProcess
    from localllm.history import History
    from localllm.rag.index import Library


def engine_spec(settings: Settings, paths: Paths, *, documents: bool = True) -> EngineSpec:
    """What the settings ask for, with every name resolved to a file. Reads headers at most, loads nothing.

    Args:
        settings: Which model, and how.
        paths: Where models and sessions are.
        documents: Load the embedder too, so that documents can be searched by meaning.

    Raises:
        ModelNotFound: There is no such model, or none at all; the hint says how to get the starter.
        NotGGUF: The file is not a model.
    """
    from localllm.models import pairing, shelf
    from localllm.models.memory import Load

    model = shelf.find_model(settings.model, paths)
    draft: Path | None = None
    if settings.draft not in ("auto", "none", ""):
        draft = shelf.find_model(settings.draft, paths)
    elif settings.draft != "none":
        draft = pairing.best_draft(
            model, paths, Load(n_ctx=settings.ctx, kv_type=settings.kv_type, kv_type_v=settings.kv_type_v)
        )
    return EngineSpec(
        model=model,
        draft=draft,
        embedder=shelf.find_embedder(settings.embedder, paths) if documents else None,
        n_ctx=settings.ctx,
        gpu_layers=settings.n_gpu_layers,
        n_threads=settings.threads,
        kv_type=settings.kv_type,
        kv_type_v=settings.kv_type_v,
        speculation="none" if settings.draft == "none" else "auto",
        sessions_dir=paths.sessions,
    )


def open_engine(
    settings: Settings,
    paths: Paths,
    *,
    on_progress: Callable[[Loading], None] | None = None,
    spec: EngineSpec | None = None,
) -> Engine:
    """Start a worker process and load the model in it; returns when it is ready.

    Args:
        settings: Which model, and how.
        paths: Where models, sessions and logs are.
        on_progress: Called while the model loads, from the calling thread.
        spec: Loaded as it is, instead of what the settings ask for.

    Raises:
        ModelError: The model is missing, is no model, does not fit, or llama.cpp refused it.
    """
    from localllm.engine.client import start_engine

    return start_engine(spec or engine_spec(settings, paths), paths, on_progress=on_progress)


def open_embedder(settings: Settings, paths: Paths, library: Library | None = None) -> EmbedderProcess | None:
    """The embedding model alone, in a process that starts with the first text; None when there is none here.

    Args:
        settings: Which one.
        paths: Where models are.
        library: Which is to be searched or added to. The model that made its vectors is opened while its file is
            here, whatever the settings name now: vectors of two models can't be compared.

    Raises:
        ModelNotFound: The settings name one that is not here.
    """
    from localllm.engine.embedder_process import EmbedderProcess
    from localllm.models import shelf

    log = paths.logs / "embedder.log"
    path = shelf.find_embedder(settings.embedder, paths)
    present = None if path is None else EmbedderProcess(path, log)
    active = library.active_model if library is not None else None
    if active is None or (present is not None and present.fingerprint == active.fingerprint):
        return present
    for model in shelf.list_models(paths):
        if model.purpose == "embedding" and not model.problem and Path(model.path) != path:
            other = EmbedderProcess(Path(model.path), log)
            if other.fingerprint == active.fingerprint:
                return other
    return present


def open_reranker(settings: Settings, paths: Paths) -> RerankerProcess | None:
    """The reranking model of the settings, in a process that starts with the first question; None when they name none.

    Raises:
        ModelNotFound: There is no such model.
        ModelError: It is a model of another kind.
    """
    if not settings.reranker:
        return None
    from localllm.engine.embedder_process import RerankerProcess
    from localllm.models import shelf
    from localllm.models.header import read_model_header

    path = shelf.find_any(settings.reranker, paths)
    if read_model_header(path).purpose != "reranker":
        raise ModelError(f"{path.name} is no reranker.", "Choose one with the setting `reranker`, or leave it empty.")
    return RerankerProcess(path, paths.logs / "reranker.log")


GUARD_CTX = 4096
"""Tokens of a guard model's context window: it judges texts in pieces of half of it."""


def open_guard(settings: Settings, paths: Paths, *, on_progress: Callable[[Loading], None] | None = None) -> Engine:
    """Start a worker process with the guard model of the settings; it drafts nothing and keeps nothing on disk.

    Raises:
        ModelError: There is no such model, or it can't be loaded.
    """
    ctx = min(settings.ctx or GUARD_CTX, GUARD_CTX)
    asked = replace(settings, model=settings.guard_model, draft="none", ctx=ctx)
    spec = replace(engine_spec(asked, paths, documents=False), sessions_dir=None)
    return open_engine(asked, paths, on_progress=on_progress, spec=spec)


def open_assistant(
    settings: Settings,
    paths: Paths,
    *,
    engine: Engine | None = None,
    spec: EngineSpec | None = None,
    history: History | None = None,
    docs: str = "",
    rules: str = "",
    schema: str | None = None,
) -> Assistant:
    """An assistant over the user's own chats, library and rules.

    Args:
        settings: Which model, how it answers.
        paths: Where files are kept.
        engine: A running engine; None opens one with the first question, and again after it died.
        spec: What the engine loads, where it was resolved already.
        history: Where turns are kept; None keeps them in memory for this run alone.
        docs: Library to ask; empty means that of the settings.
        rules: Rule set, by file or name; empty means that of the settings.
        schema: File of a JSON Schema that answers must follow, on top of the rules.
    """
    from localllm.assistant import Assistant

    settings = replace(settings, docs=docs or settings.docs, rules=rules or settings.rules)

    def opener(report: Callable[[Loading], None]) -> Engine:
        return open_engine(settings, paths, on_progress=report, spec=spec)

    def find_library(name: str) -> Retriever:
        from localllm.rag.answer import open_retriever

        return open_retriever(name, paths, partial(open_embedder, settings, paths), open_reranker(settings, paths))

    def find_rules(name: str) -> Rulebook:
        from localllm.rules.compile import open_rulebook

        return open_rulebook(
            name,
            paths,
            schema=None if schema is None else Path(schema),
            allow_code=settings.allow_code,
            audit_texts=settings.audit_texts,
        )

    def find_guard(name: str) -> Opener:
        return lambda report: open_guard(replace(settings, guard_model=name), paths, on_progress=report)

    return Assistant(
        engine,
        opener=opener,
        history=history,
        rules=None if schema is None else find_rules(settings.rules),
        find_library=find_library,
        find_rules=find_rules,
        find_guard=find_guard,
        settings=settings,
    )


def purge_chat(history: History, paths: Paths, chat_id: int) -> None:
    """Remove a chat for good, and the model's state of it that was saved to go on quickly."""
    from localllm.assistant import session_name
    from localllm.engine.sessions import SessionStore

    history.purge(chat_id)
    SessionStore(paths.sessions, 0, "").forget(session_name(chat_id))
