"""Lengths: words, characters, sentences, paragraphs, lines, tokens, list items, and things in brackets."""

from __future__ import annotations

import re
from collections.abc import Callable

from localllm.rules import segments
from localllm.rules.checks.kinds import CheckKind, Field, Fragment, Params, Watcher
from localllm.rules.outcome import Context, Finding, failed, not_evaluated, passed

Spans = list[tuple[int, int]]
BOUNDS = {"min": Field("int", minimum=0), "max": Field("int", minimum=0), "exact": Field("int", minimum=0)}


def bounds(params: Params) -> tuple[int, int | None]:
    """Least and most; None where there is no upper bound."""
    if params.get("exact") is not None:
        return params["exact"], params["exact"]
    return params.get("min") or 0, params.get("max")


def required_text(low: int, high: int | None, unit: str) -> str:
    """The bounds as people say them."""
    if high is None:
        return f"at least {low} {unit}"
    if low == high:
        return f"exactly {low} {unit}"
    return f"{low} to {high} {unit}" if low else f"at most {high} {unit}"


def _validate(params: Params) -> str:
    if all(params.get(name) is None for name in BOUNDS):
        return "one of min, max, exact must be given"
    if params.get("exact") is not None and (params.get("min") is not None or params.get("max") is not None):
        return "exact excludes min and max"
    low, high = bounds(params)
    return f"min ({low}) is above max ({high})" if high is not None and low > high else ""


def count_finding(spans: Spans, params: Params, unit: str, text: str) -> Finding:
    """Whether there are as many spans as asked; the span of the first one too many, or the text's end."""
    low, high = bounds(params)
    n, required = len(spans), required_text(low, high, unit)
    if high is not None and n > high:
        return failed(f"{n} {unit}, {required} allowed", n, required, (spans[high][0], spans[-1][1]))
    if n < low:
        return failed(f"{n} {unit}, {required} needed", n, required, (len(text), len(text)))
    return passed(n, required)


def cut_after(text: str, spans: Spans, high: int) -> str | None:
    """The text without what follows the last allowed span: back to the end of a sentence where there is one."""
    if len(spans) <= high or high == 0:
        return None
    limit = spans[high - 1][1]
    tail = re.match(r"[.!?…\"'”’)\]*_]*", text[limit:])
    limit += tail.end() if tail and limit + tail.end() <= spans[high][0] else 0
    ends = [end for _, end in segments.sentences(text[:limit]) if text[end - 1] in '.!?…"”’)*_']
    if ends and ends[-1] >= limit // 3:
        return text[: ends[-1]]
    return text[:limit].rstrip() + "…" if text[:limit].strip() else None


class _CountWatch:
    """Lost once there are more than `most` matches; the last match may still grow, so it counts only when followed."""

    def __init__(self, pattern: re.Pattern[str], most: int) -> None:
        self._pattern, self._most, self._at, self._n = pattern, most, 0, 0

    def feed(self, text: str, start: int) -> tuple[int, int] | None:
        """See `Watcher.feed`."""
        for match in self._pattern.finditer(text, self._at):
            if match.end() >= len(text):
                return None
            self._n += 1
            if self._n > self._most:
                return match.span()
            self._at = match.end()
        return None


def _watch(pattern: re.Pattern[str]) -> Callable[[Params], Watcher | None]:
    def make(params: Params) -> Watcher | None:
        high = bounds(params)[1]
        return None if high is None else _CountWatch(pattern, high)

    return make


def _kind(
    name: str,
    unit: str,
    find: Callable[[str], Spans],
    *,
    grammar: Callable[[Params], list[Fragment]] | None = None,
    cut: bool = False,
    watch: re.Pattern[str] | None = None,
    help: str = "",
) -> CheckKind:
    def check(params: Params, text: str, context: Context) -> Finding:
        return count_finding(find(text), params, unit, text)

    def fix(params: Params, text: str, context: Context) -> str | None:
        high = bounds(params)[1]
        return cut_after(text, find(text), high) if high is not None else None

    return CheckKind(
        name,
        help or f"The number of {unit}: min, max or exact.",
        BOUNDS,
        check,
        grammar=grammar,
        fix=fix if cut else None,
        watch=_watch(watch) if watch else None,
        tell=lambda p: f"Use {required_text(*bounds(p), unit)}.",
        validate=_validate,
    )


# ---- grammar ----


def _repeat(low: int, high: int | None) -> str:
    return f"{{{low},{'' if high is None else high}}}"


