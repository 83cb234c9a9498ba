"""The shape of an answer: beginning and end, headings, sections, quotes around it, marks inside it."""

from __future__ import annotations

import re

from localllm.rules import segments
from localllm.rules.checks.counts import BOUNDS, bounds, count_finding, required_text
from localllm.rules.checks.kinds import CheckKind, Field, Fragment, Params
from localllm.rules.checks.words import ANY, rust_literal
from localllm.rules.outcome import Context, Finding, failed, passed


def _starts(params: Params, text: str, context: Context) -> Finding:
    wanted = params["text"]
    start = text.lstrip()
    good = start.startswith(wanted) if params["case"] else start.lower().startswith(wanted.lower())
    if good:
        return passed(wanted, wanted)
    return failed(f"does not begin with {wanted!r}", start[: len(wanted)], wanted, (0, min(len(text), len(wanted))))


def _ends(params: Params, text: str, context: Context) -> Finding:
    wanted, end = params["text"], text.rstrip()
    good = end.endswith(wanted) if params["case"] else end.lower().endswith(wanted.lower())
    if good:
        return passed(wanted, wanted)
    start = max(0, len(end) - len(wanted))
    return failed(f"does not end with {wanted!r}", end[start:], wanted, (start, len(end)))


def _ends_fix(params: Params, text: str, context: Context) -> str | None:
    body, wanted = text.rstrip(), params["text"]
    at = body.lower().rfind(wanted.lower())
    if at >= 0 and at > len(body) * 0.6:
        return body[: at + len(wanted)]
    return f"{body}\n\n{wanted}"


_PAIRS: dict[str, str] = {'"': '"', "“": "”", "«": "»", "'": "'", "(": ")", "[": "]", "{": "}", "*": "*", "<<": ">>"}


def _wrapped(params: Params, text: str, context: Context) -> Finding:
    opening: str = params["mark"]
    closing = _PAIRS.get(opening, opening)
    body = text.strip()
    if len(body) > len(opening) and body.startswith(opening) and body.endswith(closing):
        return passed(opening, opening + closing)
    lead = len(text) - len(text.lstrip())
    at = (lead, lead + 1) if not body.startswith(opening) else (max(0, len(text.rstrip()) - 1), len(text.rstrip()))
    return failed(f"not wrapped in {opening} {closing}", body[:1] + body[-1:], opening + closing, at)


def _wrapped_grammar(params: Params) -> list[Fragment]:
    opening: str = params["mark"]
    if opening == '"':  # behind a later quote there is no white space: it would look like the end
        return [Fragment(r'"([^"]|"+[^"\s])*("*[^"\s]|")"+')]
    return [Fragment(rf"{rust_literal(opening)}{ANY}\S{rust_literal(_PAIRS.get(opening, opening))}")]


def _wrapped_fix(params: Params, text: str, context: Context) -> str | None:
    opening: str = params["mark"]
    closing = _PAIRS.get(opening, opening)
    body = text.strip()
    body = body.removeprefix(opening).removesuffix(closing) if len(body) > 1 else body
    return f"{opening}{body}{closing}" if body else None


def _headings(params: Params, text: str, context: Context) -> Finding:
    level, wanted = params["level"], params["required"] or []
    found = [h for h in segments.headings(text) if level is None or h[0] == level]
    titles = [h[1].strip(" *_:").casefold() for h in found]
    missing = [w for w in wanted if w.casefold() not in titles]
    required = ", ".join(wanted) or required_text(*bounds(params), "headings")
    if missing:
        return failed(f"missing headings: {', '.join(missing)}", ", ".join(titles), required, (len(text), len(text)))
    if params["order"]:
        places = [titles.index(w.casefold()) for w in wanted]
        for before, after, title in zip(places, places[1:], wanted[1:], strict=False):
            if after < before:
                return failed(f"{title!r} comes too early", ", ".join(titles), required, found[after][2:4])
    if params["only"]:
        allowed = {w.casefold() for w in wanted}
        for heading, title in zip(found, titles, strict=True):
            if title not in allowed:
                return failed(f"{heading[1]!r} is not among the allowed headings", heading[1], required, heading[2:4])
    if any(params.get(name) is not None for name in BOUNDS):
        return count_finding([h[2:4] for h in found], params, "headings", text)
    return passed(len(found), required)


