"""NgramDrafter: drafts by looking up what followed the last words before.

Answers from documents quote, and edits of code repeat: long stretches of the answer stand already in the prompt, in a
passage, or in an earlier answer. The idea is that of prompt lookup decoding, with an index in place of a search: a
few n-gram lengths are hashed to their last place, so appending a token and looking one up cost the same however long
the text is. (See also the n-gram types of llama.cpp, and SuffixDecoding, arXiv 2411.04975, for length by match.)
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence

ORDERS = (12, 6, 4, 3, 2)
"""Lengths of the n-grams in the index, tried from the longest."""

_BARRIER = -1
"""Stands between texts; no token has this id, so that no match reaches across."""
_MOST_EARLIER = 4096
"""Tokens of earlier answers that are kept."""
_MOST_CORPUS = 16384
"""Tokens of passages that are indexed."""
_LONGEST_MATCH = 96
"""Matches are counted up to this length; longer ones are no surer."""
_WINDOW = 48.0
"""Trials that a class remembers; older ones fade."""
_UNLIMITED = 1 << 60
_CLASSES = (2, 3, 4, 5, 6, 8, 12, 16, 32, 64)
"""Upper bounds of the classes of match length; one more is open."""


class NgramDrafter:
    """Copies from the prompt, the answer so far, texts beside the prompt, and earlier answers.

    Its confidence in a token is how often a match of that length into that kind of text was right, learned as it goes
    and free of charge: every token of an answer tells whether the match before it would have been right.

    Args:
        never: Tokens that no draft contains, such as the marks between the messages of a chat: the prompt is full of
            them, and what follows a word at the end of a question there never follows it in an answer.
    """

    name = "ngram"

    def __init__(self, never: Collection[int] = ()) -> None:
        self._never = frozenset((*never, _BARRIER))
        self._text: list[int] = []
        self._index: dict[int, int] = {}
        self._corpus: list[list[int]] = []
        self._earlier: list[int] = []
        self._stale = True
        self._main = 0
        """Where prompt and answer start; texts before are the corpus and earlier answers."""
        self._prompt_length = 0
        self._read = 0
        """Tokens of the context that are in the text."""
        self._at = -1
        """Place in the text that is expected to continue the context; -1 without a match."""
        self._matched = 0
        self._confidences: list[float] = []
        # [kind of text][class of match length]; priors rise with the length of the match
        self._hits = [[_prior(i) * 2.0 for i in range(len(_CLASSES) + 1)] for _ in range(3)]
        self._trials = [[2.0] * (len(_CLASSES) + 1) for _ in range(3)]

    def read(self, corpus: Sequence[Sequence[int]]) -> None:
        """Texts that the next answer may copy from; they replace those of the answer before."""
        texts, room = [], _MOST_CORPUS
        for text in corpus:
            texts.append(list(text[:room]))
            room -= len(texts[-1])
        if texts != self._corpus:
            self._corpus, self._stale = texts, True

    def begin(self, prompt: Sequence[int]) -> None:
        """A new answer starts behind this prompt; where it goes on from the last answer, only the rest is indexed."""
        before = self._text[self._main :]
        if self._stale or list(prompt[: len(before)]) != before:
            if answer := before[self._prompt_length :]:
                self._earlier = [*self._earlier, _BARRIER, *answer][-_MOST_EARLIER:]
            self._text, self._index, self._read, self._stale = [], {}, 0, False
            self._prompt_length = _UNLIMITED
            self._at = -1
            for part in (self._earlier, *self._corpus):
                for token in part:
                    self._append(token)
                self._append(_BARRIER)
            self._main = len(self._text)
        self._prompt_length = _UNLIMITED  # nothing is learned from the prompt: it is not the model's own text
        self._catch_up(prompt)
        self._prompt_length = len(prompt)

    def propose(self, context: Sequence[int], k: int) -> list[int]:
        """At most `k` tokens that followed the longest known match of the context's end.

        The draft is no longer than twice the match and a bit: a short match seldom holds on for long.
        """
        self._catch_up(context)
        self._confidences = []
        if self._at < 0:
            return []
        text, start = self._text, self._at
        wanted = min(k, 2 * self._matched + 2)
        draft = text[start : start + wanted]
        period = len(text) - start
        while len(draft) < wanted:  # the match runs into the end of the text: what repeats goes on repeating
            draft.append(draft[len(draft) - period])
        if not self._never.isdisjoint(draft):
            del draft[next(i for i, token in enumerate(draft) if token in self._never) :]
        kind = self._kind(start)
        hits, trials = self._hits[kind], self._trials[kind]
        for length in range(self._matched, self._matched + len(draft)):
            c = _class(length)
            self._confidences.append(hits[c] / trials[c])
        return draft

    def confidence(self) -> Sequence[float]:
        """The chance of each token of the last proposal, given those before it."""
        return self._confidences

    def observe(self, accepted: Sequence[int], n_drafted_accepted: int) -> None:
        """Nothing to do: the next proposal reads the tokens from the context, and learns from every one."""

    def close(self) -> None:
        """Forget everything."""
        self._text, self._index, self._earlier, self._corpus = [], {}, [], []
        self._at, self._read, self._prompt_length, self._main, self._stale = -1, 0, 0, 0, True

    # ---- the index ----

    def _catch_up(self, context: Sequence[int]) -> None:
        for i in range(self._read, len(context)):
            self._append(context[i])
        self._read = len(context)

    def _append(self, token: int) -> None:
        """Add one token: follow the match or look for a new one, then index the n-grams that end here."""
        text, at = self._text, self._at
        follows = False
        if at >= 0:
            follows = text[at] == token
            if len(text) >= self._main + self._prompt_length and text[at] not in self._never:
                self._learn(self._kind(at), _class(self._matched), follows)
        text.append(token)
        if token == _BARRIER:
            self._at, self._matched = -1, 0
            return
        n = len(text)
        index = self._index
        found = -1
        for order in ORDERS:
            if order > n:
                continue
            key = hash((order, *text[n - order :]))
            if found < 0 and not (follows and order <= self._matched):
                found = index.get(key, -1)
            index[key] = n
        if follows:
            self._at, self._matched = at + 1, min(self._matched + 1, _LONGEST_MATCH)
            if found < 0:
                return
        if found >= 0:
            length = self._measure(found)
            if length > (self._matched if follows else 1):
                self._at, self._matched = found, length
                return
        if not follows:
            self._at, self._matched = -1, 0

    def _learn(self, kind: int, c: int, hit: bool) -> None:
        hits, trials = self._hits[kind], self._trials[kind]
        if trials[c] >= _WINDOW:
            trials[c] *= 0.5
            hits[c] *= 0.5
        trials[c] += 1.0
        hits[c] += hit

    def _measure(self, at: int) -> int:
        """How many tokens before `at` equal the end of the text."""
        text = self._text
        end = len(text)
        length = 0
        while length < _LONGEST_MATCH and length < at:
            token = text[at - 1 - length]
            if token != text[end - 1 - length] or token == _BARRIER:
                break
            length += 1
        return length

    def _kind(self, at: int) -> int:
        """0: texts beside the prompt and earlier answers, 1: the prompt, 2: this answer."""
        if at < self._main:
            return 0
        return 1 if at < self._main + self._prompt_length else 2


def _class(length: int) -> int:
    return bisect_left(_CLASSES, length)


def _prior(i: int) -> float:
    return (0.3, 0.45, 0.6, 0.7, 0.75, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99)[i]
