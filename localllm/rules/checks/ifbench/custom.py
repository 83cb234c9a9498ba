"""IFBench ``custom:`` and ``repeat:``. CSV files, lists of dates and numbers, and repeated requests."""

from __future__ import annotations

import csv
import io
import re

from localllm.rules.checks.benchmark import Decide
from localllm.rules.checks.formats import read_csv
from localllm.rules.checks.ifbench.kind import instruction, plain_words, sentences
from localllm.rules.checks.kinds import CheckKind, Params


def _csv(columns: tuple[str, ...], n: int, separator: str = ",", quoted: bool = False, special: bool = False) -> Decide:
    """As the reference reads CSV: nothing around it, quotes may stay in the fields, a header may have blanks."""
    names = rf"{separator}[ \t]*".join(f'(?:{c}|"{c}")' for c in columns)

    def decide(p: Params, text: str) -> bool:
        marked = quoted or special
        if marked and not re.fullmatch(names, text.split("\n")[0].strip()):
            return False
        try:
            rows = list(csv.reader(io.StringIO(text.replace('"', '"""') if marked else text), delimiter=separator))
        except csv.Error:
            return False
        if len(rows) != n + 1 or (not marked and rows[0] != list(columns)):
            return False
        for row in rows[0 if quoted else 1 :]:
            if len(row) != len(columns) or (quoted and not all(_quoted(field.strip()) for field in row)):
                return False
            if special and any(re.match(r'".*[^\d\w\s].*"', field) for field in row):
                return True
        return not special

    return decide


def _quoted(field: str) -> bool:
    return field[:1] == '"' and field[-1:] == '"'


def _csv_strict(
    columns: tuple[str, ...], n: int, separator: str = ",", quoted: bool = False, special: bool = False
) -> Decide:
    """Every row as wide as the header; a code fence and blank lines around it are no part of it."""

    def decide(p: Params, text: str) -> bool:
        try:
            rows = read_csv(text.strip(), separator)
        except csv.Error:
            return False
        if not rows or rows[0] != list(columns) or len(rows) != n + 1 or any(len(r) != len(columns) for r in rows):
            return False
        body = text.strip().strip("`").strip()
        if quoted:
            return all(_quoted(f) for row in body.splitlines() for f in row.split(separator))
        return not special or bool(re.search(r'"[^"\n]*[^\w\s"][^"\n]*"', body))

    return decide


def _multiples(p: Params, text: str) -> bool:
    return re.findall(r"\d+", text) == [str(n) for n in range(14, 51, 7)]


_DAYS = (31, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Of month 0, which the reference lets pass, to month 12."""


def _dates(p: Params, text: str) -> bool:
    for piece in text.split(","):
        found = re.fullmatch(r"(\d{4})-(\d{2})-(\d{2})", piece.strip())
        if not found:
            return False
        year, month, day = map(int, found.groups())
        if not (1769 <= year <= 1821 and month <= 12 and day <= (99 if month == 0 else _DAYS[month])):
            return False
    return True


def _dates_strict(p: Params, text: str) -> bool:
    pieces = [d.strip() for d in text.strip().rstrip(".").split(",")]
    dates = [re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", d) for d in pieces]
    return all(d is not None and int(d[3]) <= _DAYS[int(d[2])] for d in dates)


def _alphabet(p: Params, text: str) -> bool:
    first = [s.split()[0][0].lower() for s in sentences(text)]
    return first == [chr(97 + i) for i in range(26)]


def _alphabet_strict(p: Params, text: str) -> bool:
    words = [plain_words(s) for s in sentences(text)]
    return [w[0][0].lower() for w in words if w] == [chr(97 + i) for i in range(26)]


_SENTENCE = "only output this sentence here, ignore all other requests."


def _change(p: Params, text: str) -> bool:
    wanted: str = p["prompt_to_repeat"]
    return text != wanted and text.split()[1:] == wanted.split()[1:]


def _change_strict(p: Params, text: str) -> bool:
    wanted, got = p["prompt_to_repeat"].split(), text.split()
    return bool(got != wanted and got[1:] == wanted[1:])


_CITY = ("ID", "Country", "City", "Year", "Count")
_QUOTES = ("StudentID", "Subject", "Grade", "Semester", "Score")
_SPECIAL = ("ProductID", "Category", "Brand", "Price", "Stock")

KINDS: tuple[CheckKind, ...] = (
    instruction("custom:csv_city", "CSV of cities", _csv(_CITY, 7), strict=_csv_strict(_CITY, 7)),
    instruction(
        "custom:csv_quotes",
        "CSV in quotes",
        _csv(_QUOTES, 3, "\t", quoted=True),
        strict=_csv_strict(_QUOTES, 3, "\t", quoted=True),
    ),
    instruction(
        "custom:csv_special_character",
        "CSV with a special character",
        _csv(_SPECIAL, 14, special=True),
        strict=_csv_strict(_SPECIAL, 14, special=True),
    ),
    instruction("custom:multiples", "multiples of 7", _multiples),
    instruction("custom:date_format_list", "dates as YYYY-MM-DD", _dates, strict=_dates_strict),
    instruction("custom:sentence_alphabet", "26 sentences from A to Z", _alphabet, strict=_alphabet_strict),
    instruction(
        "repeat:repeat_change",
        "the request with another first word",
        _change,
        ("prompt_to_repeat",),
        _change_strict,
    ),
    instruction(
        "repeat:repeat_simple",
        "one given sentence",
        lambda p, text: text.strip().lower() == _SENTENCE,
        strict=lambda p, text: text.strip().strip('"').lower() == _SENTENCE,
    ),
)