def _headings_grammar(params: Params) -> list[Fragment]:
    wanted = params["required"] or []
    if not wanted or not params["order"] or len(wanted) > 12:
        return []
    marks = "#" * (params["level"] or 2)
    line = r"([^#\n][^\n]*)?"
    body = rf"({line}\n)*[^#\s][^\n]*(\n{line})*"
    parts = [rf"{marks} {rust_literal(w)}\n{body}" for w in wanted]
    return [Fragment(r"\n".join(parts))]


def _sections(params: Params, text: str, context: Context) -> Finding:
    pattern = re.compile(rf"^[ \t#*]*{re.escape(params['splitter'])}[ \t]*\d+", re.MULTILINE | re.IGNORECASE)
    return count_finding([m.span() for m in pattern.finditer(text)], params, "sections", text)


def sections_grammar(splitter: str, low: int, high: int | None) -> list[Fragment]:
    """``Section 1`` to ``Section n``, each on a line of its own and followed by text."""
    if not 0 < low <= 20:
        return []
    body = r"[^\n]*\n([^\n]*\n)*?[^\n]*\S[^\n]*\n(\n)*"
    parts = "".join(rf"{rust_literal(splitter)} {i}{body}" for i in range(1, low + 1))
    last = parts.removesuffix(r"\n(\n)*") + r"(\n+)?"
    return [Fragment(rf"({ANY}\n)?{last}")]


def _sections_grammar(params: Params) -> list[Fragment]:
    return sections_grammar(params["splitter"], *bounds(params))


def _title(params: Params, text: str, context: Context) -> Finding:
    if found := re.search(r"<<([^\n]*[^\s<>][^\n]*)>>", text):
        return passed(found[1].strip(), "<<title>>")
    return failed("there is no title in <<double angle brackets>>", None, "<<title>>", (0, 0))


def _postscript(params: Params, text: str, context: Context) -> Finding:
    marker = params["marker"]
    pattern = r"\s*".join(re.escape(c) for c in marker.replace(" ", ""))
    found = list(re.finditer(rf"^[ \t*_]*{pattern}", text, re.MULTILINE | re.IGNORECASE))
    if not found:
        return failed(f"there is no postscript that begins with {marker}", None, marker, (len(text), len(text)))
    if "\n\n" in text[found[-1].start() :].strip():
        return failed("the postscript is not at the end", found[-1][0], marker, found[-1].span())
    return passed(marker, marker)


def highlights(text: str) -> list[tuple[int, int]]:
    """Spans of *text* and **text** in Markdown, bullet stars left out."""
    marks = re.finditer(r"(?<![*\w\\])(\*{1,3})(?=[^\s*])([^*\n]*?[^\s*])\1(?![*\w])", text)
    return [m.span() for m in marks]


def _highlights(params: Params, text: str, context: Context) -> Finding:
    return count_finding(highlights(text), params, "highlighted parts", text)


def _highlights_grammar(params: Params) -> list[Fragment]:
    low, _ = bounds(params)
    return (
        [Fragment(rf"({ANY}[^*\w])?(\*[^*\s]([^*\n]*[^*\s])?\*[^*\w]({ANY}[^*\w])?){{{low}}}{ANY}")]
        if 0 < low <= 10
        else []
    )


def _template(params: Params, text: str, context: Context) -> Finding:
    at = 0
    for label in re.split(r"\[[^\[\]\n]+\]", params["text"]):
        label = label.strip()
        if not label:
            continue
        found = text.find(label, at)
        if found < 0:
            return failed(f"{label!r} is missing, or out of order", None, params["text"], (at, len(text)))
        at = found + len(label)
    return passed(None, params["text"])


def _options(params: Params, text: str, context: Context) -> Finding:
    body = text.strip().strip("\"'*.").casefold()
    if body in {v.strip().strip("\"'*.").casefold() for v in params["values"]}:
        return passed(text.strip(), " | ".join(params["values"]))
    return failed(
        "the answer is none of the allowed values", text.strip()[:60], " | ".join(params["values"]), (0, len(text))
    )


