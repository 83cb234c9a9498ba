"""Prose: language, repetition, refusals, what was left unfilled, dates, readability, echoes of the prompt."""

from __future__ import annotations

import datetime
import re

from localllm.rules import language, segments
from localllm.rules.checks.kinds import CheckKind, Field, Fragment, Params
from localllm.rules.checks.words import fold
from localllm.rules.guards.echo import longest_echo
from localllm.rules.outcome import Context, Finding, failed, not_evaluated, passed

_RANGES = {
    "ru": r"\p{Cyrillic}", "bg": r"\p{Cyrillic}", "uk": r"\p{Cyrillic}", "ar": r"\p{Arabic}", "fa": r"\p{Arabic}",
    "ur": r"\p{Arabic}", "hi": r"\p{Devanagari}", "mr": r"\p{Devanagari}", "ne": r"\p{Devanagari}",
    "ko": r"\p{Hangul}", "ja": r"\p{Hiragana}\p{Katakana}\p{Han}", "zh": r"\p{Han}", "th": r"\p{Thai}",
    "he": r"\p{Hebrew}", "el": r"\p{Greek}", "bn": r"\p{Bengali}", "gu": r"\p{Gujarati}", "pa": r"\p{Gurmukhi}",
    "kn": r"\p{Kannada}", "ta": r"\p{Tamil}", "te": r"\p{Telugu}",
}  # fmt: skip


def _language(params: Params, text: str, context: Context) -> Finding:
    found = language.detect(text)
    if not found:
        return not_evaluated("the text is too short or has no letters to tell its language")
    if found == params["code"]:
        return passed(found, params["code"])
    return failed(f"the text looks like {found}, not {params['code']}", found, params["code"], (0, len(text)))


def _language_grammar(params: Params) -> list[Fragment]:
    script = _RANGES.get(params["code"])
    return (
        [Fragment(rf"[{script}\p{{M}}\p{{P}}\p{{N}}\s]*[{script}][{script}\p{{M}}\p{{P}}\p{{N}}\s]*")] if script else []
    )


