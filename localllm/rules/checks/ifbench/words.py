"""IFBench ``words:``. What the words are made of, and in which order they stand."""

from __future__ import annotations

import itertools
import re
from collections import Counter

from localllm.rules.checks.ifbench.kind import EDGES, bare, instruction, integer, plain_words, sentences
from localllm.rules.checks.kinds import CheckKind, Params

_PRIMES = frozenset(n for n in range(2, 100) if all(n % d for d in range(2, n)))


def _alphabet(p: Params, text: str) -> bool:
    first = [w[0] for w in bare(text).lower().split()]
    follows = all(ord(b) - 97 == (ord(a) - 96) % 26 for a, b in itertools.pairwise(first))
    return bool(first) and "a" <= first[0] <= "z" and follows


def _no_consecutive(p: Params, text: str) -> bool:
    return all(a[0] != b[0] for a, b in itertools.pairwise(bare(text.lower()).split()))


def _vowels(p: Params, text: str) -> bool:
    return "\n" not in text.strip() and len(set("aeiou") & set(text.lower())) <= 3


def _cluster(word: str) -> bool:
    return re.search(r"[bcdfghjklmnpqrstvwxyz]{2}", word.lower()) is not None


def _palindromes(p: Params, text: str) -> tuple[bool, int]:
    n = len([w for w in bare(text).lower().split() if len(w) >= 5 and w == w[::-1]])
    return n >= 10, n


def _repeats(p: Params, text: str) -> tuple[bool, int]:
    n = max(Counter(bare(text.lower()).split()).values(), default=0)
    return n <= integer(p["small_n"]), n


def _last_first(p: Params, text: str) -> bool:
    for before, after in itertools.pairwise(sentences(text)):
        last, first = before.rstrip(EDGES).split(), after.lstrip(EDGES).split()
        if not last or not first or last[-1].lower() != first[0].lower():
            return False
    return True


def _paragraph(p: Params, text: str) -> bool:
    rows = [row.strip().lower().strip(EDGES).split() for row in text.split("\n")]
    return all(row[0] == row[-1] for row in rows if row)


def _paragraph_strict(p: Params, text: str) -> bool:
    rows = [plain_words(row) for row in text.split("\n")]
    return all(row[0].lower() == row[-1].lower() for row in rows if row)


KINDS: tuple[CheckKind, ...] = (
    instruction("words:alphabet", "words in alphabetical order of their first letters", _alphabet),
    instruction("words:no_consecutive", "no two words in a row with the same first letter", _no_consecutive),
    instruction("words:vowel", "one paragraph with three kinds of vowels at most", _vowels),
    instruction(
        "words:consonants",
        "a consonant cluster in each word",
        lambda p, text: all(_cluster(w) for w in text.split()),
        strict=lambda p, text: all(_cluster(w) for w in plain_words(text)),
    ),
    instruction("words:palindrome", "ten palindromes", _palindromes),
    instruction(
        "words:prime_lengths",
        "words of prime length",
        lambda p, text: all(len(w) in _PRIMES for w in bare(text).split()),
    ),
    instruction("words:repeats", "no word more often than N times", _repeats, ("small_n",)),
    instruction("words:last_first", "each sentence begins with the last word of the one before", _last_first),
    instruction(
        "words:paragraph_last_first",
        "each paragraph ends with its first word",
        _paragraph,
        strict=_paragraph_strict,
    ),
)
