"""LocalEngine: a model in this process. The worker runs one of these; tests and benchmarks may use it directly."""

from __future__ import annotations

import contextlib
import itertools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from localllm.engine.answers import KnownAnswers
from localllm.engine.cache import Slot, Slots, common_prefix, prefill_slot
from localllm.engine.decode import Generation, Job
from localllm.engine.loading import Progress, cores_for_embedding, devices, load_model, plan_load
from localllm.engine.protocol import (
    Cancel,
    EngineEvent,
    EngineInfo,
    EngineSpec,
    Matcher,
    RenderedPrompt,
    Request,
)
from localllm.engine.sampling import TokenSampler
from localllm.engine.sessions import SessionStore, file_fingerprint
from localllm.engine.slot_state import restore_slot, save_slot
from localllm.engine.template import ChatTemplate
from localllm.engine.watch import Watch
from localllm.errors import EngineClosed, GenerationError
from localllm.events import Message, Role
from localllm.llama.devices import version
from localllm.llama.log import native_log
from localllm.llama.work_split import splits_evenly

if TYPE_CHECKING:
    from localllm.engine.controller import Controller as SpeculationController
    from localllm.engine.embed import LlamaEmbedder
    from localllm.engine.vocabulary import GrammarVocabulary


_NO_WAY_BACK = "Nothing is drafted: this kind of model can't take tokens back."
_IDLE_SAVE = 256 << 20
"""Bytes. Larger states are saved when the chat is left, not after every answer."""


