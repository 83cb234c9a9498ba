"""IFEval ``keywords:``. Keywords, forbidden words and letters."""

from __future__ import annotations

import re
from collections import Counter

from localllm.rules.checks.benchmark import strict
from localllm.rules.checks.ifeval.kind import NUMBER, RELATION, TEXT, TEXTS, compare, count_grammar, instruction
from localllm.rules.checks.kinds import CheckKind, Fragment, Params
from localllm.rules.checks.words import EDGE, avoids, contains, pattern_of, rust_literal


def _existence(p: Params, text: str) -> bool:
    if strict(p):
        return all(pattern_of(k).search(text) for k in p["keywords"])
    return all(re.search(k, text, re.IGNORECASE) for k in p["keywords"])


def _frequency(p: Params, text: str) -> tuple[bool, int]:
    found = (
        pattern_of(p["keyword"]).findall(text) if strict(p) else re.findall(p["keyword"].strip(), text, re.IGNORECASE)
    )
    return compare(len(found), p["relation"], p["frequency"]), len(found)


def _forbidden(p: Params, text: str) -> bool:
    if strict(p):
        return not any(pattern_of(w).search(text) for w in p["forbidden_words"])
    return not any(re.search(r"\b" + w + r"\b", text, re.IGNORECASE) for w in p["forbidden_words"])


def _letters(p: Params, text: str) -> tuple[bool, int]:
    n = Counter(text.lower())[p["letter"].lower()]
    return compare(n, p["let_relation"], p["let_frequency"]), n


def _append(words: list[str], text: str) -> str:
    return f"{text.rstrip()} ({', '.join(words)})" if words else text


def _existence_fix(p: Params, text: str) -> str | None:
    return _append([k for k in p["keywords"] if not pattern_of(k).search(text)], text)


KINDS: tuple[CheckKind, ...] = (
    instruction(
        "keywords:existence",
        _existence,
        {"keywords": TEXTS},
        lambda p: f"Use the words {', '.join(p['keywords'])}.",
        lambda p: [Fragment(contains([k])) for k in p["keywords"][:5]],
        _existence_fix,
    ),
    instruction(
        "keywords:frequency",
        _frequency,
        {"keyword": TEXT, "frequency": NUMBER, "relation": RELATION},
        lambda p: f"Use the word {p['keyword']} {p['relation']} {p['frequency']} times.",
        lambda p: count_grammar(
            f"(?i:{rust_literal(p['keyword'])})"
            if p["relation"] == "less than"
            else rf"{EDGE}(?i:{rust_literal(p['keyword'])}){EDGE}",
            p["frequency"],
            p["relation"] == "less than",
            10,
        ),
    ),
    instruction(
        "keywords:forbidden_words",
        _forbidden,
        {"forbidden_words": TEXTS},
        lambda p: f"Do not use the words {', '.join(p['forbidden_words'])}.",
        lambda p: avoids(p["forbidden_words"]),
    ),
    instruction(
        "keywords:letter_frequency",
        _letters,
        {"letter": TEXT, "let_frequency": NUMBER, "let_relation": RELATION},
        lambda p: f"Use the letter {p['letter']} {p['let_relation']} {p['let_frequency']} times.",
        lambda p: count_grammar(
            f"(?i:{rust_literal(p['letter'])})", p["let_frequency"], p["let_relation"] == "less than", 60
        ),
    ),
)
