"""One question to a library: find, decide whether the documents answer it, put it to the model, check what comes back.

`open_retriever` gives the assistant its documents; `ground` is the whole of it for one question.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from localllm.engine.protocol import Cancel, ConstraintSpec, Embedder, Engine
from localllm.errors import LibraryNotFound
from localllm.events import Message, Passage, Role
from localllm.rag import extract, prompting
from localllm.rag.grounded import Grounded
from localllm.rag.grounding import check, quote_remarks
from localllm.rag.nearness import Nearness
from localllm.rag.passages import fitted_passages, whole_documents
from localllm.rag.rerank import Reranker
from localllm.rag.search import SearchResult, search
from localllm.rag.thresholds import thresholds_of
from localllm.settings import Paths, Settings

if TYPE_CHECKING:
    from localllm.rag.index import Library

REFUSAL = "Not in your documents."
EXTRACT_BELOW = 1_000_000_000
"""Models of fewer parameters choose sentences instead of writing (mode ``auto``)."""
MAX_PASSAGE_TOKENS = 1500
"""More passages distract small models more than they help."""
_NEAREST = 3

OpenEmbedder = Callable[["Library"], Embedder | None]
Guard = Callable[[Sequence[Passage]], tuple[Sequence[Passage], tuple[str, ...]]]
_FOLLOW_UP = re.compile(
    r"\b(it|its|they|them|their|theirs|that|this|those|these|he|him|his|she|her|hers|there)\b"
    r"|^\W*(and|but|why|(?:what|how) about|how (?:so|often|long|much|many)|when|where|since when)\b\W*(?:\w+\W*){0,3}$",
    re.IGNORECASE,
)
_OVERVIEW = re.compile(
    r"\b(summar\w+|overview|outline|tl;?dr|main (?:points?|ideas?|topics?)|what (?:is|are) (?:this|these|the|my)"
    r" (?:documents?|files?|texts?|papers?|notes?|pages?)\b.*\babout)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class GroundedQuestion:
    """The documents' part in one question. Fulfils the assistant's `Grounding`."""

    passages: tuple[Passage, ...]
    """Put before the model; for a refusal the nearest ones."""
    mode: Literal["hybrid", "keyword", "vector", "whole"]
    seconds: float
    refusal: str = ""
    """Said instead of asking the model; empty when the documents may answer."""
    system: str = ""
    question: str = ""
    constraint: ConstraintSpec | None = None
    hidden: bool = False
    """The model only chooses sentences; `check` makes the answer."""
    notes: tuple[str, ...] = ()
    asked: str = ""
    """The user's own question."""
    embedder: Embedder | None = field(default=None, repr=False)
    choices: tuple[extract.Candidate, ...] = ()

    def check(self, text: str) -> Grounded:
        """Check every citation, quote and number of the answer, or print the sentences that it chose."""
        if self.hidden:
            answer, citations = extract.compose(extract.chosen(text, self.choices))
            return Grounded(answer, citations)
        found = check(text, self.passages, question=self.asked, embedder=self.embedder)
        if found.n_sentences and not found.supported:
            return Grounded(REFUSAL, refused=True, notes=("The model's answer had no support in the passages.",))
        notes = (
            [f"{found.dropped_marks} marks of passages that do not exist were removed."] if found.dropped_marks else []
        )
        notes += quote_remarks(found)
        return Grounded(found.text, found.citations, found.unsupported, notes=tuple(notes))


def ground(
    library: Library,
    question: str,
    *,
    embedder: Embedder | None = None,
    n_passages: int = 5,
    budget: int = MAX_PASSAGE_TOKENS,
    count_tokens: Callable[[str], int],
    extractive: bool = False,
    turns: Sequence[Message] = (),
    guard: Guard | None = None,
    cache_folder: Path | None = None,
    reranker: Reranker | None = None,
) -> GroundedQuestion:
    """Find what a library says about a question.

    Args:
        library: Where.
        question: As the user asked it.
        embedder: Of the library's vectors, or None.
        n_passages: Passages at most.
        budget: Tokens for the passages.
        count_tokens: The model's tokens in a text.
        extractive: The model is to choose sentences instead of writing.
        turns: Earlier messages: a question that points back to the one before it is searched together with it.
        guard: Cleans or drops passages before the model reads them.
        cache_folder: See `rag.search.search`.
        reranker: Puts what was found in order.
    """
    find = partial(search, library, embedder=embedder, k=n_passages, cache_folder=cache_folder, reranker=reranker)
    started = time.perf_counter()
    thresholds = thresholds_of(library)

    def refuses(found: SearchResult, asked: str) -> bool:
        if not thresholds.refuses(found):
            return False
        if embedder is None or found.best_cosine is None:
            return True
        # The vector of several short notes together hides the one that answers: its sentences have the last word.
        return thresholds.refuses(Nearness(asked, embedder).of(found))

    found, sought = find(question), question
    whole = whole_documents(library, found.hits, budget, count_tokens, n_passages)
    refused = refuses(found, question)
    before = next((m.content for m in reversed(turns) if m.role is Role.USER), "")
    if refused and before and _FOLLOW_UP.search(question):
        # "How often is that done?" says too little alone: it is about whatever the question before was about.
        earlier = find(before)
        if not refuses(earlier, before):
            sought = f"{before}\n{question}"
            found = find(sought)
            whole = whole_documents(library, found.hits, budget, count_tokens, n_passages)
            refused = False
    notes = (found.note,) if found.note else ()
    if refused and not (whole and _OVERVIEW.search(question)):
        return _refused(found, notes, started)
    passages = whole or fitted_passages(library, found.hits, budget, count_tokens)
    originals = {p.n: p for p in passages}
    if guard is not None:
        kept, remarks = guard(passages)
        passages, notes = list(kept), (*notes, *remarks)
    if not passages:
        return replace(_refused(found, notes, started), passages=())
    mode: Literal["hybrid", "keyword", "vector", "whole"] = "whole" if whole else found.mode
    # Cited from the documents' own words: a guard may have changed the text that the model read.
    exact = tuple(originals.get(p.n, p) for p in passages)
    if extractive:
        nearness = Nearness(sought, embedder) if embedder is not None else None
        choices = extract.candidates(sought, passages, nearness, originals=originals)
        if not choices:
            return _refused(found, notes, started)
        return GroundedQuestion(
            exact, mode, time.perf_counter() - started, system=extract.SYSTEM,
            question=extract.choice_prompt(question, choices), constraint=extract.choice_constraint(choices),
            hidden=True, notes=notes, asked=question, choices=tuple(choices),
        )  # fmt: skip
    return GroundedQuestion(
        exact, mode, time.perf_counter() - started, system=prompting.SYSTEM,
        question=prompting.question_with_passages(question, passages), constraint=citation_constraint(passages),
        notes=notes, asked=question, embedder=embedder,
    )  # fmt: skip


