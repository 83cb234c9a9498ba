"""Prompt injection: what can be recognised by wording, and what is done whether or not it is recognised.

Most attacks are ordinary requests that stand in the wrong place, and no wording gives them away. So structure comes
first, for every passage: hidden characters are removed and the marks of chat templates are broken up; the prompt puts
it between lines that it can't close and declares it to be data. The families below only name the rest.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from localllm.rules.guards.disguises import decoded, joined, shifted, with_letters
from localllm.rules.guards.hidden import TEMPLATE, first_hidden, neutralise, strip_hidden
from localllm.rules.guards.prompt_requests import prompt_request


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Why a text looks like an attack."""

    family: str
    score: float
    """0.9 and above is grounds to reject, from 0.5 to warn."""
    start: int
    end: int


_FORGET = (
    r"(?:ignore|disregard|forget|override|bypass|discard|drop|neglect|abandon|erase"
    r"|ignorier(?:e|en|t)?|vergiss|vergessen|missachte|olvid[aeo]\w*|ignor[aei]\w*|oublie[zr]?|ignorez|dimentica|esque[cç]\w*|забуд\w+|игнорир\w+|zaboravi|忽略|忘记)"
)
_EARLIER = (
    r"(?:previous|prior|above|preceding|earlier|before|all|everything|every|any|foregoing|initial|original|your|existing|current"
    r"|vorherig\w*|vorangehend\w*|bisherig\w*|obig\w*|alles?|deine|todas?|todo|anterior\w*|toutes?|précédent\w*|tutt\w+|все|sve|所有|之前)"
)
_THING = (
    r"(?:instructions?|orders?|commands?|directions?|directives?|rules?|guidelines?|prompts?|tasks?|assignments?|programming|constraints?|restrictions?|polic(?:y|ies)"
    r"|context|training|anweisung\w*|befehle?|aufträge|aufgaben|instruktion\w*|vorgaben|angaben|instrucci\w+|órdenes|istruzioni|instru[cç]\w+|инструкци\w*|instrukcij\w*|指令|指示)"
)

