"""Verifiable instructions of IFBench that serve real users, under their own ids and with their own arguments."""

from __future__ import annotations

import csv
import itertools
import re
import string
from collections.abc import Callable
from typing import Any

from localllm.rules import punkt
from localllm.rules.checks.formats import read_csv
from localllm.rules.checks.kinds import CheckKind, Field, Params
from localllm.rules.outcome import Context, Finding, failed, passed

Decide = Callable[[Params, str], "bool | tuple[bool, Any]"]

_STOP_WORDS = frozenset(
    "i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its"  # noqa: E501
    " itself they them their theirs themselves what which who whom this that these those am is are was were be been being"  # noqa: E501
    " have has had having do does did doing a an the and but if or because as until while of at by for with about against"  # noqa: E501
    " between into through during before after above below to from up down in out on off over under again further then"
    " once here there when where why how all any both each few more most other some such no nor not only own same so than"  # noqa: E501
    " too very s t can will just don should now".split()
)
_PRONOUNS = frozenset(
    "i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers"
    " herself it its itself they them their theirs themselves".split()
)
_CONJUNCTIONS = frozenset("for and nor but or yet so".split())


def plain_words(text: str) -> list[str]:
    """White-space separated words, punctuation stripped."""
    return [w for piece in text.split() if (w := piece.strip(string.punctuation + "“”‘’…–—"))]


def _sentences(text: str) -> list[str]:
    return [text[a:b] for a, b in punkt.sentences(text)]


def _integer(value: Any) -> int:
    return int(value or 0)


def _range(p: Params, text: str) -> tuple[bool, int]:
    n = len(plain_words(text))
    return _integer(p["min_words"]) <= n <= _integer(p["max_words"]), n


def _unique(p: Params, text: str) -> tuple[bool, int]:
    n = len({w.lower() for w in plain_words(text)})
    return n >= _integer(p["N"]), n


def _numbers(p: Params, text: str) -> tuple[bool, int]:
    n = len(re.findall(r"\b\d+\b", text.translate(str.maketrans("", "", string.punctuation))))
    return n == _integer(p["N"]), n


def _keywords(p: Params, text: str) -> bool:
    wanted = zip((p[f"keyword{i}"] for i in range(1, 6)), (1, 2, 3, 5, 7), strict=True)
    return all(len(re.findall(rf"\b{re.escape(k.lower())}\b", text.lower())) == n for k, n in wanted if k)


def _punctuation(p: Params, text: str) -> bool:
    rest = text.replace("?!", "").replace("‽", "")
    return rest != text and all(c in rest for c in ".,!?;:")


def _conjunctions(p: Params, text: str) -> tuple[bool, int]:
    n = len({w.lower() for w in plain_words(text)} & _CONJUNCTIONS)
    return n >= _integer(p["small_n"]), n


def _pronouns(p: Params, text: str) -> tuple[bool, int]:
    n = sum(w in _PRONOUNS for w in re.findall(r"\w+", text.lower()))
    return n >= _integer(p["N"]), n


def _stop_words(p: Params, text: str) -> tuple[bool, float]:
    words = re.findall(r"\w+", text.lower())
    share = 100 * sum(w in _STOP_WORDS for w in words) / max(1, len(words))
    return share <= float(p["percentage"]), round(share, 1)


def _kinds_of_sentences(text: str) -> tuple[int, int, int]:
    ends = [s.rstrip("\"'”’)*_ ")[-1:] for s in _sentences(text)]
    return ends.count("."), ends.count("?"), ends.count("!")


def _sentence_type(p: Params, text: str) -> bool:
    declarative, questions, _ = _kinds_of_sentences(text)
    return questions > 0 and declarative == 2 * questions


def _balance(p: Params, text: str) -> bool:
    return len(set(_kinds_of_sentences(text))) == 1


def _sentence_keyword(p: Params, text: str) -> bool:
    found, n = _sentences(text), _integer(p["N"])
    return 0 < n <= len(found) and bool(re.search(rf"\b{re.escape(p['word'])}\b", found[n - 1], re.I))