def find_loop(text: str, times: int, at: int = 0) -> tuple[int, int] | None:
    """The span of a stretch that is repeated at least `times` in a row; only loops that end at the text's end count."""
    tail = text[max(at, len(text) - 2400) :]
    base = len(text) - len(tail)
    for size in range(1, max(1, len(tail) // times) + 1):
        unit = tail[-size:]
        if not unit.strip():
            continue
        enough = times if size >= 8 else max(times, 24 // size + 1)
        if not tail.endswith(unit * enough) or (size < 4 and re.fullmatch(r"[-=_*.#|~ ]+", unit)):
            continue
        start = len(tail)
        while start >= size and tail[start - size : start] == unit:
            start -= size
        return base + start + size, len(text)
    return None


def _repetition(params: Params, text: str, context: Context) -> Finding:
    stripped = text.rstrip()
    if loop := find_loop(stripped, params["times"]):
        return failed(
            "the text repeats itself in a loop", text[loop[0] : loop[0] + 40], f"under {params['times']} times", loop
        )
    seen: dict[str, tuple[int, int]] = {}
    repeats = 0
    for start, end in segments.sentences(text):
        key = fold(text[start:end])
        if len(key) > 25 and key in seen:
            repeats += 1
            if repeats >= params["times"] - 1:
                return failed(
                    "a sentence comes again and again",
                    text[start : min(end, start + 40)],
                    f"under {params['times']} times",
                    (start, end),
                )
        seen[key] = (start, end)
    return passed(repeats, f"under {params['times']} times")


class _LoopWatch:
    def __init__(self, times: int) -> None:
        self._times, self._next = times, 0

    def feed(self, text: str, start: int) -> tuple[int, int] | None:
        """See `Watcher.feed`. Looks every 60 characters: a loop does not end by itself."""
        if len(text) < self._next:
            return None
        self._next = len(text) + 60
        return find_loop(text, self._times + 1)


_REFUSAL = re.compile(
    r"\b(?:as an (?:ai|artificial intelligence|language model)\b|i(?:'m| am) (?:sorry|afraid)[,.]? (?:but )?i (?:can(?:'t|not)|am (?:not able|unable))"  # noqa: E501
    r"|i (?:can(?:'t|not)|won't|am not able to|am unable to) (?:help|assist|provide|fulfil|comply|answer|do that))",
    re.IGNORECASE,
)


def _refusal(params: Params, text: str, context: Context) -> Finding:
    found = _REFUSAL.search(text[:400].replace("’", "'"))
    return (
        failed("the answer is a refusal", found[0], "no refusal", found.span()) if found else passed(None, "no refusal")
    )


_LEFT = re.compile(
    r"\[(?:your |the |insert |enter |add |company |recipient |sender )[^\[\]\n]{0,40}\]|\[(?:NAME|DATE|EMAIL|ADDRESS|PHONE|TITLE|COMPANY|[A-Z][A-Z _]{2,30})\]"  # noqa: E501
    r"|\b(?:TODO|TBD|FIXME|XXX)\b|\blorem ipsum\b|\{\{[^{}\n]*\}\}|<(?:your|insert|name|date)[^<>\n]{0,30}>",
    re.IGNORECASE,
)


def _left(params: Params, text: str, context: Context) -> Finding:
    for found in _LEFT.finditer(text):
        if found[0].startswith("[") and found[0][1:2].islower() and found[0][1:].split(" ")[0] not in ("your", "the", "insert", "enter", "add", "company", "recipient", "sender"):  # fmt: skip  # noqa: E501
            continue
        return failed(f"{found[0]!r} was not filled in", found[0], "nothing left open", found.span())
    return passed(None, "nothing left open")


def _dates(params: Params, text: str, context: Context) -> Finding:
    found = list(re.finditer(r"\b\d{4}-\d{2}-\d{2}\b", text))
    for other in re.finditer(r"\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b", text):
        return failed(f"{other[0]} is not in the form YYYY-MM-DD", other[0], "YYYY-MM-DD", other.span())
    for m in found:
        try:
            day = datetime.date.fromisoformat(m[0])
        except ValueError:
            return failed(f"{m[0]} is no date", m[0], "YYYY-MM-DD", m.span())
        if (params["after"] and day < _day(params["after"])) or (params["before"] and day > _day(params["before"])):
            return failed(
                f"{m[0]} is out of range", m[0], f"{params['after'] or ''} to {params['before'] or ''}", m.span()
            )
    if len(found) < params["min"]:
        return failed(
            f"{len(found)} dates, at least {params['min']} needed", len(found), params["min"], (len(text),) * 2
        )
    return passed(len(found), "YYYY-MM-DD")


def _day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


def _dates_valid(params: Params) -> str:
    for name in ("after", "before"):
        try:
            if params[name]:
                _day(params[name])
        except ValueError:
            return f"{name} must be a date such as 2026-01-31"
    return ""


def _syllables(word: str) -> int:
    groups = len(re.findall(r"[aeiouyäöüáéíóúàèùâêîôû]+", word.lower()))
    return max(1, groups - (1 if word.lower().endswith("e") and groups > 1 else 0))


def _readability(params: Params, text: str, context: Context) -> Finding:
    words = [text[a:b] for a, b in segments.words(text)]
    n = max(1, len(segments.sentences(text)))
    if len(words) < 5:
        return not_evaluated("the text is too short to measure")
    ease = 206.835 - 1.015 * len(words) / n - 84.6 * sum(map(_syllables, words)) / len(words)
    value = round(ease, 1)
    if value < params["min_ease"]:
        return failed(
            f"reading ease {value}, at least {params['min_ease']} needed", value, params["min_ease"], (0, len(text))
        )
    if params["max_sentence_words"]:
        for start, end in segments.sentences(text):
            if (k := len(segments.words(text[start:end]))) > params["max_sentence_words"]:
                return failed(
                    f"a sentence of {k} words", k, f"at most {params['max_sentence_words']} words", (start, end)
                )
    return passed(value, params["min_ease"])


def _repeats_prompt(params: Params, text: str, context: Context) -> Finding:
    if not context.question:
        return not_evaluated("the question is not known")
    span = longest_echo(text, context.question, params["words"])
    return (
        failed("the answer repeats the question", text[slice(*span)][:60], "no echo", span)
        if span
        else passed(None, "no echo")
    )


_WORDS_FIELD = {"words": Field("int", 12, minimum=3)}

KINDS: tuple[CheckKind, ...] = (
    CheckKind(
        "language",
        "The language of the text (ISO 639-1); by script and function words, without a model.",
        {"code": Field("str", required=True, choices=tuple(sorted({*language._WORDS, *_RANGES, "ml", "ka", "hy"})))},
        _language,
        grammar=_language_grammar,
        tell=lambda p: f"Answer in the language with the ISO code {p['code']}.",
    ),
    CheckKind(
        "repetition",
        "No loops: nothing comes this many times in a row.",
        {"times": Field("int", 3, minimum=2)},
        _repetition,
        watch=lambda p: _LoopWatch(p["times"]),
        fix=lambda p, t, c: t[: loop[0]].rstrip() if (loop := find_loop(t.rstrip(), p["times"])) else None,
    ),
    CheckKind("refusal", "The answer is no refusal (English phrases).", {}, _refusal),
    CheckKind(
        "placeholder_left",
        "Nothing was left to be filled in: [Your Name], TODO, lorem ipsum.",
        {},
        _left,
        tell=lambda p: "Leave nothing to be filled in: no [placeholders], no TODO.",
    ),
    CheckKind(
        "dates",
        "Dates are written YYYY-MM-DD, exist, and lie in a range.",
        {"after": Field("str"), "before": Field("str"), "min": Field("int", 0, minimum=0)},
        _dates,
        validate=_dates_valid,
        tell=lambda p: "Write dates as YYYY-MM-DD.",
    ),
    CheckKind(
        "readability",
        "Flesch reading ease (English) and the longest sentence.",
        {"min_ease": Field("number", 0), "max_sentence_words": Field("int", minimum=3)},
        _readability,
        tell=lambda p: "Use short sentences and common words.",
    ),
    CheckKind("question_echo", "The answer repeats no run of words of the question.", _WORDS_FIELD, _repeats_prompt),
)
