"""A `ConstraintSpec` as a token matcher (llguidance), beside the vocabulary it needs.

User grammars and schemas never reach llama.cpp's own grammar converter: it ends the process on some patterns and drops
what it doesn't know in silence. llguidance runs under fuel limits: a hostile grammar costs an error, not the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localllm.engine.closing import ClosingOrder, shortest_closing
from localllm.engine.protocol import ConstraintSpec, Matcher
from localllm.errors import ConstraintRefused

MAX_SOURCE = 1 << 20
"""Characters of a grammar or schema; larger ones are refused unread."""

MAX_DEPTH = 120
"""Nesting of a schema. Deeper ones are refused: recursive walks over them must stay far from any stack limit."""

_SEARCH_EVERY = 12
"""Tokens until a search for an end is tried again that found none: it costs as much as several tokens."""

_MAX_CLOSER = 400
"""Tokens that closers may take."""

SEPARATORS: dict[str, Any] = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON is written in one line with these separators: a model can't pad it, and punctuation is mostly forced."""

JSON_LADDER: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, ""),
    ({"coerce_one_of": True}, "oneOf is enforced as anyOf while decoding"),
    ({"coerce_one_of": True, "lenient": True}, "some keywords are not enforced while decoding"),
)
"""Options tried in order until a schema compiles, each with what has to be said about it."""


class GrammarVocabulary:
    """The tokens of one model as llguidance wants them: built once, kept as long as the model.

    Args:
        pointer: The ``llama_vocab`` pointer; it must outlive this object.
        end_tokens: Every end-of-generation token of the model, not only its EOS.
        n_vocab: Length of the model's logits, where it differs from the vocabulary.

    Building takes 0.2 to 3 seconds, at the first use; `warm` does it ahead, on any thread.
    """

    def __init__(self, pointer: Any, end_tokens: Sequence[int], n_vocab: int | None = None) -> None:
        if not end_tokens:
            raise ValueError("a model needs at least one end-of-generation token")
        self.pointer = pointer
        self.end_tokens = tuple(int(t) for t in end_tokens)
        self._n_vocab = n_vocab
        self._lock = threading.Lock()
        self._tokenizer: Any = None
        self._closing_order: ClosingOrder | None = None

    def warm(self) -> None:
        """Build what the first constraint would build."""
        _ = self.closing_order

    @property
    def tokenizer(self) -> Any:
        """The `llguidance.LLTokenizer`."""
        with self._lock:
            if self._tokenizer is None:
                from llguidance.llamacpp import lltokenizer_from_vocab

                self._tokenizer = lltokenizer_from_vocab(self.pointer, self._n_vocab, eos_token=list(self.end_tokens))
            return self._tokenizer

    @property
    def n_vocab(self) -> int:
        """Tokens in a mask."""
        return int(self.tokenizer.vocab_size)

    @property
    def closing_order(self) -> ClosingOrder:
        """Which tokens end things soonest."""
        tokenizer = self.tokenizer
        if self._closing_order is None:
            pieces = [tokenizer.decode_bytes([t]) for t in range(self.n_vocab)]
            self._closing_order = ClosingOrder.of(pieces)
        return self._closing_order


def compile_constraint(spec: ConstraintSpec, vocabulary: GrammarVocabulary) -> GrammarMatcher | DelayedMatcher:
    """Compile a constraint for one answer; the result satisfies `engine.protocol.Matcher`.

    A JSON schema is compiled strictly if it can be; otherwise with ``oneOf`` taken as ``anyOf``, then without the
    keywords that can't be enforced. What was given up is in the matcher's ``notes``; a full check of the finished
    answer stays the caller's duty in every case.

    Raises:
        ConstraintRefused: The grammar is wrong, too large, too complex, or can't be met by any text.
    """
    if len(spec.source) > MAX_SOURCE:
        raise ConstraintRefused(
            f"The {_names[spec.kind]} has {len(spec.source):,} characters; {MAX_SOURCE:,} are allowed."
        )
    matcher = _compile(spec, vocabulary)
    return DelayedMatcher(matcher, spec.after) if spec.after else matcher


