"""IFEval ``length_constraints:``. How many sentences, paragraphs and words; what a paragraph begins with."""

from __future__ import annotations

import re

from localllm.rules import punkt, segments
from localllm.rules.checks.benchmark import strict
from localllm.rules.checks.ifeval.kind import NUMBER, RELATION, TEXT, compare, instruction
from localllm.rules.checks.ifeval.stars import NO_STARS
from localllm.rules.checks.kinds import CheckKind, Fragment, Params
from localllm.rules.checks.words import ANY, rust_literal


def _sentences(p: Params, text: str) -> tuple[bool, int]:
    n = len(segments.sentences(text) if strict(p) else punkt.sentences(text))
    return compare(n, p["relation"], p["num_sentences"]), n


def _paragraphs(p: Params, text: str) -> tuple[bool, int]:
    parts = re.split(r"^[ \t]*\*{3}[ \t]*$", text, flags=re.M) if strict(p) else re.split(r"\s?\*\*\*\s?", text)
    blank = [i for i, part in enumerate(parts) if not part.strip()]
    n = len(parts) - len({i for i in blank if i in (0, len(parts) - 1)})
    return not any(0 < i < len(parts) - 1 for i in blank) and n == p["num_paragraphs"], n


def _words(p: Params, text: str) -> tuple[bool, int]:
    n = len(segments.words(text)) if strict(p) else len(re.findall(r"\w+", text))
    return compare(n, p["relation"], p["num_words"]), n


def _nth_paragraph(p: Params, text: str) -> tuple[bool, str]:
    if strict(p):
        blocks = [text[a:b] for a, b in segments.paragraphs(text)]
        nth = p["nth_paragraph"]
        words = re.findall(r"[\w'’-]+", blocks[nth - 1]) if nth <= len(blocks) else []
        first = words[0].lower() if words else ""
        return len(blocks) == p["num_paragraphs"] and first == p["first_word"].lower(), first
    parts = text.split("\n\n")
    n = sum(bool(part.strip()) for part in parts)
    if p["nth_paragraph"] > n or not (block := parts[p["nth_paragraph"] - 1].strip()):
        return False, ""
    word = block.split()[0].lstrip("'").lstrip('"')
    first = "".join(c.lower() for c in re.split(r"[.,?!'\"]", word)[0])  # letter by letter, as the reference does
    return n == p["num_paragraphs"] and first == p["first_word"].lower(), first


_STOPS = r"[.!?][\"')\]*]*"


def _sentences_grammar(p: Params) -> list[Fragment]:
    n = p["num_sentences"]
    if p["relation"] == "less than":
        if not 2 <= n <= 30:
            return []
        end = rf"({_STOPS}\s+|\n\n)"
        return [Fragment(rf"({ANY}{end}){{{n - 1}}}{ANY}\S{ANY}", negated=True)]
    return [Fragment(rf"({ANY}[a-z][a-z]{_STOPS}\s+){{{n - 1}}}{ANY}[a-z][a-z]{_STOPS}({ANY})?")] if n <= 40 else []


def _words_grammar(p: Params) -> list[Fragment]:
    n = p["num_words"]
    if p["relation"] == "less than":
        cap = Fragment(rf"[^\w]*(\w+[^\w]+){{0,{max(n - 2, 0)}}}(\w+[^\w\s]*)?", most_words=n - 1)
        return [cap] if n <= 500 else []
    return [Fragment(rf"[^\w]*(\w+[^\w]+){{{n - 1}}}\w{ANY}")] if 0 < n <= 800 else []


def _paragraphs_grammar(p: Params) -> list[Fragment]:
    n = p["num_paragraphs"]
    part = rf"[^*\s]{NO_STARS}*[^*\s]"
    return [Fragment(rf"{part}(\n\*\*\*\n{part}){{{n - 1}}}")] if 0 < n <= 20 else []


_BLOCK = r"\S[^\n]*(\n[^\n]*\S[^\n]*)*"


def _nth_grammar(p: Params) -> list[Fragment]:
    n, nth = p["num_paragraphs"], p["nth_paragraph"]
    if not 1 <= nth <= n <= 20:
        return []
    first = rust_literal(p["first_word"][:1].upper() + p["first_word"][1:]) + r"[ ,][^\n]*\S[^\n]*(\n[^\n]*\S[^\n]*)*"
    return [Fragment(r"\n\n".join(first if i == nth else _BLOCK for i in range(1, n + 1)))]


KINDS: tuple[CheckKind, ...] = (
    instruction(
        "length_constraints:number_sentences",
        _sentences,
        {"num_sentences": NUMBER, "relation": RELATION},
        lambda p: f"Use {p['relation']} {p['num_sentences']} sentences.",
        _sentences_grammar,
    ),
    instruction(
        "length_constraints:number_paragraphs",
        _paragraphs,
        {"num_paragraphs": NUMBER},
        lambda p: f"Write {p['num_paragraphs']} paragraphs separated by ***.",
        _paragraphs_grammar,
    ),
    instruction(
        "length_constraints:number_words",
        _words,
        {"num_words": NUMBER, "relation": RELATION},
        lambda p: f"Use {p['relation']} {p['num_words']} words.",
        _words_grammar,
    ),
    instruction(
        "length_constraints:nth_paragraph_first_word",
        _nth_paragraph,
        {"num_paragraphs": NUMBER, "nth_paragraph": NUMBER, "first_word": TEXT},
        lambda p: (
            f"Write {p['num_paragraphs']} paragraphs separated by blank lines; paragraph {p['nth_paragraph']} starts with {p['first_word']}."  # noqa: E501
        ),
        _nth_grammar,
    ),
)
