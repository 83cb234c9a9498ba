"""The 25 verifiable instructions of IFEval, under their own ids and with their own arguments.

``mode = "compat"`` decides as the reference checker does, oddities included, so that scores compare; only its sentence
splitter, word tokenizer and language detector are replaced by our own. ``mode = "strict"`` decides as a reader would.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from localllm.rules import language, segments
from localllm.rules.checks import shape
from localllm.rules.checks.formats import json_fix
from localllm.rules.checks.kinds import CheckKind, Field, Fragment, Params
from localllm.rules.checks.prose import _RANGES
from localllm.rules.checks.words import ANY, avoids, contains, pattern_of, rust_literal
from localllm.rules.outcome import Context, Finding, failed, passed

Decide = Callable[[Params, str], "bool | tuple[bool, Any]"]
STRICT = "strict"


def _compare(n: int, relation: str, limit: int) -> bool:
    return n < limit if relation == "less than" else n >= limit


def _strict(params: Params) -> bool:
    return bool(params["mode"] == STRICT)


# ---- decisions: True or False, or with the measured value ----


def _existence(p: Params, text: str) -> bool:
    if _strict(p):
        return all(pattern_of(k).search(text) for k in p["keywords"])
    return all(re.search(k, text, re.IGNORECASE) for k in p["keywords"])


def _frequency(p: Params, text: str) -> tuple[bool, int]:
    found = pattern_of(p["keyword"]).findall(text) if _strict(p) else re.findall(p["keyword"], text, re.IGNORECASE)
    return _compare(len(found), p["relation"], p["frequency"]), len(found)


def _forbidden(p: Params, text: str) -> bool:
    if _strict(p):
        return not any(pattern_of(w).search(text) for w in p["forbidden_words"])
    return not any(re.search(r"\b" + w + r"\b", text, re.IGNORECASE) for w in p["forbidden_words"])


def _letters(p: Params, text: str) -> tuple[bool, int]:
    n = Counter(text.lower())[p["letter"].lower()]
    return _compare(n, p["let_relation"], p["let_frequency"]), n


def _language(p: Params, text: str) -> tuple[bool, str]:
    found = language.detect(text)
    if not any(c.isalpha() for c in text):
        return not _strict(p), found  # the reference counts "can't be told" as followed
    return found == p["language"].split("-")[0], found


def _sentences(p: Params, text: str) -> tuple[bool, int]:
    n = len(segments.sentences(text, flowing=not _strict(p)))
    return _compare(n, p["relation"], p["num_sentences"]), n


def _paragraphs(p: Params, text: str) -> tuple[bool, int]:
    parts = re.split(r"^[ \t]*\*{3}[ \t]*$", text, flags=re.M) if _strict(p) else re.split(r"\s?\*\*\*\s?", text)
    blank = [i for i, part in enumerate(parts) if not part.strip()]
    n = len(parts) - len({i for i in blank if i in (0, len(parts) - 1)})
    return not any(0 < i < len(parts) - 1 for i in blank) and n == p["num_paragraphs"], n


def _words(p: Params, text: str) -> tuple[bool, int]:
    n = len(segments.words(text)) if _strict(p) else len(re.findall(r"\w+", text))
    return _compare(n, p["relation"], p["num_words"]), n


def _nth_paragraph(p: Params, text: str) -> tuple[bool, str]:
    if _strict(p):
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
    first = re.split(r"[.,?!'\"]", word)[0].lower()
    return n == p["num_paragraphs"] and first == p["first_word"].lower(), first


def _placeholders(p: Params, text: str) -> tuple[bool, int]:
    pattern = r"\[[^\[\]\n]*[^\[\]\s][^\[\]\n]*\](?!\()" if _strict(p) else r"\[.*?\]"
    n = len(re.findall(pattern, text))
    return n >= p["num_placeholders"], n


def _postscript(p: Params, text: str) -> bool:
    marker = p["postscript_marker"]
    if _strict(p):
        pattern = r"\s*".join(re.escape(c) for c in marker.replace(" ", ""))
        found = list(re.finditer(rf"^[ \t*_]*{pattern}", text, re.M | re.I))
        return bool(found) and "\n\n" not in text[found[-1].start() :].strip()
    patterns = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}
    return bool(re.findall(patterns.get(marker, r"\s*" + marker.lower() + r".*$"), text.lower(), re.M))


def _bullets(p: Params, text: str) -> tuple[bool, int]:
    if _strict(p):
        n = len(segments.bullets(text))
    else:
        n = len(re.findall(r"^\s*\*[^\*].*$", text, re.M)) + len(re.findall(r"^\s*-.*$", text, re.M))
    return n == p["num_bullets"], n


OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _constrained(p: Params, text: str) -> bool:
    body = text.strip()
    return body.strip("\"'*") in OPTIONS if _strict(p) else any(o in body for o in OPTIONS)


def _highlights(p: Params, text: str) -> tuple[bool, int]:
    if _strict(p):
        n = len(shape.highlights(text))
    else:
        n = sum(bool(h.strip("*").strip()) for h in re.findall(r"\*[^\n\*]*\*", text))
        n += sum(bool(h.removeprefix("**").removesuffix("**").strip()) for h in re.findall(r"\*\*[^\n\*]*\*\*", text))
    return n >= p["num_highlights"], n


def _sections(p: Params, text: str) -> tuple[bool, int]:
    if _strict(p):
        n = len(re.findall(rf"^[ \t#*]*{re.escape(p['section_spliter'])}[ \t]*\d+", text, re.M | re.I))
        return n == p["num_sections"], n
    n = len(re.split(r"\s?" + p["section_spliter"] + r"\s?\d+\s?", text)) - 1
    return n >= p["num_sections"], n


def _json(p: Params, text: str) -> bool:
    body = text.strip()
    for mark in ("```json", "```Json", "```JSON", "```"):
        body = body.removeprefix(mark)
    try:
        value = json.loads(body.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return isinstance(value, (dict, list)) if _strict(p) else True


def _title(p: Params, text: str) -> bool:
    return any(t.lstrip("<").rstrip(">").strip() for t in re.findall(r"<<[^\n]+>>", text))


def _two(p: Params, text: str) -> tuple[bool, int]:
    parts = text.split("******")
    blank = [i for i, part in enumerate(parts) if not part.strip()]
    valid = [part.strip() for part in parts if part.strip()]
    good = not any(0 < i < len(parts) - 1 for i in blank)
    return good and len(valid) == 2 and valid[0] != valid[1], len(valid)


def _repeat(p: Params, text: str) -> bool:
    return text.strip().lower().startswith(p["prompt_to_repeat"].strip().lower())


def _end(p: Params, text: str) -> bool:
    return text.strip().strip('"').lower().endswith(p["end_phrase"].strip().lower())


def _quotation(p: Params, text: str) -> bool:
    body = text.strip()
    if _strict(p) and len(body) > 1 and (body[0], body[-1]) == ("“", "”"):
        return True
    return len(body) > 1 and body[0] == '"' and body[-1] == '"'


_TOKEN = re.compile(r"\.\.\.|--|[^\s,;:!?()\[\]{}<>\"“”]+|[,;:!?()\[\]{}<>\"“”]")


def tokens(text: str) -> list[str]:
    """Words with punctuation and English contractions cut off, close to the Treebank way."""
    found: list[str] = []
    for piece in _TOKEN.findall(text):
        piece = piece.strip("'`‘’") if len(piece) > 1 else piece
        cut = re.match(r"^(.+?)(n't|'(?:s|m|d|ll|re|ve))$", piece, re.I)
        found += [cut[1], cut[2]] if cut else [piece]
    return found


def _capital_words(p: Params, text: str) -> tuple[bool, int]:
    if _strict(p):
        n = sum(text[a:b].isupper() and b - a > 1 for a, b in segments.words(text))
    else:
        n = sum(t.isupper() for t in tokens(text))
    return _compare(n, p["capital_relation"], p["capital_frequency"]), n


def _upper(p: Params, text: str) -> bool:
    return text.isupper() and language.is_english(text)


def _lower(p: Params, text: str) -> bool:
    return text.islower() and language.is_english(text)


def _no_comma(p: Params, text: str) -> bool:
    return not any(c in text for c in (",，、" if _strict(p) else ","))


# ---- enforcement while decoding ----

_STOPS = r"[.!?][\"')\]*]*"


def _count_grammar(one: str, n: int, less: bool, most: int = 20) -> list[Fragment]:
    if n < 1 or n > most:
        return []
    return [Fragment(rf"({ANY}{one}){{{n}}}{ANY}", negated=less)]


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
        return [Fragment(rf"[^\w]*(\w+[^\w]+){{0,{max(n - 2, 0)}}}(\w+[^\w]*)?")] if n <= 500 else []
    return [Fragment(rf"[^\w]*(\w+[^\w]+){{{n - 1}}}\w{ANY}")] if 0 < n <= 800 else []


_NO_STARS = r"([^*]|\*{1,2}[^*])"
_BLOCK = r"\S[^\n]*(\n[^\n]*\S[^\n]*)*"


def _paragraphs_grammar(p: Params) -> list[Fragment]:
    n = p["num_paragraphs"]
    part = rf"[^*\s]{_NO_STARS}*[^*\s]"
    return [Fragment(rf"{part}(\n\*\*\*\n{part}){{{n - 1}}}")] if 0 < n <= 20 else []


def _nth_grammar(p: Params) -> list[Fragment]:
    n, nth = p["num_paragraphs"], p["nth_paragraph"]
    if not 1 <= nth <= n <= 20:
        return []
    first = rust_literal(p["first_word"][:1].upper() + p["first_word"][1:]) + r"[ ,][^\n]*\S[^\n]*(\n[^\n]*\S[^\n]*)*"
    return [Fragment(r"\n\n".join(first if i == nth else _BLOCK for i in range(1, n + 1)))]


def _bullets_grammar(p: Params) -> list[Fragment]:
    n = p["num_bullets"]
    if not 1 <= n <= 20:
        return []
    item, other = r"[*-] [^\s*-][^\n]*", r"([^\s*-][^\n]*)?"
    return [Fragment(rf"({other}\n)*{item}(\n({other}\n)*{item}){{{n - 1}}}(\n{other})*")]


def _highlights_grammar(p: Params) -> list[Fragment]:
    n = p["num_highlights"]
    star = r"\*[^*\s\[\]][^*\n]*[^*\s]\*"
    plain = r"([^*]|\n\* |\*{3,6}[^*])"
    return (
        [
            Fragment(
                rf"({plain}*{star}[^*\w]){{{n}}}(({plain}|{star}[^*\w])*)|({plain}*{star}[^*\w]){{{n - 1}}}{plain}*{star}"  # noqa: E501
            )
        ]
        if 1 <= n <= 12
        else []
    )


def _two_grammar(p: Params) -> list[Fragment]:
    part = rf"[^*\s]{_NO_STARS}*[^*\s]"
    return [Fragment(rf"{part}\n\*{{6}}\n{part}")]


def _capitals_grammar(p: Params) -> list[Fragment]:
    n = p["capital_frequency"]
    if p["capital_relation"] != "less than" or not 1 <= n <= 40:
        return []
    word = r"[A-Z][A-Z.]*"
    return [
        Fragment(rf"({ANY}[^\w'.-])?({word}[^\w'.-]({ANY}[^\w'.-])?){{{n - 1}}}{word}([^\w'.-]{ANY})?", negated=True)
    ]


def _postscript_grammar(p: Params) -> list[Fragment]:
    return [Fragment(rf"{ANY}\S\n\n{rust_literal(p['postscript_marker'])} [^\n]*\w[^\n]*")]


def _language_grammar(p: Params) -> list[Fragment]:
    script = _RANGES.get(p["language"].split("-")[0])
    return (
        [Fragment(rf"[{script}\p{{M}}\p{{P}}\p{{Nd}}\s]*[{script}][{script}\p{{M}}\p{{P}}\p{{Nd}}\s]*")]
        if script
        else []
    )


# ---- deterministic fixes ----


def _append(words: list[str], text: str) -> str:
    return f"{text.rstrip()} ({', '.join(words)})" if words else text


def _existence_fix(p: Params, text: str) -> str | None:
    return _append([k for k in p["keywords"] if not pattern_of(k).search(text)], text)


def _no_comma_fix(p: Params, text: str) -> str | None:
    return re.sub(r"[,，、][ \t]*", " ", re.sub(r"(?<=\d),(?=\d{3})", "", text))


def _title_fix(p: Params, text: str) -> str | None:
    first = re.split(r"[.\n!?]", text.strip().strip('#*"<> '))[0].strip()
    return f"<<{' '.join(first.split()[:8]) or 'Answer'}>>\n\n{text.lstrip()}"


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


def _highlight_fix(p: Params, text: str) -> str | None:
    missing = p["num_highlights"] - int(_highlights(p, text)[1])
    spans = [s for s in segments.sentences(text) if "*" not in text[slice(*s)] and "\n" not in text[slice(*s)]]
    for start, end in reversed(spans[:missing]):
        text = f"{text[:start]}*{text[start:end]}*{text[end:]}"
    return text if len(spans) >= missing else None


def _end_fix(p: Params, text: str) -> str | None:
    return shape._ends_fix({"text": p["end_phrase"]}, text, Context())


def _quotation_fix(p: Params, text: str) -> str | None:
    body = text.strip().removeprefix('"').removesuffix('"').strip()
    return f'"{body}"' if body else None


# ---- the table ----

_RELATION = Field("str", "at least", choices=("less than", "at least"))
_N = Field("int", required=True, minimum=0)
_S = Field("str", required=True)
_L = Field("strs", required=True)
_MODE = Field("str", STRICT, choices=("compat", STRICT))


def _kind(
    id: str,
    decide: Decide,
    fields: dict[str, Field],
    tell: Callable[[Params], str],
    grammar: Callable[[Params], list[Fragment]] | None = None,
    fix: Callable[[Params, str], str | None] | None = None,
) -> CheckKind:
    def check(params: Params, text: str, context: Context) -> Finding:
        result = decide(params, text)
        good, measured = result if isinstance(result, tuple) else (result, None)
        required = ", ".join(f"{k}={params[k]}" for k in fields if params.get(k) is not None)
        return passed(measured, required) if good else failed(f"not followed: {tell(params)}", measured, required)

    return CheckKind(
        id, f"IFEval: {id.split(':')[1].replace('_', ' ')}.", {**fields, "mode": _MODE}, check, grammar=grammar,
        fix=(lambda p, t, c: fix(p, t)) if fix else None, tell=tell,
    )  # fmt: skip


KINDS: tuple[CheckKind, ...] = (
    _kind(
        "keywords:existence",
        _existence,
        {"keywords": _L},
        lambda p: f"Use the words {', '.join(p['keywords'])}.",
        lambda p: [Fragment(contains([k])) for k in p["keywords"][:5]],
        _existence_fix,
    ),
    _kind(
        "keywords:frequency",
        _frequency,
        {"keyword": _S, "frequency": _N, "relation": _RELATION},
        lambda p: f"Use the word {p['keyword']} {p['relation']} {p['frequency']} times.",
        lambda p: _count_grammar(
            f"(?i:{rust_literal(p['keyword'])})"
            if p["relation"] == "less than"
            else rf"[^\w](?i:{rust_literal(p['keyword'])})[^\w]",
            p["frequency"],
            p["relation"] == "less than",
            10,
        ),
    ),
    _kind(
        "keywords:forbidden_words",
        _forbidden,
        {"forbidden_words": _L},
        lambda p: f"Do not use the words {', '.join(p['forbidden_words'])}.",
        lambda p: avoids(p["forbidden_words"]),
    ),
    _kind(
        "keywords:letter_frequency",
        _letters,
        {"letter": _S, "let_frequency": _N, "let_relation": _RELATION},
        lambda p: f"Use the letter {p['letter']} {p['let_relation']} {p['let_frequency']} times.",
        lambda p: _count_grammar(
            f"(?i:{rust_literal(p['letter'])})", p["let_frequency"], p["let_relation"] == "less than", 60
        ),
    ),
    _kind(
        "language:response_language",
        _language,
        {"language": _S},
        lambda p: f"Answer in the language {p['language']}, and no other.",
        _language_grammar,
    ),
    _kind(
        "length_constraints:number_sentences",
        _sentences,
        {"num_sentences": _N, "relation": _RELATION},
        lambda p: f"Use {p['relation']} {p['num_sentences']} sentences.",
        _sentences_grammar,
    ),
    _kind(
        "length_constraints:number_paragraphs",
        _paragraphs,
        {"num_paragraphs": _N},
        lambda p: f"Write {p['num_paragraphs']} paragraphs separated by ***.",
        _paragraphs_grammar,
    ),
    _kind(
        "length_constraints:number_words",
        _words,
        {"num_words": _N, "relation": _RELATION},
        lambda p: f"Use {p['relation']} {p['num_words']} words.",
        _words_grammar,
    ),
    _kind(
        "length_constraints:nth_paragraph_first_word",
        _nth_paragraph,
        {"num_paragraphs": _N, "nth_paragraph": _N, "first_word": _S},
        lambda p: (
            f"Write {p['num_paragraphs']} paragraphs separated by blank lines; paragraph {p['nth_paragraph']} starts with {p['first_word']}."  # noqa: E501
        ),
        _nth_grammar,
    ),
    _kind(
        "detectable_content:number_placeholders",
        _placeholders,
        {"num_placeholders": _N},
        lambda p: f"Use at least {p['num_placeholders']} placeholders in [square brackets].",
        lambda p: _count_grammar(r"\[[^\[\]\n(]*[A-Za-z][^\[\]\n]*\]", p["num_placeholders"], False, 12),
    ),
    _kind(
        "detectable_content:postscript",
        _postscript,
        {"postscript_marker": _S},
        lambda p: f"End with a postscript that starts with {p['postscript_marker']}",
        _postscript_grammar,
    ),
    _kind(
        "detectable_format:number_bullet_lists",
        _bullets,
        {"num_bullets": _N},
        lambda p: f"Write exactly {p['num_bullets']} bullet points, each marked with *.",
        _bullets_grammar,
    ),
    _kind(
        "detectable_format:constrained_response",
        _constrained,
        {},
        lambda p: f"Answer with one of: {' / '.join(OPTIONS)}",
        lambda p: [Fragment("|".join(map(rust_literal, OPTIONS)))],
    ),
    _kind(
        "detectable_format:number_highlighted_sections",
        _highlights,
        {"num_highlights": _N},
        lambda p: f"Highlight at least {p['num_highlights']} parts with *stars*.",
        _highlights_grammar,
        _highlight_fix,
    ),
    _kind(
        "detectable_format:multiple_sections",
        _sections,
        {"section_spliter": _S, "num_sections": _N},
        lambda p: (
            f"Write {p['num_sections']} sections, marked {p['section_spliter']} 1, {p['section_spliter']} 2 and so on."
        ),
        lambda p: shape.sections_grammar(p["section_spliter"], p["num_sections"], None),
    ),
    _kind(
        "detectable_format:json_format",
        _json,
        {},
        lambda p: "Answer with JSON only.",
        None,
        lambda p, t: json_fix({}, t, Context()),
    ),
    _kind(
        "detectable_format:title",
        _title,
        {},
        lambda p: "Begin with a title in <<double angle brackets>>.",
        lambda p: [Fragment(rf"<<[^\n<>]*[^\s<>]>>\n{ANY}\S{ANY}")],
        _title_fix,
    ),
    _kind(
        "combination:two_responses",
        _two,
        {},
        lambda p: "Give two different answers, separated by ******.",
        _two_grammar,
    ),
    _kind(
        "combination:repeat_prompt",
        _repeat,
        {"prompt_to_repeat": _S},
        lambda p: "First repeat the request word for word, then answer it.",
        lambda p: [Fragment(rust_literal(p["prompt_to_repeat"].strip()) + rf"\n\n\S{ANY}")],
        lambda p, t: f"{p['prompt_to_repeat'].strip()}\n\n{t.lstrip()}",
    ),
    _kind(
        "startend:end_checker",
        _end,
        {"end_phrase": _S},
        lambda p: f"End with exactly: {p['end_phrase'].strip()}",
        lambda p: [Fragment(ANY + rust_literal(p["end_phrase"].strip()) + '"?')],
        _end_fix,
    ),
    _kind(
        "startend:quotation",
        _quotation,
        {},
        lambda p: "Wrap the whole answer in double quotation marks.",
        lambda p: [Fragment(rf'"{ANY}\S"')],
        _quotation_fix,
    ),
    _kind(
        "change_case:capital_word_frequency",
        _capital_words,
        {"capital_frequency": _N, "capital_relation": _RELATION},
        lambda p: f"Write {p['capital_relation']} {p['capital_frequency']} words in capitals.",
        _capitals_grammar,
        _capitals_fix,
    ),
    _kind(
        "change_case:english_capital",
        _upper,
        {},
        lambda p: "Answer in English and in capital letters only.",
        None,
        lambda p, t: t.upper(),
    ),
    _kind(
        "change_case:english_lowercase",
        _lower,
        {},
        lambda p: "Answer in English and in lower case only.",
        lambda p: [Fragment(r"[^\p{Lu}]*")],
        lambda p, t: t.lower(),
    ),
    _kind(
        "punctuation:no_comma",
        _no_comma,
        {},
        lambda p: "Do not use commas.",
        lambda p: [Fragment("[^,，、]*")],
        _no_comma_fix,
    ),
)


def loose_variants(text: str) -> list[str]:
    """The eight readings of IFEval's loose score: without stars, without first or last line."""
    rows = text.split("\n")
    cuts = [text, "\n".join(rows[1:]).strip(), "\n".join(rows[:-1]).strip(), "\n".join(rows[1:-1]).strip()]
    return cuts + [cut.replace("*", "") for cut in cuts]
