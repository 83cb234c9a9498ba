"""Words that must or must not be there, letters, case and punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from localllm.errors import RuleSyntax
from localllm.rules import segments
from localllm.rules.checks.counts import BOUNDS, bounds, count_finding, required_text
from localllm.rules.checks.kinds import STR, STRS, CheckKind, Field, Fragment, Params, Watcher
from localllm.rules.outcome import Context, Finding, failed, passed

ANY = r"(?s:.)*"
EDGE = r"[\x00-/:-@\[-\^`\{-\x7f\u{A0}-\u{BF}\u{2010}-\u{203A}]"
"""What stands beside a word: no letter of ASCII, and typographic marks. (Every other character that is no letter would
make the grammars of several rules together too complex: checks and monitors know those.)"""


def fold(text: str) -> str:
    """Letters for comparison: compatibility forms joined, hidden characters dropped, case folded."""
    plain = unicodedata.normalize("NFKC", text)
    return "".join(c for c in plain if unicodedata.category(c) != "Cf").casefold()


def pattern_of(word: str, match: str = "word") -> re.Pattern[str]:
    """A pattern that finds `word` as a whole word, or anywhere with ``match="substring"``."""
    escaped = r"\s+".join(re.escape(part) for part in word.split())
    if match == "word":
        left = r"(?<!\w)" if word[:1].isalnum() else ""
        right = r"(?!\w)" if word[-1:].isalnum() else ""
        escaped = left + escaped + right
    return re.compile(escaped, re.IGNORECASE)


def rust_literal(text: str) -> str:
    """A literal for a Rust regular expression."""
    return "".join("\\" + c if c in r"\.+*?()|[]{}^$#&-~/" else c for c in text)


def contains(words: Iterable[str], match: str = "word") -> str:
    """A full-text expression: one of the words occurs."""
    options = "|".join(rust_literal(w) for w in words)
    if match == "word":
        return rf"({ANY}{EDGE})?(?i:{options})({EDGE}{ANY})?"
    return rf"{ANY}(?i:{options}){ANY}"


def avoids(words: Iterable[str], match: str = "word") -> list[Fragment]:
    """Fragments that keep words out while decoding.

    From five letters on a word is kept out as the beginning of a longer one too: a model whose word is cut off at its
    end writes on as if it had not been there ("perfumerenched").
    """
    if match != "word":
        return [Fragment(contains(words, match), negated=True)]
    long = [w for w in words if len(w) >= 5]
    short = [w for w in words if len(w) < 5]
    found = [Fragment(contains(short), negated=True)] if short else []
    if long:
        options = "|".join(rust_literal(w) for w in long)
        found.append(Fragment(rf"({ANY}{EDGE})?(?i:{options}){ANY}", negated=True))
    return found


# ---- keywords ----


_PLACES: dict[str, tuple[Callable[[str], list[tuple[int, int]]], int]] = {
    "first_sentence": (segments.sentences, 0),
    "last_sentence": (segments.sentences, -1),
    "first_paragraph": (segments.paragraphs, 0),
    "last_paragraph": (segments.paragraphs, -1),
}


def _keywords(params: Params, text: str, context: Context) -> Finding:
    if params["position"] in _PLACES:
        parts, which = _PLACES[params["position"]]
        start, end = (parts(text) or [(0, len(text))])[which]
        found = _keywords_in(params, text[start:end])
        if found.passed:
            return found
        reason = f"{found.reason} ({params['position'].replace('_', ' ')})"
        return failed(reason, found.measured, found.required, (start, end))
    return _keywords_in(params, text)


def _keywords_in(params: Params, text: str) -> Finding:
    found = {word: [m.span() for m in pattern_of(word, params["match"]).finditer(text)] for word in params["words"]}
    missing = [word for word, spans in found.items() if not spans]
    if params["need"] == "any":
        if len(missing) < len(found):
            return passed(len(found) - len(missing), "any of " + ", ".join(found))
        return failed("none of the words occurs", 0, "any of " + ", ".join(found), (len(text), len(text)))
    if missing:
        return failed(f"missing: {', '.join(missing)}", len(found) - len(missing), ", ".join(found), (len(text),) * 2)
    low, high = bounds(params)
    for word, spans in found.items():
        if len(spans) < low or (high is not None and len(spans) > high):
            required = required_text(low, high, "times")
            at = spans[high] if high is not None and len(spans) > high else (len(text), len(text))
            return failed(f"{word!r} occurs {len(spans)} times, {required} needed", len(spans), required, at)
    return passed(len(found), ", ".join(found))


def _keywords_grammar(params: Params) -> list[Fragment]:
    if params["position"] in _PLACES:
        return []
    if params["need"] == "any":
        return [Fragment(contains(params["words"], params["match"]))]
    found = []
    low, high = bounds(params)
    for word in params["words"][:6]:
        one = rust_literal(word)
        n = max(low, 1)
        if n == 1:
            found.append(Fragment(contains([word], params["match"])))
        elif n <= 10:
            edge = EDGE if params["match"] == "word" else ""
            found.append(
                Fragment(rf"({ANY}{edge})?(?i:{one})({edge}({ANY}{edge})?(?i:{one})){{{n - 1}}}({edge}{ANY})?")
            )
        if high is not None and high <= 10:
            found.append(Fragment(rf"({ANY}(?i:{one})){{{high + 1}}}{ANY}", negated=True))
    return found


def _keywords_tell(params: Params) -> str:
    place = f" in the {params['position'].replace('_', ' ')}" if params["position"] in _PLACES else ""
    return f"Use {'one of ' if params['need'] == 'any' else ''}these words{place}: {', '.join(params['words'])}."


# ---- forbid ----


def _forbidden_words(params: Params, context: Context) -> list[str]:
    words = list(params["words"] or ())
    if params["words_file"]:
        path = (context.folder or Path()) / params["words_file"]
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RuleSyntax(f"{path} can't be read: {error}.") from error
        words += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return words


def _forbid(params: Params, text: str, context: Context) -> Finding:
    words = _forbidden_words(params, context)
    for word in words:
        if found := pattern_of(word, params["match"]).search(text):
            return failed(f"{text[found.start() : found.end()]!r} is forbidden", found[0], "absent", found.span())
    # Hidden and look-alike characters: the folded text has other positions, so no span is given.
    folded = fold(text)
    if folded != text.casefold():
        for word in words:
            if pattern_of(fold(word), params["match"]).search(folded):
                return failed(f"{word!r} is forbidden, and was written with disguised characters", word, "absent")
    return passed(0, "absent")


class _ForbidWatch:
    def __init__(self, patterns: list[re.Pattern[str]], longest: int, whole_words: bool) -> None:
        self._patterns, self._back, self._whole = patterns, longest + 2, whole_words

    def feed(self, text: str, start: int) -> tuple[int, int] | None:
        """See `Watcher.feed`."""
        begin = max(0, start - self._back)
        for pattern in self._patterns:
            found = pattern.search(text, begin)
            if found and not (self._whole and found.end() == len(text)):  # "ass" may still become "assist"
                return found.span()
        return None


def _forbid_watch(params: Params) -> Watcher | None:
    words = params["words"] or []
    if not words:
        return None
    patterns = [pattern_of(w, params["match"]) for w in words]
    return _ForbidWatch(patterns, max(map(len, words)), params["match"] == "word")


def _forbid_grammar(params: Params) -> list[Fragment]:
    words = params["words"] or []
    if not words or len(words) > 40 or sum(map(len, words)) > 400:
        return []
    return avoids(words, params["match"])


def _forbid_fix(params: Params, text: str, context: Context) -> str | None:
    if params["replace"] is None:
        return None
    for word in _forbidden_words(params, context):
        text = pattern_of(word, params["match"]).sub(lambda _: params["replace"], text)
    return text


# ---- letters, case, punctuation ----


def _letter(params: Params, text: str, context: Context) -> Finding:
    letter = params["letter"].lower()
    spans = [(i, i + 1) for i, c in enumerate(text.lower()) if c == letter]
    return count_finding(spans, params, f"times {letter!r}", text)


def _letter_grammar(params: Params) -> list[Fragment]:
    low, high = bounds(params)
    one = f"(?i:{rust_literal(params['letter'])})"
    found = []
    if 0 < low <= 60:
        found.append(Fragment(rf"({ANY}{one}){{{low}}}{ANY}"))
    if high is not None and high <= 60:
        found.append(Fragment(rf"({ANY}{one}){{{high + 1}}}{ANY}", negated=True))
    return found


def _case(params: Params, text: str, context: Context) -> Finding:
    style = params["style"]
    if style in ("lower", "upper"):
        bad = str.isupper if style == "lower" else str.islower
        for i, c in enumerate(text):
            if bad(c):
                return failed(f"{c!r} is not {style} case", c, f"{style} case", (i, i + 1))
        return passed(style, f"{style} case")
    small = {"a", "an", "the", "and", "but", "or", "for", "nor", "on", "at", "to", "by", "in", "of", "as", "with"}
    for i, m in enumerate(re.finditer(r"[^\W\d_][\w'’]*", text)):
        if m[0][0].islower() and (i == 0 or m[0] not in small):
            return failed(f"{m[0]!r} is not capitalised", m[0], "title case", m.span())
    return passed("title", "title case")


def _case_fix(params: Params, text: str, context: Context) -> str | None:
    style = params["style"]
    if style == "title":
        return re.sub(r"(?<![\w'’])[^\W\d_]", lambda m: m[0].upper(), text)
    return text.lower() if style == "lower" else text.upper()


def _punctuation(params: Params, text: str, context: Context) -> Finding:
    for i, c in enumerate(text):
        if c in params["forbid"]:
            return failed(f"{c!r} is forbidden", c, f"no {params['forbid']}", (i, i + 1))
    return passed(0, f"no {params['forbid']}")


def _punctuation_fix(params: Params, text: str, context: Context) -> str | None:
    mark = re.escape(params["forbid"])
    text = re.sub(rf"(?<=\d)[{mark}](?=\d\d\d)", "", text)  # thousands separators
    return re.sub(rf"[ \t]*[{mark}]+(?=\s|$)", "", re.sub(rf"[{mark}]+(?=\S)", " ", text))


def _capital_words(params: Params, text: str, context: Context) -> Finding:
    spans = [s for s in segments.words(text) if text[slice(*s)].isupper() and len(text[slice(*s)]) > 1]
    return count_finding(spans, params, "words in capitals", text)


def _no_marks(marks: str) -> str:
    return "".join(rust_literal(c) for c in marks)


_MATCH = Field("str", "word", choices=("word", "substring"))

KINDS: tuple[CheckKind, ...] = (
    CheckKind(
        "keywords",
        "Words that must occur: all or any of them, how often each, and where.",
        {
            "words": Field("strs", required=True),
            "need": Field("str", "all", choices=("all", "any")),
            "match": _MATCH,
            "position": Field("str", "anywhere", choices=("anywhere", *_PLACES)),
            **BOUNDS,
        },
        _keywords,
        grammar=_keywords_grammar,
        tell=_keywords_tell,
    ),
    CheckKind(
        "forbid",
        "Words that must not occur, from a list or a file; disguised spellings are found too.",
        {"words": STRS, "words_file": STR, "match": _MATCH, "replace": STR},
        _forbid,
        grammar=_forbid_grammar,
        watch=_forbid_watch,
        fix=_forbid_fix,
        stages=("input", "retrieval", "output"),
        tell=lambda p: (
            f"Never use these words: {', '.join(p['words'])}." if p["words"] and len(p["words"]) < 20 else ""
        ),
        validate=lambda p: "" if p["words"] or p["words_file"] else "words or words_file must be given",
    ),
    CheckKind(
        "letter",
        "How often a letter occurs.",
        {"letter": Field("str", required=True), **BOUNDS},
        _letter,
        grammar=_letter_grammar,
        validate=lambda p: "" if len(p["letter"]) == 1 else "letter must be one character",
        tell=lambda p: f"Use the letter {p['letter']} {required_text(*bounds(p), 'times')}.",
    ),
    CheckKind(
        "case",
        "Lower, upper or title case.",
        {"style": Field("str", required=True, choices=("lower", "upper", "title"))},
        _case,
        fix=_case_fix,
        grammar=lambda p: {"lower": [Fragment(r"[^\p{Lu}]*")], "upper": [Fragment(r"[^\p{Ll}]*")]}.get(p["style"], []),
        tell=lambda p: f"Write everything in {p['style']} case.",
    ),
    CheckKind(
        "punctuation",
        "Characters that must not occur.",
        {"forbid": Field("str", required=True)},
        _punctuation,
        fix=_punctuation_fix,
        grammar=lambda p: [Fragment(rf"[^{_no_marks(p['forbid'])}]*")],
        tell=lambda p: f"Do not use any of these characters: {p['forbid']}",
    ),
    CheckKind(
        "capital_words",
        "How many words are written in capitals.",
        BOUNDS,
        _capital_words,
        tell=lambda p: f"Write {required_text(*bounds(p), 'words')} in capital letters.",
    ),
)
