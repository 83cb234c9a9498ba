"""Reserve: keeps room in the token budget for a legal end of an answer under a constraint.

A way to the end is searched for while the budget is still large, and again at intervals that shrink with the room that
is left. In the last `_TIGHT` tokens of it every token is tried first: one behind which no end would fit is not taken,
the end is. So an answer whose end once fitted is ended legally, and what is left is used to its last token. Only where
a token opens more than that between two searches (one of 10,000 random answers on single bytes) it is cut off, and that
is said.

In JSON, what is still to come gets its share: of N values that must follow, none loses all its tokens to a string
before them that does not end.
"""

from __future__ import annotations

from collections.abc import Callable

from localllm.engine.json_position import Open, values_behind
from localllm.engine.protocol import LONGEST_LIST, LONGEST_STRING, Matcher

_TIGHT = 64
"""Tokens of room from which on every token is tried: one may open an object, and most objects end in fewer."""

_LAST_SENTENCE = 48
"""Text whose end is near ends behind a sentence, if one ends within this many tokens: two sentences of most kinds."""

_LAST_WORDS = 15
"""Words of an average sentence: where fewer may follow, a text whose words are counted ends with the one that ended."""

_LAST_WORD = 6
"""Text whose end is near ends before a word that begins within this many tokens: it might not be finished."""

_SHORT = {'"': 16, "[": 48, "{": 96}
"""Tokens that a string, an array or an object has in any case."""

_SENTENCE, _WORD = 0.75, 0.9
"""Parts of its share from which on a string ends behind a sentence, and then behind a word."""


class Reserve:
    """Watches over the budget of one answer.

    Args:
        matcher: The constraint at the answer's position.
        budget: Tokens of the answer at most.
        piece: The bytes of a token.
    """

    def __init__(self, matcher: Matcher, budget: int, piece: Callable[[int], bytes]) -> None:
        self._matcher, self._piece = matcher, piece
        self._check = max(512, budget // 2)
        """Tokens left when a way out is looked for again."""
        self._tight = False
        self._room = budget
        """Tokens left beyond those of the way out, when it was last looked for."""
        self._rest: list[int] = []
        self._sentence_ended = False
        self._spaced = False
        """White space follows the last black character: a closing quote would hang in the air."""
        self.closing = False
        """The end was decided on; nothing but its tokens follow."""
        self.n_shortened = 0
        """Strings, arrays and objects that were ended at their share."""

    def ending(self, left: int) -> list[int]:
        """Tokens that end the answer, when it has to be ended now; usually none.

        Args:
            left: Tokens that may still come.
        """
        if self.closing:
            rest, self._rest = self._rest, []
            return rest
        if left > self._check:
            return []
        way = self._matcher.closing(left)
        if way is None:
            self._check, self._tight = left - 1, False
            return []
        room = self._room = left - len(way)
        self._tight = room <= _TIGHT
        behind_sentence = self._sentence_ended and not self._spaced and self._matcher.position is None
        if way and (room <= 0 or (room <= _LAST_SENTENCE and behind_sentence)):
            self.closing = True
            return way
        self._check = left - (1 if self._tight else max(1, (room - _TIGHT) // 3))
        return []

    def choose(self, token: int, left: int) -> int | None:
        """The token to take instead of a legal one, mostly the same; None where the answer ends here.

        Args:
            token: Legal at this position.
            left: Tokens that may still come, this one included.
        """
        token = self._in_its_share(token, left)
        if self._sentence_ended and self._is_last_sentence(token):
            return None
        if self._tight and (self._is_last_word(token) or self._matcher.closing_after(token, left - 1) is None):
            way = self._matcher.closing(left)
            if way is not None:
                self.closing = True
                self._rest = way[1:]
                return way[0] if way else None
        if self._matcher.position is None:
            text = self._piece(token)
            self._spaced = text[-1:].isspace()
            if text.strip():
                self._sentence_ended = text.rstrip()[-1:] in (b".", b"!", b"?")
        return token

    def _is_last_sentence(self, token: int) -> bool:
        """It begins a sentence that will hardly fit into the words that are left, and the text may end before it."""
        words = self._matcher.words_left
        return words is not None and words < _LAST_WORDS and self._matcher.accepting and self._begins_word(token)

    def _begins_word(self, token: int) -> bool:
        return self._piece(token)[:1].isspace()

    def _is_last_word(self, token: int) -> bool:
        """It begins a word of a text whose end is near; where the text may end as it is, its budget ends it."""
        free = self._matcher.position is None and not self._matcher.accepting
        return free and self._room <= _LAST_WORD and self._begins_word(token)

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be said about the answer."""
        found = []
        if self.n_shortened:
            what = "One value was" if self.n_shortened == 1 else f"{self.n_shortened} values were"
            found.append(f"{what} ended early, so that the token budget lasts for the rest of the JSON.")
        if self.closing:
            found.append("The token budget ran out: the answer was closed early, its end may be filler.")
        return tuple(found)

    # ---- shares of JSON values ----

    def _in_its_share(self, token: int, left: int) -> int:
        position = self._matcher.position
        if position is None or not position.open:
            return token
        here, piece = position.open[-1], self._piece(token)
        at, depth = position.comma(piece)
        if at >= 0 and depth and self._is_used_up(position.open[depth - 1], left):
            if before := piece[:at].strip():
                return self._end(before, token)
            self.n_shortened += (ended := self._end(b"]" if here.kind == "[" else b"}", token)) != token
            return ended
        if here.kind != '"' or position.ends_string(piece):
            return token
        used = position.used(here)
        if used < _SHORT['"']:
            return token
        share = self._share(here, left)
        new_word = piece[:1] in (b" ", b"\\")
        if (
            used >= share
            or (used >= _WORD * share and new_word)
            or (used >= _SENTENCE * share and new_word and position.sentence_ended)
        ):
            self.n_shortened += (ended := self._end(b'"', token)) != token
            return ended
        return token

    def _is_used_up(self, thing: Open, left: int) -> bool:
        position = self._matcher.position
        assert position is not None
        used = position.used(thing)
        return used >= _SHORT[thing.kind] and used >= _SENTENCE * self._share(thing, left)

    def _share(self, thing: Open, left: int) -> int:
        """Tokens for one value: what is free, divided among it and those that must follow."""
        if not thing.share:
            position = self._matcher.position
            assert position is not None
            most = {'"': LONGEST_STRING, "[": LONGEST_LIST, "{": 1 << 30}[thing.kind]
            way = self._matcher.closing(left)
            if way is not None:
                in_string = position.open[-1].kind == '"'
                levels = len(position.open) - position.open.index(thing) - in_string
                behind = values_behind(b"".join(map(self._piece, way)), in_string, levels)
                most = min(most, position.used(thing) + (left - len(way)) // (behind + 1))
            thing.share = max(_SHORT[thing.kind], most)
        return thing.share

    def _end(self, text: bytes, token: int) -> int:
        """The token of `text`, if it may stand here."""
        found = self._matcher.token_of(text)
        return token if found is None or not self._matcher.legal_prefix((found,)) else found
