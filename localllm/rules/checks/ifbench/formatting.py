"""IFBench ``format:``. Marks, brackets, quotes, lists, lines and letters in their places."""

from __future__ import annotations

import itertools
import re
import string

from localllm.rules import treebank
from localllm.rules.checks.ifbench.kind import EDGES, bare, instruction, plain_words, sentences
from localllm.rules.checks.kinds import CheckKind, Params

_EMOJI = re.compile(
    "[\U0001f004\U0001f0cf\U0001f170\U0001f171\U0001f17e\U0001f17f\U0001f18e\U0001f191-\U0001f19a\U0001f201\U0001f202"
    "\U0001f21a\U0001f22f\U0001f232-\U0001f23a\U0001f250\U0001f251\U0001f300-\U0001f64f\U0001f680-\U0001f6ff"
    "\U0001f7e0-\U0001f7eb\U0001f7f0\U0001f900-\U0001faff\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u231a\u231b"
    "\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe\u2600-\u2604\u260e\u2611\u2614"
    "\u2615\u2618\u261d\u2620\u2622\u2623\u2626\u262a\u262e\u262f\u2638-\u263a\u2640\u2642\u2648-\u2653\u265f\u2660"
    "\u2663\u2665\u2666\u2668\u267b\u267e\u267f\u2692-\u2697\u2699\u269b\u269c\u26a0\u26a1\u26a7\u26aa\u26ab\u26b0\u26b1"
    "\u26bd\u26be\u26c4\u26c5\u26c8\u26ce\u26cf\u26d1\u26d3\u26d4\u26e9\u26ea\u26f0-\u26f5\u26f7-\u26fa\u26fd\u2702\u2705"
    "\u2708-\u270d\u270f\u2712\u2714\u2716\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763"
    "\u2764\u2795-\u2797\u27a1\u27b0\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299©®]"
)


def _emoji(p: Params, text: str) -> bool:
    """Each sentence has an emoji as one of its last two characters, or the next one begins with an emoji."""
    stripped = [bare(s).strip() for s in sentences(text)]
    for sentence, following in itertools.zip_longest(stripped, stripped[1:], fillvalue=""):
        if not sentence or not (_EMOJI.search(sentence[-2:]) or (following and _EMOJI.match(following))):
            return False
    return True


def _emoji_strict(p: Params, text: str) -> bool:
    """The same, where skin tones, variation selectors and joined emoji count as one."""
    return _emoji(p, re.sub("[\ufe0f\u200d\U0001f3fb-\U0001f3ff]", "", text))


def _indent(p: Params, text: str) -> bool:
    rows, i = text.split("\n"), 0
    while i < len(rows):  # blank lines are taken out while it walks over them, so that of two in a row one stays
        if not rows[i].strip():
            rows.remove(rows[i])
        i += 1
    return _growing(rows)


def _growing(rows: list[str]) -> bool:
    depths = [len(row) - len(row.lstrip(" ")) for row in rows]
    return all(b > a for a, b in itertools.pairwise(depths))


def _newline(p: Params, text: str) -> bool:
    body = bare(text).strip()
    return len([row for row in body.split("\n") if row]) == len(body.split())


def _options(p: Params, text: str) -> bool:
    given: str = p["options"]
    separator = "/" if "/" in given else "or" if "or" in given else ","
    options = [o.strip() for o in given.split(separator)]
    if re.match(r"\W*a\W*b\W*c\W*", given, re.IGNORECASE):  # letters must be as they are written
        return text in options
    return text.strip(EDGES).lower() in {o.strip(EDGES).lower() for o in options}


def _options_strict(p: Params, text: str) -> bool:
    options = {o.strip().lower() for o in re.split(r"[/|]|\s+or\s+|,", p["options"])} - {""}
    return text.strip().lower() in options


def _quote_unquote(p: Params, text: str) -> bool:
    body = "".join(text.replace("'\"'", "").split())
    end = body.strip(string.digits + string.punctuation.replace('"', ""))
    return '""' not in body and not end.endswith('"')


def _quote_unquote_strict(p: Params, text: str) -> bool:
    body = text.strip().replace("“", '"').replace("”", '"')
    return not body.endswith('"') and '""' not in re.sub(r"\s", "", body)


_BRACKETS = {"(": ")", "[": "]", "{": "}"}


def _parentheses(p: Params, text: str) -> tuple[bool, int]:
    """Five levels deep, and the innermost closed; a bracket that does not fit begins anew."""
    stack: list[str] = []
    deepest = 0
    for c in text:
        if c in _BRACKETS:
            stack.append(_BRACKETS[c])
            deepest = max(deepest, len(stack))
        elif stack and c == stack[-1]:
            stack.pop()
            if deepest >= 5:
                return True, deepest
        elif c in ")]}":
            stack, deepest = [], 0
    return False, deepest


