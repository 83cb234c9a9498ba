"""IFEval ``change_case:``. Capitals and lower case."""

from __future__ import annotations

from localllm.rules import language, segments, treebank
from localllm.rules.checks.benchmark import strict
from localllm.rules.checks.ifeval.kind import NUMBER, RELATION, compare, instruction
from localllm.rules.checks.kinds import CheckKind, Fragment, Params
from localllm.rules.checks.words import ANY


def _capital_words(p: Params, text: str) -> tuple[bool, int]:
    if strict(p):
        n = sum(text[a:b].isupper() and b - a > 1 for a, b in segments.words(text))
    else:
        n = sum(t.isupper() for t in treebank.tokens(text))
    return compare(n, p["capital_relation"], p["capital_frequency"]), n


def _upper(p: Params, text: str) -> bool:
    return text.isupper() and language.is_english(text)


def _lower(p: Params, text: str) -> bool:
    return text.islower() and language.is_english(text)


def _capitals_grammar(p: Params) -> list[Fragment]:
    n = p["capital_frequency"]
    if p["capital_relation"] != "less than" or not 1 <= n <= 40:
        return []
    word = r"[A-Z][A-Z.]*"
    return [
        Fragment(rf"({ANY}[^\w'.-])?({word}[^\w'.-]({ANY}[^\w'.-])?){{{n - 1}}}{word}([^\w'.-]{ANY})?", negated=True)
    ]


def _capitals_fix(p: Params, text: str) -> str | None:
    if p["capital_relation"] == "less than":
        return None
    missing = p["capital_frequency"] - int(_capital_words(p, text)[1])
    for start, end in sorted(segments.words(text), key=lambda s: s[0] - s[1]):
        if missing <= 0:
            break
        if not text[start:end].isupper() and text[start:end].upper().isupper() and end - start > 1:
            text = text[:start] + text[start:end].upper() + text[end:]
            missing -= 1
    return text


KINDS: tuple[CheckKind, ...] = (
    instruction(
        "change_case:capital_word_frequency",
        _capital_words,
        {"capital_frequency": NUMBER, "capital_relation": RELATION},
        lambda p: f"Write {p['capital_relation']} {p['capital_frequency']} words in capitals.",
        _capitals_grammar,
        _capitals_fix,
    ),
    instruction(
        "change_case:english_capital",
        _upper,
        {},
        lambda p: "Answer in English and in capital letters only.",
        None,
        lambda p, t: t.upper(),
    ),
    instruction(
        "change_case:english_lowercase",
        _lower,
        {},
        lambda p: "Answer in English and in lower case only.",
        lambda p: [Fragment(r"[^\p{Lu}]*")],
        lambda p, t: t.lower(),
    ),
)
