"""IFBench ``count:``. Numbers of words, keywords, digits, pronouns and marks."""

from __future__ import annotations

import re

from localllm.rules import treebank
from localllm.rules.checks.ifbench.kind import EDGES, bare, instruction, integer, plain_words
from localllm.rules.checks.kinds import CheckKind, Params

_PRONOUNS = frozenset(
    "i me we us you he him she her it they them my mine our ours your yours his hers its their theirs myself ourselves"
    " yourself yourselves himself herself itself themselves this that these those who whom whose which what whoever"
    " whomever whatever whichever anybody anyone anything everybody everyone everything nobody nothing somebody someone"
    " something each either neither both all some any none".split()
)
_CONJUNCTIONS = frozenset("for and nor but or yet so".split())


def _range(p: Params, text: str) -> tuple[bool, int]:
    n = len(re.findall(r"\w+", text))
    return integer(p["min_words"]) <= n <= integer(p["max_words"]), n


def _range_strict(p: Params, text: str) -> tuple[bool, int]:
    n = len(plain_words(text))
    return integer(p["min_words"]) <= n <= integer(p["max_words"]), n


def _unique(p: Params, text: str) -> tuple[bool, int]:
    n = len({w.strip(EDGES) for w in text.lower().split()})
    return n >= integer(p["N"]), n


def _unique_strict(p: Params, text: str) -> tuple[bool, int]:
    n = len({w.lower() for w in plain_words(text)})
    return n >= integer(p["N"]), n


def _numbers(p: Params, text: str) -> tuple[bool, int]:
    n = len(re.findall(r"\d+", bare(text)))
    return n == integer(p["N"]), n


def _numbers_strict(p: Params, text: str) -> tuple[bool, int]:
    n = len(re.findall(r"\b\d+(?:[.,:/-]\d+)*", text))
    return n == integer(p["N"]), n


_TIMES = (1, 2, 3, 5, 7)


def _wanted(p: Params) -> list[tuple[str, int]]:
    given = ((p[f"keyword{i}"], n) for i, n in enumerate(_TIMES, 1))
    return [(keyword.lower(), n) for keyword, n in given if keyword]


def _keywords(p: Params, text: str) -> bool:
    return all(text.lower().count(keyword) == n for keyword, n in _wanted(p))


def _keywords_strict(p: Params, text: str) -> bool:
    return all(len(re.findall(rf"\b{re.escape(k)}\b", text.lower())) == n for k, n in _wanted(p))


def _punctuation(p: Params, text: str) -> bool:
    if not any(mark in text for mark in ("!?", "?!", "‽")):
        return False
    rest = text.replace("?!", "", 1) if "?!" in text else text.replace("!?", "", 1)
    return all(c in rest for c in ".,!?;:")


def _conjunctions(p: Params, text: str) -> tuple[bool, int]:
    n = len({w for w in text.split() if w.strip(EDGES).lower() in _CONJUNCTIONS})
    return n >= integer(p["small_n"]), n


def _conjunctions_strict(p: Params, text: str) -> tuple[bool, int]:
    n = len({w.lower() for w in plain_words(text)} & _CONJUNCTIONS)
    return n >= integer(p["small_n"]), n


def _pronouns(p: Params, text: str) -> tuple[bool, int]:
    n = sum(token in _PRONOUNS for token in treebank.tokens(text.replace("/", " ").lower()))
    return n >= integer(p["N"]), n


def _japanese(p: Params, text: str) -> bool:
    n = max(1, integer(p["N"]))
    every = (w.strip(EDGES) for w in text.split()[n - 1 :: n])
    return all(not w or w.isdigit() or re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", w) for w in every)


KINDS: tuple[CheckKind, ...] = (
    instruction(
        "count:word_count_range",
        "a number of words in a range",
        _range,
        ("min_words", "max_words"),
        _range_strict,
    ),
    instruction("count:unique_word_count", "at least N different words", _unique, ("N",), _unique_strict),
    instruction("count:numbers", "exactly N numbers", _numbers, ("N",), _numbers_strict),
    instruction(
        "count:keywords_multiple",
        "keywords once, twice, 3, 5 and 7 times",
        _keywords,
        ("keyword1", "keyword2", "keyword3", "keyword4", "keyword5"),
        _keywords_strict,
    ),
    instruction("count:punctuation", "every standard mark and an interrobang", _punctuation),
    instruction(
        "count:conjunctions", "different coordinating conjunctions", _conjunctions, ("small_n",), _conjunctions_strict
    ),
    instruction("count:pronouns", "at least N pronouns", _pronouns, ("N",)),
    instruction("count:words_japanese", "every N-th word in Japanese", _japanese, ("N",)),
)
