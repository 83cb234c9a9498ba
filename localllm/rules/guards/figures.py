"""What each guard was measured to find and to flag wrongly (`python -m bench.guards` prints and compares these)."""

FIGURES: dict[str, str] = {
    "pii": "",
    "secrets": "",
    "profanity": "",
    "prompt_injection": "",
}
