"""What an answer says about its sources: citations, quotes, numbers, links."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from localllm.rules import segments
from localllm.rules.checks.kinds import CheckKind, Field, Fragment, Params
from localllm.rules.checks.words import fold
from localllm.rules.guards.figures import FIGURES
from localllm.rules.outcome import Context, Finding, failed, not_evaluated, passed

MARK = re.compile(r"\[(\d{1,3})\]")
QUOTE = re.compile(r"\"([^\"\n]{3,})\"|“([^”\n]{3,})”|«([^»\n]{3,})»")
LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(\s*<?([^)\s>]+)[^)]*\)|\bhttps?://[^\s<>\"')\]]+|<(https?://[^>\s]+)>|<img[^>]+src\s*=\s*[\"']?([^\"'\s>]+)", re.IGNORECASE)  # fmt: skip  # noqa: E501


def _content(text: str) -> set[str]:
    return {w for w in re.findall(r"\w+", fold(text)) if len(w) > 3 or w.isdigit()}


def support(sentence: str, source: str) -> float:
    """Share of the sentence's content words that the source has, 0 to 1."""
    words = _content(MARK.sub("", sentence))
    return len(words & _content(source)) / len(words) if words else 1.0


def _citations(params: Params, text: str, context: Context) -> Finding:
    marks = list(MARK.finditer(text))
    required = f"[n] per {params['per']}"
    if params["must_resolve"] and not context.has_sources and marks:
        return not_evaluated("no passages were given, so citations can't be resolved")
    if params["must_resolve"]:
        for mark in marks:
            if not 1 <= int(mark[1]) <= len(context.sources):
                return failed(f"{mark[0]} names no passage", mark[0], f"1 to {len(context.sources)}", mark.span())
    if not marks and params["per"] == "answer":
        return failed("there is no citation", 0, required, (0, len(text)))
    units = {"sentence": segments.sentences, "paragraph": segments.paragraphs}.get(params["per"])
    for start, end in units(text) if units else []:
        unit = text[start:end]
        if not MARK.search(unit) and not segments.HEADING.match(unit) and len(segments.words(unit)) > 2:
            return failed(f"a {params['per']} has no citation", 0, required, (start, end))
    if params["min_support"] is not None and context.has_sources:
        for start, end in segments.sentences(text):
            cited = [int(n) for n in MARK.findall(text[start:end]) if 1 <= int(n) <= len(context.sources)]
            best = max((support(text[start:end], context.sources[n - 1]) for n in cited), default=1.0)
            if best < params["min_support"]:
                return failed("the cited passage does not support the sentence", round(best, 2),
                              params["min_support"], (start, end))  # fmt: skip
    return passed(len(marks), required)


def _citations_grammar(params: Params) -> list[Fragment]:
    if params["per"] != "sentence":
        return [Fragment(r"(?s:.)*\[[1-9][0-9]?\](?s:.)*")]
    sentence = r"[A-Z0-9*\"(-][^.!?\n\[\]]*[^.!?\n\[\]\s](\.[0-9]+[^.!?\n\[\]]*)*( \[[1-9][0-9]?\])+[.!?]"
    return [Fragment(rf"{sentence}(\s+{sentence})*\s*")]


def _quotes(params: Params, text: str, context: Context) -> Finding:
    if not context.has_sources:
        return not_evaluated("no passages were given to look quotes up in")
    sources = [" ".join(fold(s).split()) for s in (*context.sources, context.question)]
    for quote in QUOTE.finditer(text):
        words = " ".join(fold(next(filter(None, quote.groups()))).split()).strip(" .,;:!?")
        if len(words.split()) >= params["min_words"] and not any(words in s for s in sources):
            return failed("the quoted words are in no passage", quote[0][:80], "verbatim", quote.span())
    return passed(None, "verbatim")


_NUMBER = re.compile(r"(?<![\w\[])[+-]?\d[\d,.' ]*\d|(?<![\w\[])\d+")


def _plain_number(text: str) -> str:
    text = re.sub(r"[,' ](?=\d{3}\b)", "", text).replace(",", ".")
    return text.rstrip(".").lstrip("+")


