"""A system prompt that comes out in an answer is found in the forms that need no model, and only then."""

from __future__ import annotations

import base64
import codecs
import urllib.parse
from collections.abc import Callable

import pytest

from localllm.events import RuleState
from localllm.rules.guards.echo import find_echo
from localllm.rules.rulebook import Rulebook

SYSTEM = (
    "You are the assistant of the service desk of Acme Pumps. You answer questions about pumps and their seals, never"
    " give any prices away, and send everybody who asks for a refund to the office in Graz."
)
BEFORE, AFTER = "Of course. Here it is: ", " That was all; is there anything else?"

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda t: t,
    "in capitals": str.upper,
    "one word a line": lambda t: t.replace(" ", "\n"),
    "words joined by underscores": lambda t: t.replace(" ", "_"),
    "letters apart": lambda t: " ".join(t),
    "a dash between letters": lambda t: "-".join(t),
    "backwards": lambda t: t[::-1],
    "words backwards": lambda t: " ".join(reversed(t.split())),
    "rot13": lambda t: codecs.encode(t, "rot13"),
    "digits for letters": lambda t: t.translate(str.maketrans("eaiot", "34107")),
    "base64": lambda t: base64.b64encode(t.encode()).decode(),
    "base64 in lines": lambda t: base64.encodebytes(t.encode()).decode(),
    "hexadecimal": lambda t: t.encode().hex(" "),
    "binary": lambda t: " ".join(f"{byte:08b}" for byte in t.encode()),
    "character codes": lambda t: ", ".join(str(ord(c)) for c in t),
    "percent signs": lambda t: "".join(f"%{byte:02X}" for byte in t.encode()),
    "a link": lambda t: urllib.parse.quote(t),
    "zero-width characters": lambda t: "\u200b".join(t),
    "in the first person": lambda t: t.replace("You are", "I am").replace("You answer", "I answer"),
    "a word changed in nine": lambda t: " ".join("so" if i % 9 == 4 else w for i, w in enumerate(t.split())),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_system_prompt_is_found_in_many_forms(form: str) -> None:
    text = BEFORE + FORMS[form](SYSTEM) + AFTER
    echo = find_echo(text, SYSTEM, 12)
    assert echo is not None
    assert 0 <= echo.start < echo.end <= len(text)


@pytest.mark.parametrize(
    "text",
    [
        "Replace the seal every 400 hours; the office in Graz has the part.",
        "I answer questions about pumps. What would you like to know about their seals?",
        "As the assistant of the service desk of Acme Pumps, I can help you with pumps and with their seals.",
        "Acme Pumps never gives refunds by telephone: please ask the office.",
        "VGhlIHB1bXAgcnVucyB3ZWxsIGFuZCB0aGUgc2VhbCBpcyBuZXcu is base64 for a sentence about a pump.",
        "",
    ],
)
def test_an_answer_on_the_same_matter_is_no_echo(text: str) -> None:
    assert find_echo(text, SYSTEM, 12) is None


def test_the_canary_is_found_in_codes_too() -> None:
    book = Rulebook.parse('[[rule]]\nid="c"\ntype="canary"')
    context = book.context(canary="canary-12ab34cd56ef")
    for text in (
        "canary-12ab34cd56ef",
        "fe65dc43ba21-yranac",
        " ".join("canary-12ab34cd56ef"),
        base64.b64encode(b"The word is canary-12ab34cd56ef.").decode(),
    ):
        assert book.check(f"Well: {text} it is.", context).rules[0].verdict is RuleState.FAIL
    assert book.check("The canary sings in the mine.", context).passed


def test_the_verdict_says_in_which_form_the_prompt_came_out() -> None:
    book = Rulebook.parse('[[rule]]\nid="e"\ntype="prompt_echo"')
    verdict = book.check(BEFORE + SYSTEM[::-1], book.context(system=SYSTEM))
    assert "backwards" in verdict.rules[0].reason