def _options_fix(params: Params, text: str, context: Context) -> str | None:
    found = [v for v in params["values"] if re.search(rf"(?<!\w){re.escape(v)}(?!\w)", text, re.IGNORECASE)]
    longest = [v for v in found if not any(v != other and v.casefold() in other.casefold() for other in found)]
    return longest[0] if len(longest) == 1 else None


_EDGE = {"text": Field("str", required=True), "case": Field("bool", True)}

KINDS: tuple[CheckKind, ...] = (
    CheckKind(
        "starts_with",
        "The text begins with these words.",
        _EDGE,
        _starts,
        grammar=lambda p: [Fragment(rust_literal(p["text"]) + ANY)],
        fix=lambda p, t, c: f"{p['text']} {t.lstrip()}",
        tell=lambda p: f"Begin with: {p['text']}",
    ),
    CheckKind(
        "ends_with",
        "The text ends with these words, and nothing follows.",
        _EDGE,
        _ends,
        grammar=lambda p: [Fragment(ANY + rust_literal(p["text"]))],
        fix=_ends_fix,
        tell=lambda p: f"End with exactly this, and nothing after it: {p['text']}",
    ),
    CheckKind(
        "wrapped",
        "The whole text stands in quotes or brackets.",
        {"mark": Field("str", '"', choices=tuple(_PAIRS))},
        _wrapped,
        grammar=_wrapped_grammar,
        fix=_wrapped_fix,
        tell=lambda p: f"Wrap the whole answer in {p['mark']} {_PAIRS[p['mark']]}.",
    ),
    CheckKind(
        "headings",
        "Markdown headings: which, in which order, how many.",
        {
            "required": Field("strs"),
            "order": Field("bool", True),
            "only": Field("bool", False),
            "level": Field("int", minimum=1),
            **BOUNDS,
        },
        _headings,
        grammar=_headings_grammar,
        tell=lambda p: (
            f"Use these Markdown headings, in this order: {', '.join('#' * (p['level'] or 2) + ' ' + w for w in p['required'])}."  # noqa: E501
            if p["required"]
            else ""
        ),
    ),
    CheckKind(
        "sections",
        "Numbered sections such as ``Section 1``.",
        {"splitter": Field("str", "Section"), **BOUNDS},
        _sections,
        grammar=_sections_grammar,
        tell=lambda p: (
            f"Divide the answer into {required_text(*bounds(p), 'sections')} marked {p['splitter']} 1, {p['splitter']} 2 and so on."  # noqa: E501
        ),
    ),
    CheckKind(
        "title",
        "A title in <<double angle brackets>>.",
        {},
        _title,
        grammar=lambda p: [Fragment(rf"<<[^\n<>]*[^\s<>]>>\n{ANY}\S{ANY}")],
        tell=lambda p: "Begin with a title in double angle brackets, such as <<Title>>.",
    ),
    CheckKind(
        "postscript",
        "A postscript at the end.",
        {"marker": Field("str", "P.S.")},
        _postscript,
        grammar=lambda p: [Fragment(rf"{ANY}\S\n+{rust_literal(p['marker'])} [^\n]*\w[^\n]*")],
        tell=lambda p: f"End with a postscript that begins with {p['marker']}",
    ),
    CheckKind(
        "highlights",
        "Parts marked with *stars*.",
        BOUNDS,
        _highlights,
        grammar=_highlights_grammar,
        tell=lambda p: f"Highlight {required_text(*bounds(p), 'parts')} with *stars*.",
    ),
    CheckKind(
        "template",
        "Labels that must appear in this order; what stands in [brackets] is filled in.",
        {"text": Field("str", required=True)},
        _template,
        tell=lambda p: f"Use exactly this template:\n{p['text']}",
    ),
    CheckKind(
        "enum",
        "The answer is one of these values, and nothing else.",
        {"values": Field("strs", required=True)},
        _options,
        grammar=lambda p: [Fragment("|".join(rust_literal(v) for v in p["values"]))],
        fix=_options_fix,
        tell=lambda p: f"Answer with exactly one of: {' | '.join(p['values'])}",
    ),
)