def _numbers(params: Params, text: str, context: Context) -> Finding:
    if not context.has_sources:
        return not_evaluated("no passages were given to look numbers up in")
    known = {_plain_number(n) for s in (*context.sources, context.question) for n in _NUMBER.findall(s)}
    body = MARK.sub(lambda m: " " * len(m[0]), text)
    for found in _NUMBER.finditer(body):
        if (
            segments.NUMBERED.match(body, body.rfind("\n", 0, found.start()) + 1)
            and body[found.end() : found.end() + 1] in ".)"
        ):
            continue
        if _plain_number(found[0]) not in known:
            return failed(f"{found[0]} is in no passage", found[0], "a number of the passages", found.span())
    return passed(None, "numbers of the passages")


def links(text: str) -> list[tuple[str, bool, tuple[int, int]]]:
    """Address, whether it is an image, and span of each link."""
    found = []
    for m in LINK.finditer(text):
        url = m[3] or m[4] or m[5] or m[0]
        found.append((url.rstrip(".,;:!?"), m[1] == "!" or bool(m[5]), m.span()))
    return found


def _urls(params: Params, text: str, context: Context) -> Finding:
    for url, _, span in links(text):
        host = (urlsplit(url).hostname or "").lower() if "://" in url else ""
        if "://" not in url and not url.startswith(("//", "data:", "javascript:")):
            continue
        if not any(host == allowed.lower() or host.endswith("." + allowed.lower()) for allowed in params["hosts"]):
            return failed(f"the link goes to {host or url[:40]}", host, ", ".join(params["hosts"]), span)
    return passed(None, ", ".join(params["hosts"]))


def _exfiltration(params: Params, text: str, context: Context) -> Finding:
    """An image is fetched without a click: what its address carries has left the machine."""
    for url, image, span in links(text):
        parts = urlsplit(url) if "://" in url else None
        carries = parts is not None and (len(parts.query) > 20 or re.search(r"[A-Za-z0-9+/=_-]{40,}", parts.path))
        if (image and (parts is not None or url.startswith("//"))) or (carries and not params["images_only"]):
            return failed(
                f"{'an image' if image else 'a link'} could carry data out: {url[:60]}", url[:60], "no such link", span
            )
    return passed(None, "no such link")


def _exfiltration_fix(params: Params, text: str, context: Context) -> str | None:
    for _, _, (start, end) in reversed(links(text)):
        piece = text[start:end]
        if not _exfiltration(params, piece, context).passed:
            text = text[:start] + "[link removed]" + text[end:]
    return text


KINDS: tuple[CheckKind, ...] = (
    CheckKind(
        "citations",
        "Marks such as [1]: one per sentence, paragraph or answer, of passages that exist and support it.",
        {
            "style": Field("str", "[n]", choices=("[n]",)),
            "per": Field("str", "answer", choices=("sentence", "paragraph", "answer")),
            "must_resolve": Field("bool", True),
            "min_support": Field("number", minimum=0),
        },
        _citations,
        grammar=_citations_grammar,
        tell=lambda p: f"Cite the passages as [1], [2]: at least once per {p['per']}, before its full stop.",
    ),
    CheckKind(
        "quote_exact",
        "What stands in quotation marks occurs word for word in the passages.",
        {"min_words": Field("int", 3, minimum=1)},
        _quotes,
        tell=lambda p: "Quote only words that stand in the passages.",
    ),
    CheckKind(
        "numbers_in_sources",
        "Every number occurs in the passages or the question.",
        {},
        _numbers,
        tell=lambda p: "Use only numbers that stand in the passages.",
    ),
    CheckKind(
        "url_allowlist",
        "Links go only to these hosts.",
        {"hosts": Field("strs", required=True)},
        _urls,
        stages=("input", "retrieval", "output"),
    ),
    CheckKind(
        "markdown_image_exfil",
        f"No images from the network and no links that carry data out. {FIGURES['markdown_image_exfil']}",
        {"images_only": Field("bool", False)},
        _exfiltration,
        fix=_exfiltration_fix,
        stages=("retrieval", "output"),
    ),
)