def _quotes(p: Params, text: str) -> bool:
    """Three levels of straight quotes, all closed again; apostrophes count as quotes."""
    stack: list[str] = []
    deepest = 0
    for c in text:
        if stack and c == stack[-1]:
            stack.pop()
            if deepest - len(stack) >= 3:
                return True
        elif c in "\"'":
            stack.append(c)
            deepest = max(deepest, len(stack))
    return False


def _quotes_strict(p: Params, text: str) -> bool:
    """Quotes in quotes, at least three deep, double and single ones in turn; apostrophes inside words don't count."""
    stack: list[str] = []
    deepest = 0
    for i, c in enumerate(text.translate(str.maketrans("“”‘’", "\"\"''"))):
        if c not in "\"'":
            continue
        between = text[i - 1 : i].isalnum() and text[i + 1 : i + 2].isalnum()
        if c == "'" and between:
            continue
        if stack and stack[-1] == c:
            stack.pop()
        else:
            stack.append(c)
            deepest = max(deepest, len(stack))
    return deepest >= 3 and not stack


def _sub_bullets(p: Params, text: str) -> bool:
    return all("-" in item for item in text.split("*")[1:])


def _sub_bullets_strict(p: Params, text: str) -> bool:
    """There are items, and each has a dash line under it; stars of bold text are no items."""
    items = re.split(r"^[ \t]*\*(?!\*)", text, flags=re.M)[1:]
    return bool(items) and all(re.search(r"^[ \t]*-", item, re.M) for item in items)


def _then_bullets(p: Params, text: str) -> bool:
    """Lines with two sentences or more, then at least two lines with a star; nothing else, not even a blank line."""
    n_sentences = n_items = 0
    open_end = True  # a line without a sentence ends the first part, too
    for row in text.split("\n"):
        if row.strip().startswith("*"):
            open_end = False
            if n_sentences < 2:
                return False
            n_items += 1
        elif open_end:
            found = len(sentences(row.strip()))
            n_sentences += found
            open_end = found > 0
        else:
            return False
    return n_items >= 2


def _then_bullets_strict(p: Params, text: str) -> bool:
    before, star, after = text.partition("*")
    stops = [s for s in sentences(before) if s.rstrip().endswith(".")]
    items = [row for row in (star + after).split("\n") if row.strip()]
    return len(stops) >= 2 and len(items) >= 2 and all(row.strip().startswith("*") for row in items)


def _title_case(p: Params, text: str) -> bool:
    for token in treebank.tokens(text):
        if token[0].isalpha() and token[0].islower() and (not token[1:] or token[1:].islower() or token[1:].isupper()):
            return False
    return True


def _title_case_strict(p: Params, text: str) -> bool:
    return all(not w[0].isalpha() or w[0].isupper() or len(w) < 5 for w in plain_words(text))


KINDS: tuple[CheckKind, ...] = (
    instruction("format:emoji", "an emoji at the end of each sentence", _emoji, strict=_emoji_strict),
    instruction(
        "format:line_indent",
        "each line further in",
        _indent,
        strict=lambda p, text: _growing([row for row in text.split("\n") if row.strip()]),
    ),
    instruction(
        "format:list",
        "items behind a given separator",
        lambda p, text: len(re.findall(re.escape(p["sep"]), text)) >= 2,
        ("sep",),
    ),
    instruction("format:newline", "each word on a line of its own", _newline),
    instruction("format:options", "one of the given options", _options, ("options",), _options_strict),
    instruction(
        "format:quote_unquote", "quotes followed by an explanation", _quote_unquote, strict=_quote_unquote_strict
    ),
    instruction("format:parentheses", "brackets nested five deep", _parentheses),
    instruction("format:quotes", "quotes nested three deep", _quotes, strict=_quotes_strict),
    instruction("format:sub-bullets", "a sub-item under each item", _sub_bullets, strict=_sub_bullets_strict),
    instruction(
        "format:no_bullets_bullets", "two sentences, then two items", _then_bullets, strict=_then_bullets_strict
    ),
    instruction("format:title_case", "major words capitalised", _title_case, strict=_title_case_strict),
    instruction(
        "format:output_template",
        "the labels of the template",
        lambda p, text: all(label in text for label in ("My Answer:", "My Conclusion:", "Future Outlook:")),
    ),
    instruction(
        "format:no_whitespace",
        "no white space",
        lambda p, text: not any(c.isspace() for c in text),
        strict=lambda p, text: not any(c.isspace() for c in text.strip("\n")),
    ),
)