def words_grammar(params: Params) -> list[Fragment]:
    """A cap on words, as white-space separated pieces; a lower bound holds the end back until it is met."""
    low, high = bounds(params)
    if max(low, high or 0) > 600:
        return []  # each mask costs milliseconds then
    found = []
    if high is not None:
        found.append(Fragment(rf"\s*(\S+\s+){{0,{max(high - 1, 0)}}}(\S+)?" if high else r"\s*", most_words=high))
    if low:
        found.append(Fragment(rf"\s*(\S+\s+){{{low - 1}}}\S(?s:.)*"))
    return found


def items_grammar(mark: str, *, indented: bool = True) -> Callable[[Params], list[Fragment]]:
    """How many lines are items of a list; `mark` is a pattern of what they begin with."""

    def grammar(params: Params) -> list[Fragment]:
        low, high = bounds(params)
        if max(low, high or 0) > 60:
            return []
        item = (r"[ \t]*" if indented else "") + rf"{mark}[ \t]+[^\s\-*+•][^\n]*"
        other = r"([ \t]*|[ \t]*[^\s\-*+•0-9][^\n]*)"
        if low == 0:
            return [Fragment(rf"({other}\n)*({item}(\n{other})*\n?){_repeat(0, high)}")]
        return [Fragment(rf"({other}\n)*{item}(\n({other}\n)*{item}){_repeat(low - 1, None if high is None else high - 1)}(\n{other})*")]  # fmt: skip  # noqa: E501

    return grammar


def _lines_grammar(params: Params) -> list[Fragment]:
    low, high = bounds(params)
    if max(low, high or 0) > 100:
        return []
    line = r"[^\n]*\S[^\n]*"
    if low == 0:
        return [Fragment(rf"\n*({line}\n+){_repeat(0, high)}" if high else r"\s*")]
    return [Fragment(rf"\n*{line}(\n+{line}){_repeat(low - 1, None if high is None else high - 1)}\n*")]


def _paragraphs_grammar(params: Params) -> list[Fragment]:
    low, high = bounds(params)
    if not low or max(low, high or 0) > 40:
        return []
    block = r"([^\n]*\S[^\n]*)(\n[^\n]*\S[^\n]*)*"
    return [Fragment(rf"{block}(\n\n{block}){_repeat(low - 1, None if high is None else high - 1)}\n?")]


def _chars_grammar(params: Params) -> list[Fragment]:
    low, high = bounds(params)
    return [Fragment(rf"(?s:.){_repeat(low, high)}")] if max(low, high or 0) <= 4000 else []


def _tokens(params: Params, text: str, context: Context) -> Finding:
    if context.count_tokens is None:
        return not_evaluated("no model is loaded to count tokens with")
    n = context.count_tokens(text)
    low, high = bounds(params)
    required = required_text(low, high, "tokens")
    if low <= n and (high is None or n <= high):
        return passed(n, required)
    return failed(f"{n} tokens, {required} needed", n, required, (len(text), len(text)))


def _unique_words(text: str) -> Spans:
    seen: dict[str, tuple[int, int]] = {}
    for start, end in segments.words(text):
        seen.setdefault(text[start:end].casefold(), (start, end))
    return list(seen.values())


def _numbers(text: str) -> Spans:
    return [m.span() for m in re.finditer(r"(?<![\w.,])[+-]?\d+(?:[.,]\d+)*(?![\w])", text)]


def _placeholders(text: str) -> Spans:
    return [m.span() for m in re.finditer(r"\[[^\[\]\n]*[^\[\]\s][^\[\]\n]*\](?!\()", text)]


KINDS: tuple[CheckKind, ...] = (
    _kind("words", "words", segments.words, grammar=words_grammar, cut=True, watch=segments.WORD),
    _kind("chars", "characters", lambda t: [(i, i + 1) for i in range(len(t))], grammar=_chars_grammar, cut=True),
    _kind(
        "sentences",
        "sentences",
        segments.sentences,
        cut=True,
        help="The number of sentences; headings and list items are units of their own.",
    ),
    _kind("paragraphs", "paragraphs", segments.paragraphs, grammar=_paragraphs_grammar),
    _kind("lines", "lines", segments.lines, grammar=_lines_grammar),
    CheckKind("tokens", "The number of the model's tokens.", BOUNDS, _tokens, validate=_validate),
    _kind("numbered_list", "numbered items", segments.numbered, grammar=items_grammar(r"[0-9]{1,2}[.)]")),
    _kind("numbers", "numbers", _numbers),
    _kind("unique_words", "different words", _unique_words),
    _kind("placeholders", "placeholders in square brackets", _placeholders),
)