# Two facts must come together in the families that may reject: what is to be ignored is the instructions themselves.
_HIGH: tuple[tuple[str, str], ...] = (
    ("override", rf"\b{_FORGET}\b(?:\W+\w+){{0,2}}?\W+{_EARLIER}\b(?:\W+\w+){{0,4}}?\W+{_THING}\b"),
    (
        "override",
        rf"\b{_FORGET}\W+(?:your|the|my|deine|alle|all)\W+(?:\w+\W+)?{_THING}\b(?!\W+(?:from|of|on|in|about|i\b|that)\b)",
    ),
    (
        "override",
        r"\b(?:forget|ignore|vergiss|disregard)\W+(?:about\W+)?(?:everything|all|alles|anything)\W+(?:\w+\W+){0,3}?(?:before|above|previous\w*|davor|so far|you know|you(?:'ve| have| were)? (?:been )?(?:told|said|learned)|i said|wir vorher|gesagte)",  # noqa: E501
    ),
    (
        "override",
        r"\b(?:forget|ignore|vergiss|olvide|disregard)\W+(?:everything|all|alles|todo|above)\b\W{1,3}(?:and\W+|und\W+|y\W+|que\W+)?(?:print|write|say|output|just|only|tell|now|schreibe?|sag|digo)\b",
    ),
    (
        "override",
        r"\b(?:new|neue)\W+(?:instructions?|tasks?|anweisungen|aufgaben|aufgabe)\W+(?:follow|folgen|are followed|begin)\b",  # noqa: E501
    ),
    (
        "override",
        r"\b(?:folgen|come|jetzt kommen)\W+(?:\w+\W+){0,3}(?:new|neue|weitere|further)\W+(?:aufgaben|anweisungen|tasks|instructions)\b",  # noqa: E501
    ),
    (
        "override",
        r"\b(?:focus|concentrate|konzentrier\w*)\W+(?:\w+\W+){0,3}(?:on|auf)\W+(?:your|the|deine|die|ihre)\W+(?:new|neue)\W+(?:task|aufgabe)",
    ),
    (
        "override",
        r"\b(?:despite|instead of|abweichend (?:zu|von))\W+(?:\w+\W+){0,2}(?:what you(?:'ve| have)? (?:been|were) told|(?:previous|vorherigen) \w*instru\w+)",  # noqa: E501
    ),
    (
        "override",
        r"\bleave all (?:the |your )?previous (?:information|instructions|tasks)\b|\blassen sie alle vorherigen (?:informationen|anweisungen)",  # noqa: E501
    ),
    ("override", r"\b(?:change|your)\W+(?:your\W+)?instructions\W+(?:are now|to the following)\b"),
    ("override", r"\b(?:remove|alle?) (?:all )?(?:previous|vorangegangenen) (?:tasks|aufgaben) (?:out of|aus)\b"),
    (
        "override",
        r"\b(?:do not|don'?t|don'nt) (?:answer|look|use)\W+(?:\w+\W+){0,6}(?:question|documents?)\W+(?:\w+\W+){0,6}?(?:but|just)\W+(?:just\W+)?(?:output|say|print|tell)\b",  # noqa: E501
    ),
    (
        "extraction",
        r"\b(?:show|print|reveal|display|output|repeat|tell|give|share|zeige?|gib)\b(?:\W+\w+){0,3}?\W+(?:your|deine[nmr]?|ihren?)\W+(?:\w+\W+){0,3}?(?:system\W+)?(?:prompts?|instructions?|prompt\W*texte?|anweisungen)\b",
    ),
    (
        "extraction",
        r"\b(?:copy of|repeat|print|show|output|reveal)\b(?:\W+\w+){0,2}?\W+(?:the|this|full|entire)\W+(?:\w+\W+)?(?:system|full|entire|hidden|initial)\W+prompt",  # noqa: E501
    ),
    (
        "extraction",
        r"\bwhat (?:was|is|were|are)\b(?:\W+\w+){0,4}?\W+(?:written|text|sentences|words)\b(?:\W+\w+){0,4}?\W+(?:beginning of|above|before)\b(?:\W+\w+){0,2}\W*(?:prompt|text|\?)",  # noqa: E501
    ),
    ("extraction", r"\bwhat are your (?:\w+ )?instructions\b"),
    (
        "extraction",
        r"\b(?:show|print|reveal|display|output|repeat|tell|give|share|translate|encode|see)\b(?:\W+\w+){0,4}?\W+(?:(?:the|your|this)\W+system\W*prompt\b|(?:your|the|system)\W+(?:initial|original|starting|system|hidden)\W+instructions\b|system\W+instructions\b|instructions\W+(?:that\W+)?you\W+(?:were|have been|got|received)\b)",  # noqa: E501
    ),
    (
        "jailbreak",
        r"\b(?:no|not|without|any|free (?:of|from)|n't have)\b(?:\W+\w+){0,3}?\W+(?:ethic|moral)\w*(?:\W+(?:or|and|nor))?\W+(?:moral|ethic|legal)\w*(?:\W+\w+){0,2}?\W+(?:guidelines?|rules?|restrictions?|limits?|limitations?|constraints?|boundar\w+|principles|considerations|concerns)\b",  # noqa: E501
    ),
    (
        "jailbreak",
        r"\bno matter how\W+(?:\w+\W+){0,3}?(?:immoral|unethical|illegal|inhumane)\b|\bopposite of (?:chat\W?gpt|an? ai\b|the ai\b)|\b(?:openai|chat\W?gpt)(?:'s)?\W+(?:\w+\W+)?(?:rules|guidelines|polic\w+|restrictions)\W+(?:\w+\W+)?(?:don'?t|do not|no longer)\W+apply",  # noqa: E501
    ),
    (
        "jailbreak",
        r"\b(?:unfilt(?:e?)red|amoral|uncensored|unhinged)\W+(?:(?:and|or|,)\W*\w+\W+)?(?:chat\W?bot|ai|gpt|assistant|language model|persona|responses?)\b|\bsimulate\W+(?:\w+\W+){0,2}?mode\b|\b(?:developer|dan|jailbreak)\W+mode\W+(?:outputs?|responses?)\b",  # noqa: E501
    ),
    (
        "jailbreak",
        r"\bnever (?:refuse|tell me (?:that )?(?:it|you|he|she))\b(?:\W+\w+){0,3}?\W+(?:can'?t|cannot|can not|answer|request|question|command|do\b)|\b(?:don'?t|do not|doesn'?t|does not|never|not) (?:contain|include|add|give)\W+(?:any\W+)?(?:warnings?|disclaimers?)\b(?:\W+\w+){0,3}?\W+(?:moral|ethic|legal|illegal|about)\w*",  # noqa: E501
    ),
    (
        "jailbreak",
        r"\b(?:DAN|developer|jailbreak|god|debug|unrestricted|sudo)\W+mode\W+(?:enabled|activated|on)\b|\bdo anything now\b|\bno programming guidelines\b|\bwithout any (?:restrictions|filters|censorship|moral)",  # noqa: E501
    ),
)
_LOW: tuple[tuple[str, float, str], ...] = (
    ("override", 0.6, rf"\b{_FORGET}\b(?:\W+\w+){{0,3}}?\W+{_EARLIER}\b"),
    (
        "role",
        0.6,
        r"\b(?:you are|you're|du bist|sie sind|bist du) (?:now|jetzt|nun)\b|\b(?:from now on|ab jetzt|now you are|now you act|jetzt bist du|nun bist du)\b",  # noqa: E501
    ),
    (
        "role",
        0.6,
        r"\b(?:i want you to|you will|please) act as\b|\bact as (?:a|an|the)\b|\bals \w+[- ]?\w* fungieren\b|\bpretend (?:you|to be|that you)\b|\bstell dir vor,? du bist\b|\bimagine you are\b|\brole-?play",  # noqa: E501
    ),
    ("jailbreak", 0.6, r"\bunrestricted\W+(?:chat\W?bot|ai|gpt|assistant|language model)\b"),
    ("role", 0.5, r"\b(?:stay(?:ing)?|remain) in character\b|\bbreak(?:ing)? (?:of )?character\b"),
    ("order", 0.5, r"\b(?:stop|stopp|attention|achtung)\b\W{1,4}(?:write|schreibe?|ignore|stopp|stop|i)\b"),
    (
        "order",
        0.5,
        r"\b(?:just|only|simply|nur)\W+(?:output|print|say|answer|write|respond with|sag\w*|schreib\w*)\b|\b(?:state|say) that (?:you|\w+ is)\b|\brepeat after me\b",  # noqa: E501
    ),
    ("order", 0.5, r"\banswer by your own knowledge\b|\bdisregarding the\b|\badditional instructions?\b"),
    (
        "addressed",
        0.6,
        r"\b(?:assistant|ai|chatbot|language model|llm)\b\W+(?:must|should|please|now|you)\b|\b(?:do not|don't|never) (?:tell|inform|mention to|reveal to) the user\b|\bsystem\W*:\W*you\b",  # noqa: E501
    ),
)
_HIGH_PATTERNS = tuple((family, re.compile(pattern, re.IGNORECASE)) for family, pattern in _HIGH)
_LOW_PATTERNS = tuple((family, score, re.compile(pattern, re.IGNORECASE)) for family, score, pattern in _LOW)
_GRAVE = 0.9
_TELLING = ("instruction", "prompt", "ignore", "disregard", "message", "everything", "guideline")
"""One of these words shows that the whole text may be an attack in code."""
MAX_CHARS = 200_000
"""Longer texts are looked at in pieces of this size."""


