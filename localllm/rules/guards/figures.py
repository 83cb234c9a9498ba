"""What each guard was measured to find and to flag wrongly (``python -m bench.guards`` prints these figures again)."""

FIGURES: dict[str, str] = {
    "pii": (
        "Measured on 750 presidio-research sentences, recall/precision: e-mail 1.00/1.00, card 1.00/1.00, IBAN 0.91/1.00,"  # noqa: E501
        " US SSN 1.00/1.00, IP 1.00/1.00, phone 0.45/1.00; 0 of 606 sentences without such data flagged."
    ),
    "secrets": "Measured: 1.00 of 200 made-up keys and passwords found, 0 of 1,287 harmless texts flagged.",
    "profanity": "Measured: 1 of 1,287 harmless texts flagged; recall was not measured.",
    "prompt_injection": (
        "Measured at the threshold 0.9: 0 of 1,287 harmless texts flagged; 0.88 of the attacks of the kinds named and 0.43"  # noqa: E501
        " of all attacks found in the deepset training part, on which the patterns were written: expect less elsewhere."
        " Requests planted in passages (BIPIA): 0 found, only the fence helps there."
    ),
}