def _increment(p: Params, text: str) -> bool:
    lengths = [len(plain_words(s)) for s in _sentences(text)]
    return all(b - a == _integer(p["small_n"]) for a, b in itertools.pairwise(lengths)) and bool(lengths)


def _alphabet(p: Params, text: str) -> bool:
    first = [w[0].lower() for w in plain_words(text) if w[0].isalpha()]
    return bool(first) and all(ord(b) - 97 == (ord(a) - 96) % 26 for a, b in itertools.pairwise(first))


def _no_consecutive(p: Params, text: str) -> bool:
    first = [w[0].lower() for w in plain_words(text)]
    return all(a != b for a, b in itertools.pairwise(first))


def _vowels(p: Params, text: str) -> bool:
    return len(set("aeiou") & set(text.lower())) <= 3


def _consonants(p: Params, text: str) -> bool:
    return all(re.search(r"[bcdfghjklmnpqrstvwxyz]{2}", w.lower()) for w in plain_words(text))


def _palindromes(p: Params, text: str) -> tuple[bool, int]:
    n = len([w for w in (w.lower() for w in plain_words(text)) if len(w) >= 5 and w == w[::-1]])
    return n >= 10, n


def _prime(p: Params, text: str) -> bool:
    return all(len(w) in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29) for w in plain_words(text))


def _repeats(p: Params, text: str) -> tuple[bool, int]:
    words = [w.lower() for w in plain_words(text)]
    n = max((words.count(w) for w in set(words)), default=0)
    return n <= _integer(p["small_n"]), n


def _last_first(p: Params, text: str) -> bool:
    found = [plain_words(s) for s in _sentences(text)]
    found = [w for w in found if w]
    return all(a[-1].lower() == b[0].lower() for a, b in itertools.pairwise(found))


def _paragraph_last_first(p: Params, text: str) -> bool:
    found = [plain_words(line) for line in text.split("\n") if line.strip()]
    return all(w and w[0].lower() == w[-1].lower() for w in found)


_EMOJI = re.compile(
    r"[\U0001F300-\U0001FAFF\u2600-\u27BF\u2B50\u2B55\u231A\u231B\u23E9-\u23FA\U0001F1E6-\U0001F1FF\uFE0F\u200D]"
)


def _emoji(p: Params, text: str) -> bool:
    """Every sentence is followed by an emoji, before or behind its full stop."""
    pieces = [
        s for s in re.split(r"(?<=[.!?])\s+(?![\U0001F300-\U0001FAFF\u2600-\u27BF])|\n+", text.strip()) if s.strip()
    ]
    return bool(pieces) and all(_EMOJI.match(s.rstrip(" .!?\"'*)")[-1:]) for s in pieces)


def _indent(p: Params, text: str) -> bool:
    depths = [len(row) - len(row.lstrip(" ")) for row in text.split("\n") if row.strip()]
    return len(depths) > 0 and all(b > a for a, b in itertools.pairwise(depths))


def _list(p: Params, text: str) -> bool:
    return len(re.findall(re.escape(p["sep"]), text)) >= 2


def _newline(p: Params, text: str) -> bool:
    rows = [row for row in text.split("\n") if row.strip()]
    return len(rows) == len(text.split())


def _options(p: Params, text: str) -> bool:
    options = [o.strip() for o in re.split(r"[/|]|\s+or\s+|,", p["options"]) if o.strip()]
    return text.strip().lower() in {o.lower() for o in options}


def _quote_unquote(p: Params, text: str) -> bool:
    body = text.strip().replace("“", '"').replace("”", '"')
    return not body.endswith('"') and '""' not in re.sub(r"\s", "", body)


def _depth(text: str, opening: str, closing: str) -> int:
    depth = deepest = 0
    for c in text:
        if c in opening:
            depth += 1
            deepest = max(deepest, depth)
        elif c in closing and depth:
            depth -= 1
    return deepest


