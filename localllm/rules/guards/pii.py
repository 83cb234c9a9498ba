"""Personal data with a structure: patterns, each proved by a checksum where there is one.

Names, addresses and birthdays have no structure and are out of scope; this is said wherever the guard is offered.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """One piece of personal data or one secret."""

    entity: str
    start: int
    end: int


def luhn(digits: str) -> bool:
    """The checksum of payment cards."""
    total = 0
    for i, c in enumerate(reversed(digits)):
        n = int(c) * (2 if i % 2 else 1)
        total += n - 9 if n > 9 else n
    return total % 10 == 0


def _card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return 12 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


def _iban(text: str) -> bool:
    plain = re.sub(r"\s", "", text).upper()
    if not 15 <= len(plain) <= 34:
        return False
    moved = plain[4:] + plain[:4]
    return int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def _ssn(text: str) -> bool:
    area, group, serial = re.split(r"[- ]", text)
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def _ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _phone(text: str) -> bool:
    digits = re.sub(r"\D", "", text.split("x")[0].split("ext")[0])
    return 8 <= len(digits) <= 15 and len(set(digits)) > 2


def _always(text: str) -> bool:
    return True


ENTITIES: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "EMAIL_ADDRESS": (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![\w-])"), _always),  # noqa: E501
    "IBAN": (re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]){11,30}(?![A-Za-z0-9])"), _iban),
    "CREDIT_CARD": (re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){11,18}(?![\d-])"), _card),
    "US_SSN": (re.compile(r"(?<![\d-])\d{3}[- ]\d{2}[- ]\d{4}(?![\d-])"), _ssn),
    "IP_ADDRESS": (re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4})+(?![\w:])"), _ip),  # noqa: E501
    "PHONE_NUMBER": (re.compile(r"(?<![\w.\-/])(?:\+\d{1,3}[\s.-]?(?:\(?\d{1,4}\)?[\s.-]?){2,5}\d{2,4}|\(\d{2,5}\)\s?\d{2,4}[\s.-]?\d{3,5}|\d{3}[.-]\d{3}[.-]\d{4}|\d{3} \d{3} \d{4}|0\d{2,4}[ -]\d{3,4}[ -]?\d{3,4})(?:\s?(?:x|ext\.?)\s?\d{1,5})?(?![\w-])"), _phone),  # noqa: E501
}  # fmt: skip


def find_pii(text: str, entities: tuple[str, ...] = tuple(ENTITIES)) -> list[Found]:
    """Pieces of the given kinds, in order, none overlapping; where two kinds match, the earlier of the table wins."""
    found: list[Found] = []
    for entity in ENTITIES:
        if entity not in entities:
            continue
        pattern, proves = ENTITIES[entity]
        for match in pattern.finditer(text):
            start, end = match.span()
            if entity == "IBAN":  # the pattern may run into the next word: the longest proved part counts
                while end - start > 15 and not _iban(text[start:end]):
                    end -= 1
                if not _iban(text[start:end]):
                    continue
            elif not proves(match[0]):
                continue
            if not any(f.start < end and start < f.end for f in found):
                found.append(Found(entity, start, end))
    return sorted(found, key=lambda f: f.start)


def mask(text: str, found: list[Found]) -> str:
    """The text with each piece replaced by the name of its kind in angle brackets."""
    for piece in reversed(found):
        text = f"{text[: piece.start]}<{piece.entity}>{text[piece.end :]}"
    return text