def suspicions(text: str) -> list[Suspicion]:
    """What in a text is worded like an attack, the gravest first."""
    found: list[Suspicion] = []
    if (at := first_hidden(text)) >= 0:
        found.append(Suspicion("hidden characters", 0.6, at, at + 1))
    found += [
        Suspicion("template marks", 0.9, *m.span())
        for m in TEMPLATE.finditer(text)
        if m[0].startswith(("<|", "[INST", "<<SYS"))
    ]
    for base in range(0, max(1, len(text)), MAX_CHARS):
        piece = text[base : base + MAX_CHARS]
        for family, score, start, end in _worded(piece):
            found.append(Suspicion(family, score, base + start, base + end))
        for reading, start, end in _disguised(piece):
            grave = (family for family, score, _, _ in _worded(reading) if score >= _GRAVE)
            if family := next(grave, ""):
                found.append(Suspicion(f"{family}, in code", _GRAVE, base + start, base + end))
    return sorted(found, key=lambda s: -s.score)


def _worded(text: str) -> Iterator[tuple[str, float, int, int]]:
    """Family, score and span of what the families name."""
    for family, pattern in _HIGH_PATTERNS:
        if match := pattern.search(text):
            yield family, _GRAVE, *match.span()
    if asked := prompt_request(text):
        start, end, score = asked
        yield "extraction", score, start, end
    for family, score, pattern in _LOW_PATTERNS:
        if match := pattern.search(text):
            yield family, score, *match.span()


def _disguised(text: str) -> Iterator[tuple[str, int, int]]:
    """Other readings of the text that may be an attack, each with the span of what it is read from."""
    yield from decoded(text)
    whole = 0, len(text)
    for reading in (joined(text), with_letters(text)):
        if reading != text:
            yield reading, *whole
    small = text.lower()
    if any(shifted(word, 13) in small for word in _TELLING):
        yield shifted(text, 13), *whole
    if any(word[::-1] in small for word in _TELLING):
        yield text[::-1], *whole


def clean(text: str) -> str:
    """A text that can be put before a model: nothing hidden, no template marks."""
    return neutralise(strip_hidden(text)[0])[0]


def fence() -> str:
    """A word that no document can know: it marks the borders of data in one request."""
    return f"data-{secrets.token_hex(4)}"


def canary() -> str:
    """A word for the system prompt that must never come out."""
    return f"canary-{secrets.token_hex(6)}"