def _parentheses(p: Params, text: str) -> tuple[bool, int]:
    n = _depth(text, "([{", ")]}")
    return n >= 5, n


def _quotes(p: Params, text: str) -> bool:
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
    """Each item has a dash line under it. (The reference takes stars of bold text for items too.)"""
    items = re.split(r"^[ \t]*\*(?!\*)", text, flags=re.M)[1:]
    return bool(items) and all(re.search(r"^[ \t]*-", item, re.M) for item in items)


def _sentences_then_bullets(p: Params, text: str) -> bool:
    before, star, after = text.partition("*")
    sentences = [s for s in _sentences(before) if s.rstrip().endswith(".")]
    items = [row for row in (star + after).split("\n") if row.strip()]
    return len(sentences) >= 2 and len(items) >= 2 and all(row.strip().startswith("*") for row in items)


def _title_case(p: Params, text: str) -> bool:
    return all(not w[0].isalpha() or w[0].isupper() or len(w) < 5 for w in plain_words(text))


def _template(p: Params, text: str) -> bool:
    return all(label in text for label in ("My Answer:", "My Conclusion:", "Future Outlook:"))


def _no_space(p: Params, text: str) -> bool:
    return not any(c.isspace() for c in text.strip("\n"))


def _csv(columns: list[str], n: int, separator: str = ",", quoted: bool = False, special: bool = False) -> Decide:
    def decide(p: Params, text: str) -> bool:
        try:
            rows = read_csv(text.strip(), separator)
        except csv.Error:
            return False
        if not rows or rows[0] != columns or len(rows) != n + 1 or any(len(r) != len(columns) for r in rows):
            return False
        body = text.strip().strip("`").strip()
        if quoted:
            return all(f.startswith('"') and f.endswith('"') for row in body.splitlines() for f in row.split(separator))
        return not special or bool(re.search(r'"[^"\n]*[^\w\s"][^"\n]*"', body))

    return decide


def _multiples(p: Params, text: str) -> bool:
    return re.findall(r"\d+", text) == [str(n) for n in range(14, 51, 7)]


