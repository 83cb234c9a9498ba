"""The shortest known way to a legal end: how an answer is closed when its token budget runs out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CLOSERS = set(b'"}])')
_VALUES = (b"0", b"1", b'""', b"[]", b"{}", b"null", b"false", b"true")
_FREE = 1_000
"""More legal tokens than this mean free text (the inside of a string, say), not punctuation."""
_BLOCK = 512
_WIDTH, _BRANCH, _MASKS = 6, 8, 150
"""Width of the second search, tokens tried per position, and masks it may compute in all."""


@dataclass(frozen=True)
class ClosingOrder:
    """Token ids in the order in which a closing search tries them."""

    structure: NDArray[np.int32]
    """Between values: closing brackets first, then the smallest JSON values, then separators, then short tokens."""
    quotes: NDArray[np.int32]
    """Inside a JSON string: quotes first, with as many brackets behind them as possible."""
    quote: NDArray[np.int32]
    """In other free text that a quote may end: the quote alone first."""
    text: NDArray[np.int32]
    """In other free text: line end, full stop, a short word."""
    white_space: NDArray[np.bool_]
    """True for tokens of white space alone, shape (n_vocab,)."""
    spaced: NDArray[np.bool_]
    """True for tokens that begin with white space."""

    @staticmethod
    def of(pieces: Sequence[bytes]) -> ClosingOrder:
        """From the bytes of every token, by id."""
        return ClosingOrder(
            _sorted(pieces, _structure_rank),
            _sorted(pieces, _quote_rank),
            _sorted(pieces, lambda piece: (0, 0) if piece == b'"' else _text_rank(piece)),
            _sorted(pieces, _text_rank),
            np.array([bool(p) and not p.strip() for p in pieces], np.bool_),
            np.array([p[:1].isspace() for p in pieces], np.bool_),
        )


def _sorted(pieces: Sequence[bytes], rank: Any) -> NDArray[np.int32]:
    return np.array(sorted(range(len(pieces)), key=lambda t: (*rank(pieces[t]), t)), np.int32)


def _structure_rank(piece: bytes) -> tuple[int, int]:
    if not piece:
        return 9, 0
    if set(piece) <= _CLOSERS and piece[:1] != b'"':
        return 0, -len(piece)
    if piece in _VALUES:
        return 1, _VALUES.index(piece)
    if piece in (b", ", b",", b": ", b":"):
        return 2, -len(piece)
    return 3, len(piece)


def _quote_rank(piece: bytes) -> tuple[int, int]:
    if piece[:1] == b'"' and set(piece) <= _CLOSERS and b'"' not in piece[1:]:
        return 0, -len(piece)
    return _text_rank(piece)


def _text_rank(piece: bytes) -> tuple[int, int]:
    starts = (b"\n", b".", b" a", b"a", b" ")
    if piece in starts:
        return 1, starts.index(piece)
    return (9, 0) if not piece or not piece.isascii() else (2, len(piece))


def shortest_closing(
    raw: Any, closing_order: ClosingOrder, limit: int, json: bool, known: Sequence[int] = ()
) -> list[int] | None:
    """Tokens from the matcher's position to a position where it accepts; None when none was found in `limit`.

    A greedy walk first; where it runs out, a beam search of bounded work. `raw` is not changed.

    Args:
        raw: The `llguidance.LLMatcher`.
        closing_order: The vocabulary's tokens, best first.
        limit: Tokens at most.
        json: Free text is the inside of a JSON string, so that a quote ends it.
        known: A way out from near by, with the end token: where the walk can go on along it, or from its second token
            on, it does.
    """
    if raw.is_accepting():
        return []
    return _walk(raw.deep_copy(), closing_order, limit, json, known) or _beam(raw, closing_order, limit, json)


def _walk(
    matcher: Any, closing_order: ClosingOrder, limit: int, json: bool, known: Sequence[int] = ()
) -> list[int] | None:
    path: list[int] = []
    quoted = False
    while len(path) < limit:
        tokens = matcher.compute_ff_tokens()
        if not tokens:
            tokens, quoted = _candidates(matcher, closing_order, path, quoted, 1, json)
        if not tokens or not matcher.consume_tokens(tokens):
            return None
        path += tokens
        if matcher.is_accepting():
            return path if len(path) <= limit else None
        for rest in (list(known), list(known[1:])):
            if len(rest) > 1 and matcher.validate_tokens(rest) == len(rest):
                path += rest[:-1]
                return path if len(path) <= limit else None
    return None


def _beam(raw: Any, closing_order: ClosingOrder, limit: int, json: bool) -> list[int] | None:
    beam: list[tuple[list[int], bool, Any]] = [([], False, raw.deep_copy())]
    masks = 0
    while beam and masks < _MASKS:
        layers: list[list[tuple[list[int], bool, Any]]] = []
        for path, quoted, matcher in beam:
            forced = matcher.compute_ff_tokens()
            tokens: list[int] = []
            if not forced:
                tokens, quoted = _candidates(matcher, closing_order, path, quoted, _BRANCH, json)
            masks += 1
            grown = []
            for option in [forced] if forced else [[t] for t in tokens]:
                longer, copy = path + option, matcher.deep_copy()
                if len(longer) > limit or not copy.consume_tokens(option):
                    continue
                if copy.is_accepting():
                    return longer
                grown.append((longer, quoted, copy))
            layers.append(grown)
        # Take turns between the parents, so that one of them can't crowd out the others.
        turns = max((len(grown) for grown in layers), default=0)
        beam = [grown[i] for i in range(turns) for grown in layers if i < len(grown)][:_WIDTH]
    return None


def _candidates(
    matcher: Any, closing_order: ClosingOrder, path: list[int], quoted: bool, n: int, json: bool
) -> tuple[list[int], bool]:
    """The best tokens here, and whether free text was met whose end a quote has been tried on."""
    packed = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    if matcher.is_error():
        return [], False
    allowed = np.unpackbits(packed, count=len(closing_order.text), bitorder="little").view(np.bool_)
    free = int(np.count_nonzero(allowed)) > min(_FREE, len(allowed) // 4)
    in_text = closing_order.quotes if json else closing_order.text if quoted else closing_order.quote
    order = in_text if free else closing_order.structure
    found: list[int] = []
    for start in range(0, len(order), _BLOCK):  # the best mostly stand in the first block
        block = order[start : start + _BLOCK]
        found += block[allowed[block]].tolist()
        if len(found) > n:
            break
    del found[n + 1 :]
    if len(path) >= 2 and path[-1] == path[-2] and len(found) > 1 and found[0] == path[-1]:
        found = [*found[1:], found[0]]  # the same token a third time gets nowhere in most grammars
    return found[:n], free