_names = {"json_schema": "JSON schema", "lark": "grammar", "regex": "regular expression"}


def _compile(spec: ConstraintSpec, vocabulary: GrammarVocabulary) -> GrammarMatcher:
    complaint = ""
    for grammar, notes in _grammars(spec):
        from llguidance import LLMatcher

        raw = LLMatcher(vocabulary.tokenizer, grammar, log_level=0, limits=_limits())
        if not raw.is_error():
            warnings = tuple(line for w in raw.get_grammar_warnings() if (line := _first_line(w)))
            return GrammarMatcher(raw, vocabulary, notes + warnings, spec.kind == "json_schema", spec.closers)
        complaint = complaint or _first_line(raw.get_error())
        last = _first_line(raw.get_error())
        if "nsatisfiable" in last:
            complaint = last
            break
    raise ConstraintRefused(
        f"The {_names[spec.kind]} can't be enforced while decoding: {complaint}.",
        'Simplify it, or set enforce = "check" to check the finished answer only.',
    )


def _grammars(spec: ConstraintSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    from llguidance import LLMatcher

    if spec.kind == "lark":
        yield LLMatcher.grammar_from_lark(spec.source), ()
    elif spec.kind == "regex":
        yield LLMatcher.grammar_from_regex(spec.source), ()
    else:
        if nesting(spec.source) > MAX_DEPTH:
            raise ConstraintRefused(f"The JSON schema is nested more than {MAX_DEPTH} levels deep.")
        for options, note in JSON_LADDER:
            source = "{}" if spec.source.strip() == "true" else spec.source
            try:
                grammar = LLMatcher.grammar_from_json_schema(source, overrides={**SEPARATORS, **options})
            except ValueError as error:
                raise ConstraintRefused(f"The JSON schema can't be read: {_first_line(str(error))}.") from error
            yield grammar, (note,) if note else ()


def nesting(text: str) -> int:
    """How deep brackets nest in a JSON text, without parsing it; brackets inside strings don't count."""
    depth = deepest = 0
    in_string = escaped = False
    for c in text:
        if in_string:
            in_string, escaped = (c != '"' or escaped), (c == "\\" and not escaped)
        elif c == '"':
            in_string = True
        elif c in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif c in "]}":
            depth -= 1
    return deepest


def _limits() -> Any:
    from llguidance import LLParserLimits

    return LLParserLimits(
        initial_lexer_fuel=2_000_000, step_lexer_fuel=500_000, max_lexer_states=100_000, max_grammar_size=500_000,
        verbose_errors=False,
    )  # fmt: skip


def _first_line(text: str) -> str:
    lines = text.strip().split("\n")
    first = lines[0]
    if first.endswith(":"):  # a regex error: what is wrong stands further down
        first += " " + next((line.removeprefix("error:").strip() for line in lines if line.startswith("error:")), "")
    return first[:300].rstrip(".")


class GrammarMatcher:
    """One answer's position in a grammar.

    Every method that asks llguidance raises `ConstraintRefused` when its limits are exceeded at this position: it would
    otherwise fall silent and allow nothing, or everything.
    """

    def __init__(
        self,
        raw: Any,
        vocabulary: GrammarVocabulary,
        notes: tuple[str, ...] = (),
        json: bool = False,
        closers: tuple[str, ...] = (),
    ) -> None:
        self._raw = raw
        self._json = json
        self._closers = closers
        self._ending: list[int] = []
        self._ended = False
        self._committed = 0
        self._search_again = 0
        self._searched = 0
        self._wish_again = 0
        self._vocabulary = vocabulary
        self.notes = notes
        self._way_out: list[int] | None = None

    def legal_prefix(self, tokens: Sequence[int]) -> int:
        """How many of these tokens may follow, in order. End tokens are legal where the answer may end.

        A single end token that is refused is a wish to end: where the spec names closers that lead to a legal end, the
        matcher allows nothing else from here on, and stops there.
        """
        if self._ending:
            ahead = self._ending[: len(tokens)]
            return next((i for i, (a, b) in enumerate(zip(ahead, tokens, strict=False)) if a != b), len(ahead))
        legal = int(self._raw.validate_tokens(list(tokens)))
        self._check()
        wishes_to_end = legal == 0 and len(tokens) == 1 and tokens[0] in self._vocabulary.end_tokens
        if self._closers and wishes_to_end and self._committed >= self._wish_again:
            self._ending = self._by_closers(_MAX_CLOSER) or []
            self._wish_again = self._committed + _SEARCH_EVERY
        return legal

    def commit(self, tokens: Sequence[int]) -> None:
        """The tokens were emitted.

        Raises:
            ConstraintRefused: A token was not legal; ask `legal_prefix` first.
        """
        if not tokens:
            return
        ids = [int(t) for t in tokens]
        if self._way_out is not None:
            follows = self._way_out[: len(ids)] == ids
            self._way_out = self._way_out[len(ids) :] if follows else None
        if self._ending:
            follows = self._ending[: len(ids)] == ids
            self._ending = self._ending[len(ids) :] if follows else []
            self._ended = follows and not self._ending
        self._committed += len(ids)
        if not self._raw.consume_tokens(ids):
            raise ConstraintRefused(f"The answer left the grammar: {_first_line(self._raw.get_error())}.")

    def mask(self) -> NDArray[np.bool_]:
        """True for every token id that may come next, shape (n_vocab,)."""
        if self._ending:
            only = np.zeros(self._vocabulary.n_vocab, np.bool_)
            only[self._ending[0]] = True
            return only
        packed = np.frombuffer(self._raw.compute_bitmask(), np.uint8)
        self._check()
        return np.unpackbits(packed, count=self._vocabulary.n_vocab, bitorder="little").view(np.bool_)

    def forced(self) -> list[int]:
        """Tokens that must come next, possibly none."""
        if self._ending:
            return list(self._ending)
        tokens: list[int] = self._raw.compute_ff_tokens()
        self._check()
        return tokens

    @property
    def accepting(self) -> bool:
        """The answer may end here."""
        return bool(self._raw.is_accepting())

    @property
    def stopped(self) -> bool:
        """The answer must end here."""
        return self._ended or bool(self._raw.is_stopped())

    def closing(self, limit: int) -> list[int] | None:
        """A shortest known way to a legal end in at most `limit` tokens, or None. Empty where the answer may end."""
        if self._ending:
            return list(self._ending) if len(self._ending) <= limit else None
        if self._way_out is None and self._committed < self._search_again and limit <= self._searched:
            return None
        if self._way_out is None and self._closers and not self.accepting:
            self._way_out = self._by_closers(limit)
        if self._way_out is None:
            self._way_out = shortest_closing(self._raw, self._vocabulary.closing_order, limit, self._json)
        if self._way_out is None:
            self._search_again, self._searched = self._committed + _SEARCH_EVERY, limit
        return list(self._way_out) if self._way_out is not None and len(self._way_out) <= limit else None

    def _by_closers(self, limit: int) -> list[int] | None:
        """The end that the closers lead to: as few of them as do, the last ones first."""
        ids = [self.ids_of(text.encode()) for text in self._closers]
        for first in range(len(ids) - 1, -1, -1):
            copy, path = self._along(ids[first:])
            if path and copy.is_accepting():
                return path if len(path) <= limit else None
        copy, path = self._along(ids)  # not quite there: a few tokens more may do
        rest = shortest_closing(copy, self._vocabulary.closing_order, 8, self._json)
        return path + rest if rest and len(path) + len(rest) <= limit else None

    def _along(self, texts: Sequence[list[int]]) -> tuple[Any, list[int]]:
        """Where the closers that are legal lead, one after the other, until the answer may end."""
        copy = self._raw.deep_copy()
        path: list[int] = []
        for ids in texts:
            if copy.validate_tokens(ids) == len(ids) and copy.consume_tokens(ids):
                path += ids
                if copy.is_accepting():
                    break
        return copy, path

    # -- used by DelayedMatcher --

    def text_of(self, tokens: Sequence[int]) -> bytes:
        """The bytes of these tokens."""
        data: bytes = self._vocabulary.tokenizer.decode_bytes([int(t) for t in tokens])
        return data

    def ids_of(self, data: bytes) -> list[int]:
        """Some token ids that spell these bytes; the grammar sees bytes, so any spelling does."""
        ids: list[int] = self._vocabulary.tokenizer.tokenize_bytes(data)
        return ids

    @property
    def vocabulary(self) -> GrammarVocabulary:
        """The tokens this matcher speaks of."""
        return self._vocabulary

    def _check(self) -> None:
        if self._raw.is_error():
            raise ConstraintRefused(
                f"The grammar became too complex while decoding: {_first_line(self._raw.get_error())}.",
                'Simplify the rule, or set enforce = "check".',
            )


class DelayedMatcher:
    """A grammar that starts behind a text such as ``</think>``; white space behind the text is free as well."""

    def __init__(self, inner: GrammarMatcher, after: str) -> None:
        self._inner = inner
        self._after = after.encode()
        self._seen = b""
        self._phase = 0
        """0: before the text; 1: behind it, only white space so far; 2: in the grammar."""
        self.notes = inner.notes

    def legal_prefix(self, tokens: Sequence[int]) -> int:
        """How many of these tokens may follow, in order."""
        if self._phase == 2:
            return self._inner.legal_prefix(tokens)
        seen, phase = self._seen, self._phase
        for i, token in enumerate(tokens):
            if token in self._inner.vocabulary.end_tokens:
                return i
            seen, phase, rest = self._step(seen, phase, self._inner.text_of([token]))
            if phase == 2:
                ids = self._inner.ids_of(rest)
                whole = ids + list(tokens[i + 1 :])
                legal = self._inner.legal_prefix(whole)
                return i if legal < len(ids) else i + 1 + legal - len(ids)
        return len(tokens)

    def commit(self, tokens: Sequence[int]) -> None:
        """The tokens were emitted."""
        for i, token in enumerate(tokens):
            if self._phase == 2:
                self._inner.commit(tokens[i:])
                return
            self._seen, self._phase, rest = self._step(self._seen, self._phase, self._inner.text_of([token]))
            if self._phase == 2:
                self._inner.commit(self._inner.ids_of(rest))

    def mask(self) -> NDArray[np.bool_]:
        """True for every token id that may come next."""
        if self._phase == 2:
            return self._inner.mask()
        vocabulary = self._inner.vocabulary
        if self._phase == 1:
            return self._inner.mask() | vocabulary.closing_order.white_space
        free = np.ones(vocabulary.n_vocab, np.bool_)
        free[list(vocabulary.end_tokens)] = False
        return free

    def forced(self) -> list[int]:
        """Tokens that must come next, possibly none."""
        return self._inner.forced() if self._phase == 2 else []

    @property
    def accepting(self) -> bool:
        """The answer may end here."""
        return self._phase > 0 and self._inner.accepting

    @property
    def stopped(self) -> bool:
        """The answer must end here."""
        return self._phase == 2 and self._inner.stopped

    def closing(self, limit: int) -> list[int] | None:
        """A short way to a legal end; before the text, this writes the text first."""
        before = self._inner.ids_of(self._after) if self._phase == 0 else []
        rest = self._inner.closing(limit - len(before)) if limit >= len(before) else None
        return None if rest is None else before + rest

    def _step(self, seen: bytes, phase: int, data: bytes) -> tuple[bytes, int, bytes]:
        if phase == 0:
            seen += data
            at = seen.find(self._after)
            if at < 0:
                return seen[-len(self._after) + 1 :] if len(self._after) > 1 else b"", 0, b""
            phase, data, seen = 1, seen[at + len(self._after) :], b""
        rest = data.lstrip()
        return seen, (2 if rest else 1), rest


def _is_a_matcher(matcher: GrammarMatcher | DelayedMatcher) -> Matcher:
    return matcher  # checked by mypy: both satisfy the protocol