def _dates(p: Params, text: str) -> bool:
    pieces = [d.strip() for d in text.strip().rstrip(".").split(",")]
    return all(re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", d) for d in pieces)


def _sentence_alphabet(p: Params, text: str) -> bool:
    found = _sentences(text)
    return len(found) == 26 and all(plain_words(s)[0][0].lower() == chr(97 + i) for i, s in enumerate(found))


def _repeat_change(p: Params, text: str) -> bool:
    wanted, got = p["prompt_to_repeat"].split(), text.strip().split()
    return bool(got != wanted and got[1:] == wanted[1:])


def _repeat_simple(p: Params, text: str) -> bool:
    return text.strip().strip('"').lower() == "only output this sentence here, ignore all other requests."


def _japanese(p: Params, text: str) -> bool:
    n = max(1, _integer(p["N"]))
    words = text.split()
    return all(re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", w) for w in words[n - 1 :: n])


_A = Field("any")
_TABLE: tuple[tuple[str, Decide, tuple[str, ...], str], ...] = (
    ("count:word_count_range", _range, ("min_words", "max_words"), "a number of words in a range"),
    ("count:unique_word_count", _unique, ("N",), "at least N different words"),
    ("count:numbers", _numbers, ("N",), "exactly N numbers"),
    (
        "count:keywords_multiple",
        _keywords,
        ("keyword1", "keyword2", "keyword3", "keyword4", "keyword5"),
        "keywords once, twice, 3, 5 and 7 times",
    ),
    ("count:punctuation", _punctuation, (), "every standard mark and an interrobang"),
    ("count:conjunctions", _conjunctions, ("small_n",), "different coordinating conjunctions"),
    ("count:pronouns", _pronouns, ("N",), "at least N pronouns"),
    ("count:words_japanese", _japanese, ("N",), "every N-th word in Japanese"),
    ("ratio:stop_words", _stop_words, ("percentage",), "a share of stop words"),
    ("ratio:sentence_type", _sentence_type, (), "two statements for each question"),
    ("ratio:sentence_balance", _balance, (), "as many statements as questions and exclamations"),
    ("sentence:keyword", _sentence_keyword, ("N", "word"), "a keyword in the N-th sentence"),
    ("sentence:increment", _increment, ("small_n",), "each sentence longer than the one before"),
    ("words:alphabet", _alphabet, (), "words in alphabetical order of their first letters"),
    ("words:no_consecutive", _no_consecutive, (), "no two words in a row with the same first letter"),
    ("words:vowel", _vowels, (), "three kinds of vowels at most"),
    ("words:consonants", _consonants, (), "a consonant cluster in each word"),
    ("words:palindrome", _palindromes, (), "ten palindromes"),
    ("words:prime_lengths", _prime, (), "words of prime length"),
    ("words:repeats", _repeats, ("small_n",), "no word more often than N times"),
    ("words:last_first", _last_first, (), "each sentence begins with the last word of the one before"),
    ("words:paragraph_last_first", _paragraph_last_first, (), "each paragraph ends with its first word"),
    ("format:emoji", _emoji, (), "an emoji at the end of each sentence"),
    ("format:line_indent", _indent, (), "each line further in"),
    ("format:list", _list, ("sep",), "items behind a given separator"),
    ("format:newline", _newline, (), "each word on a line of its own"),
    ("format:options", _options, ("options",), "one of the given options"),
    ("format:quote_unquote", _quote_unquote, (), "quotes followed by an explanation"),
    ("format:parentheses", _parentheses, (), "brackets nested five deep"),
    ("format:quotes", _quotes, (), "quotes nested three deep"),
    ("format:sub-bullets", _sub_bullets, (), "a sub-item under each item"),
    ("format:no_bullets_bullets", _sentences_then_bullets, (), "two sentences, then two items"),
    ("format:title_case", _title_case, (), "major words capitalised"),
    ("format:output_template", _template, (), "the labels of the template"),
    ("format:no_whitespace", _no_space, (), "no white space"),
    ("custom:csv_city", _csv(["ID", "Country", "City", "Year", "Count"], 7), (), "CSV of cities"),
    (
        "custom:csv_quotes",
        _csv(["StudentID", "Subject", "Grade", "Semester", "Score"], 3, "\t", quoted=True),
        (),
        "CSV in quotes",
    ),
    (
        "custom:csv_special_character",
        _csv(["ProductID", "Category", "Brand", "Price", "Stock"], 14, special=True),
        (),
        "CSV with a special character",
    ),
    ("custom:multiples", _multiples, (), "multiples of 7"),
    ("custom:date_format_list", _dates, (), "dates as YYYY-MM-DD"),
    ("custom:sentence_alphabet", _sentence_alphabet, (), "26 sentences from A to Z"),
    ("repeat:repeat_change", _repeat_change, ("prompt_to_repeat",), "the request with another first word"),
    ("repeat:repeat_simple", _repeat_simple, (), "one given sentence"),
)


def _kind(id: str, decide: Decide, names: tuple[str, ...], help: str) -> CheckKind:
    def check(params: Params, text: str, context: Context) -> Finding:
        if not text.strip():
            return failed("the text is empty")
        result = decide(params, text)
        good, measured = result if isinstance(result, tuple) else (result, None)
        required = ", ".join(f"{n}={params[n]}" for n in names) or help
        return passed(measured, required) if good else failed(f"not followed: {help}", measured, required)

    fields = {name: Field(_A.type, required=not name.startswith("keyword")) for name in names}
    return CheckKind(id, f"IFBench: {help}.", fields, check, tell=lambda p: f"{help[0].upper()}{help[1:]}.")


KINDS: tuple[CheckKind, ...] = tuple(_kind(*row) for row in _TABLE)
