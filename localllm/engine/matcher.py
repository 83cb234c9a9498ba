"""GrammarMatcher: one answer's position in a compiled grammar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localllm.engine.closing import shortest_closing
from localllm.engine.json_position import JsonPosition
from localllm.engine.repeats import Repeats
from localllm.engine.vocabulary import GrammarVocabulary
from localllm.errors import ConstraintRefused

_SEARCH_EVERY = 12
"""Tokens until a search for an end is tried again that found none, and twice as many after each that finds none: a
search costs as much as several tokens."""

_MOST_SKIPPED = 16
"""Tokens of a way out that the model may have replaced by its own."""

_MAX_CLOSER = 400
"""Tokens that closers may take."""

_STOPS = (".", "!", "?")

_MAX_LAST = 8
"""Tokens that may follow the last word of a text whose words are counted: a full stop, closing quotes."""


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
        most_words: int = 0,
        repeats: Repeats | None = None,
    ) -> None:
        self.notes = notes
        self.vocabulary = vocabulary
        self.position = JsonPosition() if json else None
        self._raw = raw
        self._json = json
        self._closers = closers
        self._most_words, self._n_words, self._in_word = most_words, 0, False
        self._repeats = repeats
        self._stopped = False
        """The text ends with a stop."""
        self._end = vocabulary.end_tokens[0]
        self._due: list[int] = []
        """Tokens that were decided on and come next."""
        self._due_ends = False
        """The answer is over behind them."""
        self._ended = False
        self._committed = 0
        self._search_again = 0
        self._searched = 0
        self._patience = _SEARCH_EVERY
        self._wish_again = 0
        self._way: list[int] | None = None
        self._behind = b""
        """What was committed since the way out was known to be one."""
        self._refused: int | None = None
        """What the model chose at this position and may not have."""
        self._next: tuple[int, list[int]] | None = None
        """A token that may be committed next, and the way out behind it."""

    def legal_prefix(self, tokens: Sequence[int]) -> int:
        """How many of these tokens may follow, in order. End tokens are legal where the answer may end.

        A single end token that is refused is a wish to end: where the spec names closers that lead to a legal end, the
        matcher allows nothing else from here on, and stops there.
        """
        if self._due:
            ahead = self._due[: len(tokens)]
            return next((i for i, (a, b) in enumerate(zip(ahead, tokens, strict=False)) if a != b), len(ahead))
        legal = int(self._raw.validate_tokens(list(tokens)))
        if legal == len(tokens):
            return legal
        self._check()
        if len(tokens) == 1:
            self._refused = tokens[0]
        wishes_to_end = legal == 0 and len(tokens) == 1 and tokens[0] in self.vocabulary.end_tokens
        if self._closers and wishes_to_end and self._committed >= self._wish_again:
            self._decide(self._by_closers(self._raw, _MAX_CLOSER) or [], ends=True)
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
        ahead = ids
        if self._next is not None and ids[0] == self._next[0]:
            self._way, self._behind, ahead = self._next[1], b"", ids[1:]
        self._next = self._refused = None
        self._committed += len(ids)
        if self._way is not None:
            if not self._behind and self._way[: len(ahead)] == ahead:
                self._way = self._way[len(ahead) :]
            else:
                self._behind += self.vocabulary.bytes_of(ahead)
        if self._due:
            follows = self._due[: len(ids)] == ids
            self._due = self._due[len(ids) :] if follows else []
            self._ended = follows and not self._due and self._due_ends
        if not self._raw.consume_tokens(ids):
            raise ConstraintRefused(f"The answer left the grammar: {first_line(self._raw.get_error())}.")
        if self.position is not None:
            for token in ids:
                self.position.feed(self.vocabulary.bytes_of((token,)))
        if self._most_words or self._closers or self._repeats:
            written = self.vocabulary.bytes_of(ids)
            if self._repeats:
                self._repeats.write(written)
            self._count_words(written)
            self._stopped = written.endswith((b".", b"!", b"?")) if written else self._stopped

    def _count_words(self, written: bytes) -> None:
        parts = written.split()
        self._n_words += len(parts) - (self._in_word and bool(parts) and not written[:1].isspace())
        self._in_word = not written[-1:].isspace() if written else self._in_word

    @property
    def words_left(self) -> int | None:
        """Words that may still begin; None where they are not counted."""
        return max(0, self._most_words - self._n_words) if self._most_words else None

    def mask(self) -> NDArray[np.bool_]:
        """True for every token id that may come next, shape (n_vocab,).

        A mask is asked for where the model's own choice was refused. Where that may stand in another case it does: text
        in lower case is the model's own text. Where words are counted and no other may begin, it wanted another one:
        only the end is allowed then, or else the last word would grow ("Once upon atime").
        """
        if self._due:
            return self._only(self._due[:1])
        packed = np.frombuffer(self._raw.compute_bitmask(), np.uint8)
        self._check()
        allowed = np.unpackbits(packed, count=self.vocabulary.n_vocab, bitorder="little").view(np.bool_)
        if other := self._in_other_case():
            self._decide(other, ends=False)
            return self._only(other[:1])
        if self._most_words and self._in_word and not allowed[self.vocabulary.closing_order.spaced].any():
            way = self.closing(_MAX_LAST)
            if way is not None:
                self._decide(way, ends=True)
                return self._only(way[:1] or self.vocabulary.end_tokens)
        return allowed

    def _decide(self, tokens: list[int], *, ends: bool) -> None:
        self._due, self._due_ends = tokens, ends

    def _in_other_case(self) -> list[int]:
        """The refused token in lower or in upper case, where that may stand; else nothing."""
        if self._json or self._refused is None or self._refused in self.vocabulary.end_tokens:
            return []
        text = self.vocabulary.bytes_of((self._refused,)).decode("utf-8", "replace")
        for other in (text.lower(), text.upper()):
            ids = self.vocabulary.ids_of(other.encode()) if other != text else []
            if ids and self._raw.validate_tokens(ids) == len(ids):
                return ids
        return []

    def _only(self, tokens: Sequence[int]) -> NDArray[np.bool_]:
        only = np.zeros(self.vocabulary.n_vocab, np.bool_)
        only[list(tokens)] = True
        return only

    def forced(self) -> list[int]:
        """Tokens that must come next, possibly none; a limit that was exceeded shows at the token after."""
        return list(self._due) if self._due else self._raw.compute_ff_tokens()

    @property
    def accepting(self) -> bool:
        """The answer may end here."""
        return bool(self._raw.is_accepting())

    @property
    def stopped(self) -> bool:
        """The answer must end here."""
        return self._ended or bool(self._raw.is_stopped())

    def repeats(self, token: int) -> bool:
        """This legal token goes on with a loop where the answer may not end; what was decided on never does."""
        if self._repeats is None or self._due or token in self.vocabulary.end_tokens:
            return False
        return self._repeats.goes_on(self.vocabulary.bytes_of((token,))) and not self.accepting

    def closing(self, limit: int) -> list[int] | None:
        """A shortest known way to a legal end in at most `limit` tokens, or None. Empty where the answer may end."""
        if self._due and self._due_ends:
            return list(self._due) if len(self._due) <= limit else None
        if self.accepting:
            return []
        way = self._known_way()
        if way is not None and len(way) <= limit:
            return list(way)
        if self._committed < self._search_again and limit <= self._searched:
            return None
        way = self._search(self._raw, limit)
        if way is None:
            self._search_again, self._searched = self._committed + self._patience, limit
            self._patience *= 2
            return None
        self._way, self._behind, self._patience = way, b"", _SEARCH_EVERY
        return list(way)

    def closing_after(self, token: int, limit: int) -> list[int] | None:
        """What `closing` would be once this legal token was committed."""
        if self._due and self._due_ends:
            rest = self._due[1:] if self._due[0] == token else None
            return rest if rest is not None and len(rest) <= limit else None
        way = [] if self.accepting else self._known_way()
        found = None if way is None else self._rest_of(way, self.vocabulary.bytes_of((token,)), (token,))
        if found is None:
            copy = self._raw.deep_copy()
            if not copy.consume_tokens([token]):
                return None
            found = [] if copy.is_accepting() else self._search(copy, limit)
        if found is None or len(found) > limit:
            return None
        self._next = token, found
        return list(found)

    def token_of(self, text: bytes) -> int | None:
        """The token that stands for these bytes alone, if there is one."""
        ids = self.vocabulary.ids_of(text)
        return ids[0] if len(ids) == 1 else None

    def _known_way(self) -> list[int] | None:
        """The way out that was found before, as far as it is still to go; None where it leads nowhere any more."""
        if self._way is not None and self._behind:
            self._way, self._behind = self._rest_of(self._way, self._behind), b""
        return self._way

    def _rest_of(self, way: list[int], written: bytes, tokens: Sequence[int] = ()) -> list[int] | None:
        """What of a way out remains once `written` was written, which may stand on it or not.

        `tokens` are those of `written` that are not committed yet. Inside a string, say, the whole way remains; behind
        a value that the model chose, the way behind the value that the search chose.
        """
        at = 0
        for i, token in enumerate(way):
            piece = self.vocabulary.bytes_of((token,))
            if at == len(written) or not (written.startswith(piece, at) or piece.startswith(written[at:])):
                break
            if at + len(piece) > len(written):
                rest = [*self.vocabulary.ids_of(piece[len(written) - at :]), *way[i + 1 :]]
                if self._leads_to_end([*tokens, *rest]):
                    return rest
                break
            at += len(piece)
        most = min(len(way), _MOST_SKIPPED)  # of a text, the shortest part that still ends it is enough
        for skipped in range(most + 1) if self._json else range(most, -1, -1):
            if self._leads_to_end([*tokens, *way[skipped:]]):
                return way[skipped:]
        return None

    def _leads_to_end(self, tokens: list[int]) -> bool:
        return bool(self._raw.validate_tokens([*tokens, self._end]) == len(tokens) + 1)

    def _search(self, raw: Any, limit: int) -> list[int] | None:
        found = self._by_closers(raw, limit) if self._closers else None
        known = [*self._way, self._end] if self._json and self._way else ()
        return found or shortest_closing(raw, self.vocabulary.closing_order, limit, self._json, known)

    def _by_closers(self, raw: Any, limit: int) -> list[int] | None:
        """The end that the closers lead to: as few of them as do, the last ones first."""
        texts = [(text, self.vocabulary.ids_of(text.encode())) for text in self._closers]
        for first in range(len(texts) - 1, -1, -1):
            copy, path = _along(raw, texts[first:], self._stopped)
            if path and copy.is_accepting():
                return path if len(path) <= limit else None
        copy, path = _along(raw, texts, self._stopped)  # not quite there: a few tokens more may do
        rest = shortest_closing(copy, self.vocabulary.closing_order, 8, self._json)
        return path + rest if rest and len(path) + len(rest) <= limit else None

    def _check(self) -> None:
        if self._raw.is_error():
            raise ConstraintRefused(
                f"The grammar became too complex while decoding: {first_line(self._raw.get_error())}.",
                'Simplify the rule, or set enforce = "check".',
            )


def _along(raw: Any, texts: Sequence[tuple[str, list[int]]], stopped: bool) -> tuple[Any, list[int]]:
    """Where the closers that are legal lead, one after the other, until the answer may end; no stop behind a stop."""
    copy = raw.deep_copy()
    path: list[int] = []
    for text, ids in texts:
        if text == "." and stopped:
            continue
        if copy.validate_tokens(ids) == len(ids) and copy.consume_tokens(ids):
            path += ids
            stopped = text.endswith(_STOPS)
            if copy.is_accepting():
                break
    return copy, path


def first_line(text: str) -> str:
    """The line of a message of llguidance that says what is wrong."""
    lines = text.strip().split("\n")
    first = lines[0]
    if first.endswith(":"):  # a regex error: what is wrong stands further down
        first += " " + next((line.removeprefix("error:").strip() for line in lines if line.startswith("error:")), "")
    return first[:300].rstrip(".")