def citation_constraint(passages: Sequence[Passage]) -> ConstraintSpec:
    """Lets any text through, but what would read as a mark names passages that exist."""
    number = "(" + "|".join(str(p.n) for p in passages) + ")"
    mark = rf"{number}([,;] ?{number})*\]"
    return ConstraintSpec("regex", rf"([^\[]|\[+({mark}|[^\[\d\s]))*", close_within_budget=False)


def is_extractive(settings: Settings, n_params: int) -> bool:
    """Whether the model is to choose sentences: as set, or by its size. An unknown size (0) counts as large."""
    if settings.answer_mode != "auto":
        return settings.answer_mode == "extract"
    return 0 < n_params < EXTRACT_BELOW


class LibraryRetriever:
    """A library that can be asked. Fulfils the assistant's `Retriever`.

    Args:
        library: Closed with it.
        cache_folder: For vectors beyond the memory budget.
        open_embedder: Opens the embedder that made the library's vectors, or whichever is here; asked where the
            engine's is another.
        reranker: Puts what was found in order; closed with it.
    """

    def __init__(
        self,
        library: Library,
        cache_folder: Path | None = None,
        open_embedder: OpenEmbedder | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        self.library = library
        self._cache_folder = cache_folder
        self._open_embedder = open_embedder
        self._reranker = reranker
        self._own: dict[str, Embedder | None] = {}

    def ground(
        self,
        question: str,
        *,
        turns: Sequence[Message],
        engine: Engine,
        settings: Settings,
        guard: Guard | None,
        cancel: Cancel | None,
    ) -> GroundedQuestion:
        """Find what the documents say about a question; see `ground`."""
        info = engine.info
        return ground(
            self.library, question, embedder=self._embedder(engine.embedder), n_passages=settings.passages,
            budget=max(64, min(MAX_PASSAGE_TOKENS, info.n_ctx // 2)), count_tokens=engine.count_tokens,
            extractive=is_extractive(settings, info.n_params), turns=turns, guard=guard,
            cache_folder=self._cache_folder, reranker=self._reranker,
        )  # fmt: skip

    def _embedder(self, present: Embedder | None) -> Embedder | None:
        """The one that made the library's vectors, where its file is here; else what the engine has."""
        active = self.library.active_model
        if active is None or self._open_embedder is None:
            return present
        if present is not None and present.fingerprint == active.fingerprint:
            return present
        if active.fingerprint not in self._own:
            self._own[active.fingerprint] = self._open_embedder(self.library)
        own = self._own[active.fingerprint]
        return own if own is not None and own.fingerprint == active.fingerprint else present

    def close(self) -> None:
        """Close the library's file and the models that were opened for it; safe to call twice."""
        self.library.close()
        for model in (*self._own.values(), self._reranker):
            if close := getattr(model, "close", None):
                close()
        self._own.clear()


def open_retriever(
    name: str, paths: Paths, open_embedder: OpenEmbedder | None = None, reranker: Reranker | None = None
) -> LibraryRetriever:
    """Open the library `name`.

    Args:
        name: Without suffix.
        paths: Where libraries are.
        open_embedder: See `LibraryRetriever`.
        reranker: See there too.

    Raises:
        LibraryNotFound: There is no such library, or the name can't be one.
    """
    from localllm.rag.index import Library

    try:
        path = paths.library(name)
    except ValueError as error:
        raise LibraryNotFound(f"There is no library {name!r}: {error}.", "`localllm docs list` shows yours.") from error
    return LibraryRetriever(Library(path), paths.home / "cache", open_embedder, reranker)


def _refused(found: SearchResult, notes: tuple[str, ...], started: float) -> GroundedQuestion:
    nearest = tuple(hit.passage(n) for n, hit in enumerate(found.hits[:_NEAREST], 1))
    return GroundedQuestion(nearest, found.mode, time.perf_counter() - started, REFUSAL, notes=notes)