class LocalEngine:
    """Loads the models of a spec and answers from one thread.

    Args:
        spec: Which models, and how.
        on_progress: Called with 0 to 1 while they load.

    Raises:
        ModelError: A file is missing, damaged, too large for the memory, or refused by llama.cpp.
    """

    def __init__(self, spec: EngineSpec, *, on_progress: Progress | None = None) -> None:
        started = time.perf_counter()
        self.spec = spec
        self._plan = plan_load(spec)
        self._model, self._backend = load_model(spec, self._plan, on_progress)
        self._vocab = self._model.vocab
        self._embedder: LlamaEmbedder | None = None
        self._closed = False
        self._drafting = False
        self._slots = Slots(spec.n_seq)
        self._answers = KnownAnswers(self._vocab.piece, self.tokenize)
        self._template = ChatTemplate(self._model.chat_template, self._vocab, self._answers.find)
        with contextlib.suppress(GenerationError):  # compile it now, not with the first question
            self._template.render([Message(Role.USER, "")])
        self._grammar: GrammarVocabulary | None = None
        self._to_prepare: list[Callable[[], object]] = [
            self._grammar_vocabulary,
            lambda: self._grammar_vocabulary().closing_order,
        ]
        self._sessions: SessionStore | None = None
        if spec.sessions_dir is not None and not self._model.recurrent:
            self._sessions = SessionStore(spec.sessions_dir, spec.sessions_max_bytes, self._state_fingerprint())
        try:
            self._controller = self._make_controller()
        except BaseException:  # a draft model that does not fit, say: the target must not stay in memory for it
            self._backend.close()
            self._model.close()
            raise
        self._info = self._make_info(time.perf_counter() - started)
        if on_progress is not None:
            on_progress(1.0)

    # ---- Engine ----

    @property
    def info(self) -> EngineInfo:
        """What is loaded and where."""
        return self._info

    def stream(self, request: Request, cancel: Cancel | None = None) -> Iterator[EngineEvent]:
        """Generate one answer; see `engine.protocol.Engine.stream`."""
        started = time.perf_counter()
        self._check_open()
        self._backend.abort(False)
        self._backend.look_around()
        prefix_ids = self._answers.ids_of_prefix(request.prefix) if request.prefix else []
        prompt = self._prompt_ids(request, prefix_ids)
        notes: list[str] = []
        n_keep = 0
        if request.when_full == "shift":
            n_keep = self._never_forgotten(request, prompt)
            self._shorten(prompt, n_keep, len(prefix_ids), notes)
        slot = self._slots.choose(self._backend, prompt, request.session, self._save_before_loss)
        self._restore(slot, prompt, request.session, notes)
        if self._model.recurrent and self.spec.draft is not None and request.speculation == "auto":
            notes.append(_NO_WAY_BACK)
        matcher = self._make_matcher(request, prefix_ids, notes)
        constraint = request.constraint
        controller = self._controller if request.speculation == "auto" and not self._drafting else None
        job = Job(
            prompt,
            TokenSampler(request.sampling, self._backend.n_vocab, prompt),
            stop=request.stop,
            max_tokens=request.max_tokens,
            matcher=matcher,
            close_within_budget=constraint.close_within_budget if constraint else True,
            mask_first=constraint.mask_first if constraint else False,
            controller=controller,
            corpus=[self.tokenize(text) for text in request.corpus] if controller else (),
            ban=tuple(b.encode() for b in request.ban if b),
            when_full=request.when_full,
            n_keep=n_keep,
            started=started,
            notes=notes,
        )
        generation = Generation(self._backend, slot, job, cancel)
        self._drafting = self._drafting or controller is not None  # one answer at a time is drafted for
        slot.busy = True
        try:
            with Watch(cancel, self._backend.abort):
                yield from generation
        finally:
            slot.busy = False
            if controller is not None:
                self._drafting = False
            if request.session and self._sessions is not None:
                slot.session = request.session
                slot.dirty = not generation.forgotten
            self._answers.add(request.prefix + generation.text, prefix_ids + generation.ids)

    def render(self, messages: Sequence[Message], prefix: str = "") -> RenderedPrompt:
        """Apply the model's chat template, ready for an answer that begins with `prefix`."""
        self._check_open()
        prefix_ids = self._answers.ids_of_prefix(prefix) if prefix else None
        return self._template.render(messages, prefix, prefix_ids=prefix_ids)

    def prefill(self, messages: Sequence[Message], cancel: Cancel | None = None, session: str = "") -> int:
        """Evaluate what is certain already of the prompt that ends with the user's next message.

        Args:
            messages: What comes before it, and last, where it was begun, its beginning.
            cancel: Ends it.
            session: As that of the request to come; a saved state of it is loaded.

        Returns:
            The tokens that are cached now. Cancelling is no error.
        """
        self._check_open()
        self._backend.abort(False)
        begun = messages[-1].content if messages and messages[-1].role is Role.USER else ""
        certain = self._certain(messages[:-1] if begun else messages, begun)
        if not certain or len(certain) >= self._backend.n_ctx:
            return 0
        slot = self._slots.choose(self._backend, certain, session, self._save_before_loss)
        if slot.holds(certain) == len(certain):
            return len(certain)
        self._restore(slot, certain, session, [])
        if session and self._sessions is not None:
            slot.session = session
        slot.keep_prefix(self._backend, certain)
        with Watch(cancel, self._backend.abort):
            for _ in prefill_slot(self._backend, slot, certain, cancel):
                pass
        if self._controller is not None and len(slot.tokens) == len(certain) and not self._drafting:
            self._controller.read_ahead(certain, lambda: cancel is None or not cancel.is_set())
        return len(slot.tokens)

    def tokenize(self, text: str) -> list[int]:
        """Token ids of plain text, without special tokens."""
        return self._vocab.tokenize(text)

    def count_tokens(self, text: str) -> int:
        """`len(self.tokenize(text))`."""
        return len(self.tokenize(text))

    @property
    def embedder(self) -> LlamaEmbedder | None:
        """The embedder, loaded at its first use; None when the spec names none."""
        if self._embedder is None and self.spec.embedder is not None and self._plan.embedder is not None:
            from localllm.engine.embed import LlamaEmbedder

            self._check_open()
            self._embedder = LlamaEmbedder(
                self.spec.embedder,
                max_tokens=self._plan.embedder.max_tokens,
                n_contexts=cores_for_embedding(),
                n_threads=lambda: self._backend.n_threads,
            )
        return self._embedder

    def close(self) -> None:
        """Save sessions and release everything; safe to call twice."""
        if self._closed:
            return
        self.save_sessions()
        self._closed = True
        if self._controller is not None:
            self._controller.close()
        if self._embedder is not None:
            self._embedder.close()
        self._backend.close()
        self._model.close()

    # ---- beyond the protocol ----

    def interrupt(self, stop: bool = True) -> None:
        """Stop the evaluation that is running, from any thread, or take that back; the next request starts afresh."""
        self._backend.abort(stop)

    def save_sessions(self, largest: int = 0) -> int:
        """Write chats that changed since they were saved.

        Args:
            largest: Leave out states with more tokens than this; 0 for none.

        Returns:
            How many were written.
        """
        changed = [s for s in self._slots if s.dirty and (not largest or len(s.tokens) <= largest)]
        return sum(self._save(slot) for slot in changed)

    def rest(self) -> None:
        """Use idle time: see how busy the machine is, save small changes, prepare for the first constraint."""
        if not self._closed:
            self._backend.look_around()
            per_token = max(1, self._plan.estimate.kv_cache // (self._backend.n_ctx * self.spec.n_seq))
            self.save_sessions(largest=_IDLE_SAVE // per_token)
            if self._to_prepare:  # one part per call: a question that comes meanwhile waits for it
                self._to_prepare.pop(0)()

    # ---- the parts of a request ----

    def _prompt_ids(self, request: Request, prefix_ids: list[int]) -> list[int]:
        if request.prompt is None:
            return list(self._template.render(request.messages, request.prefix, prefix_ids=prefix_ids).token_ids)
        vocab = self._vocab
        ids = vocab.tokenize(request.prompt, parse_special=True)
        if vocab.add_bos and ids[:1] != [vocab.bos]:
            ids.insert(0, vocab.bos)
        if not ids and not prefix_ids:
            raise GenerationError("The prompt is empty.", "Write something to continue.")
        return ids + prefix_ids

    def _certain(self, before: Sequence[Message], begun: str = "") -> list[int]:
        """Token ids that every prompt begins with whose next message, by the user, begins with `begun`."""
        one, other = (self._template.render([*before, Message(Role.USER, begun + text)]) for text in ("a", "Z"))
        return list(one.token_ids[: common_prefix(one.token_ids, other.token_ids)])

    def _never_forgotten(self, request: Request, prompt: list[int]) -> int:
        """Tokens of the prompt that a shift of the window leaves alone: those of the system prompt."""
        if request.prompt is not None:
            return int(self._vocab.add_bos)
        head = list(itertools.takewhile(lambda message: message.role is Role.SYSTEM, request.messages))
        return common_prefix(self._certain(head), prompt)

    def _shorten(self, prompt: list[int], n_keep: int, n_prefix: int, notes: list[str]) -> None:
        """An answer that filled the window and is gone on with fits it again: its prompt loses what a shift would."""
        before = len(prompt)
        while len(prompt) >= self._backend.n_ctx and (n := (len(prompt) - n_keep) // 2) and n_prefix:
            del prompt[n_keep : n_keep + n]
        if len(prompt) < before:
            notes.append(f"The window was full: {before - len(prompt):,} tokens of prompt and answer were left out.")

    def _make_matcher(self, request: Request, prefix_ids: list[int], notes: list[str]) -> Matcher | None:
        if request.constraint is None:
            return None
        from localllm.engine.constraint import compile_constraint

        matcher = compile_constraint(request.constraint, self._grammar_vocabulary())
        notes += matcher.notes
        if prefix_ids:
            matcher.commit(prefix_ids)
        return matcher

    def _grammar_vocabulary(self) -> GrammarVocabulary:
        """The vocabulary as constraints need it, built at the first use."""
        if self._grammar is None:
            from localllm.engine.vocabulary import GrammarVocabulary

            grammar = GrammarVocabulary(self._vocab.pointer, sorted(self._vocab.eog), self._backend.n_vocab)
            with warnings.catch_warnings():  # llguidance still calls a function that llama-cpp-python deprecates
                warnings.simplefilter("ignore", DeprecationWarning)
                _ = grammar.tokenizer
            native_log().install()  # it imports llama-cpp-python's high-level package, which takes the messages
            self._grammar = grammar
        return self._grammar

    def _make_controller(self) -> SpeculationController | None:
        """None where nothing is ever drafted: by wish, or because the model can't take a token back."""
        if self.spec.speculation == "none" or self._model.recurrent:
            return None
        from localllm.engine.speculate import make_controller

        return make_controller(self.spec, self._model, self._backend)

    # ---- sessions ----

    def _restore(self, slot: Slot, prompt: list[int], session: str, notes: list[str]) -> None:
        if self._sessions is not None and session:
            notes += restore_slot(self._sessions, session, self._backend, slot, prompt)

    def _save(self, slot: Slot) -> bool:
        return self._sessions is not None and not self._closed and save_slot(self._sessions, self._backend, slot)

    def _save_before_loss(self, slot: Slot) -> None:
        if slot.dirty:
            self._save(slot)

    def _state_fingerprint(self) -> str:
        spec = self.spec
        parts: tuple[Any, ...] = (
            file_fingerprint(spec.model), spec.kv_type, spec.kv_type_v or spec.kv_type, spec.flash_attention,
            self._model.placement.n_gpu_layers, version(),
        )  # fmt: skip
        return "|".join(map(str, parts))

    # ---- facts ----

    def _make_info(self, load_seconds: float) -> EngineInfo:
        model, plan = self._model, self._plan
        notes = list(plan.notes)
        if not model.chat_template:
            notes.append("The model has no chat template: it was not trained for chats.")
        if model.recurrent and self.spec.speculation == "auto":
            notes.append(_NO_WAY_BACK)
        fingerprint = None
        if self.spec.embedder is not None and plan.embedder is not None:
            from localllm.engine.embed import embedder_fingerprint

            fingerprint = embedder_fingerprint(self.spec.embedder, plan.embedder.max_tokens)
        return EngineInfo(
            model=plan.header.name,
            path=self.spec.model,
            architecture=model.architecture,
            quantization=model.quantization,
            n_params=model.n_params,
            n_ctx=self._backend.n_ctx,
            n_ctx_train=model.n_ctx_train,
            n_layer=model.n_layer,
            n_gpu_layers=model.placement.n_gpu_layers,
            n_threads=plan.n_threads,
            devices=devices(),
            draft=plan.draft.name if plan.draft and self._controller is not None else None,
            embedder=plan.embedder.name if plan.embedder else None,
            embedder_fingerprint=fingerprint,
            embedding_dim=plan.embedder.n_embd if plan.embedder else 0,
            embedder_max_tokens=plan.embedder.max_tokens if plan.embedder else 0,
            load_seconds=load_seconds,
            has_chat_template=bool(model.chat_template),
            recurrent=model.recurrent,
            size_bytes=model.size_bytes,
            even_parts=splits_evenly(),
            notes=tuple(notes),
        )

    def _check_open(self) -> None:
        if self._closed:
            raise EngineClosed("The engine was closed.", "Open it again.")
