"""LaTeX mathematics as Unicode text. Where the meaning can't be kept, the answer is None and the source is shown."""

from __future__ import annotations

import re

_SYMBOLS: dict[str, str] = {}
for _names, _chars in (
    ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu"
     " xi pi rho sigma tau upsilon phi chi psi omega",
     "αβγδεζηθικλμνξπρστυφχψω"),
    ("Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega", "ΓΔΘΛΞΠΣΥΦΨΩ"),
    ("varepsilon vartheta varpi varrho varsigma varphi", "ϵϑϖϱςφ"),
    ("times div cdot pm mp ast star circ bullet oplus ominus otimes odot"
     " wedge vee cap cup setminus", "×÷·±∓∗⋆∘•⊕⊖⊗⊙∧∨∩∪∖"),
    ("leq geq neq le ge ne approx equiv sim simeq cong propto ll gg prec succ", "≤≥≠≤≥≠≈≡∼≃≅∝≪≫≺≻"),
    ("subset supset subseteq supseteq in notin ni emptyset varnothing forall exists nexists neg lnot land lor",
     "⊂⊃⊆⊇∈∉∋∅∅∀∃∄¬¬∧∨"),
    ("to rightarrow leftarrow leftrightarrow Rightarrow Leftarrow Leftrightarrow implies iff"
     " mapsto uparrow downarrow gets",
     "→→←↔⇒⇐⇔⇒⇔↦↑↓←"),
    ("sum prod int oint iint partial nabla infty hbar ell Re Im aleph angle perp parallel mid therefore because",
     "∑∏∫∮∬∂∇∞ℏℓℜℑℵ∠⊥∥∣∴∵"),
):  # fmt: skip
    _SYMBOLS.update(zip(_names.split(), _chars, strict=False))
_SYMBOLS |= {"ldots": "…", "dots": "…", "cdots": "⋯", "vdots": "⋮", "ddots": "⋱", "prime": "′", "degree": "°"}
_SYMBOLS |= {"dagger": "†", "langle": "⟨", "rangle": "⟩", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉"}
_SYMBOLS |= {"triangle": "△", "square": "□", "lbrace": "{", "rbrace": "}", "vert": "|", "Vert": "‖", "backslash": "\\"}
_SYMBOLS |= {"quad": "  ", "qquad": "    ", ",": " ", ";": " ", ":": " ", "!": "", " ": " ", "\\": "\n"}
_SYMBOLS |= {c: c for c in "{}%$#&_|"}
_FUNCTIONS = frozenset(
    ("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln exp lim max min sup inf det dim ker gcd"
     " arg deg").split()
)  # fmt: skip
_TEXT = frozenset(
    {"text", "mathrm", "mathit", "mathsf", "mathtt", "operatorname", "textrm", "textit", "textbf", "mathbf"}
)
_IGNORED = frozenset({"left", "right", "big", "Big", "bigg", "Bigg", "displaystyle", "textstyle", "limits", "nolimits"})
_BLACKBOARD = dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True))
_CALLIGRAPHIC = dict(zip("BEFHILMR", "ℬℰℱℋℐℒℳℛ", strict=True))
_ACCENTS = {"hat": "\u0302", "bar": "\u0304", "vec": "\u20d7", "dot": "\u0307", "ddot": "\u0308", "tilde": "\u0303"}
_HALVES = {("1", "2"): "½", ("1", "3"): "⅓", ("2", "3"): "⅔", ("1", "4"): "¼", ("3", "4"): "¾"}
_UPPER = dict(
    zip("0123456789+-=()nijkxyabcdefghlmoprstuvwzT′*", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱʲᵏˣʸᵃᵇᶜᵈᵉᶠᵍʰˡᵐᵒᵖʳˢᵗᵘᵛʷᶻᵀ′*", strict=True)
)
_LOWER = dict(zip("0123456789+-=()aehijklmnoprstuvxβγρφχ", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ", strict=True))
_TOKEN = re.compile(r"\\([A-Za-z]+)\*?|\\(.)|([{}^_])|([^\\{}^_]+)", re.DOTALL)


class _Doubt(Exception):
    """The source can't be shown as Unicode."""


def to_unicode(source: str) -> str | None:
    """The formula as Unicode text, or None where any part of it is unknown.

    Args:
        source: LaTeX without its delimiters, at most 2,000 characters.
    """
    if len(source) > 2000 or "\\begin" in source:
        return None
    tokens = [m.group(0) for m in _TOKEN.finditer(source.strip())]
    if "".join(tokens) != source.strip():
        return None
    try:
        text, rest = _sequence(tokens, 0, depth=0)
    except (_Doubt, RecursionError):
        return None
    if rest != len(tokens):
        return None
    return re.sub(r" {2,}", " ", text).strip()


def _sequence(tokens: list[str], i: int, depth: int) -> tuple[str, int]:
    out: list[str] = []
    while i < len(tokens) and tokens[i] != "}":
        if tokens[i] in ("^", "_"):
            piece, i = _script(tokens, i, depth)
            if out:
                out[-1] = out[-1].rstrip()
        else:
            piece, i = _atom(tokens, i, depth)
        out.append(piece)
    return "".join(out), i


def _atom(tokens: list[str], i: int, depth: int) -> tuple[str, int]:
    token = tokens[i]
    if depth > 20:
        raise _Doubt
    if token == "{":
        text, i = _sequence(tokens, i + 1, depth + 1)
        if i >= len(tokens):
            raise _Doubt
        return text, i + 1
    if not token.startswith("\\"):
        return re.sub(r"\s+", " ", token), i + 1
    return _command(token[1:].rstrip("*"), tokens, i + 1, depth)


def _command(name: str, tokens: list[str], i: int, depth: int) -> tuple[str, int]:
    if name in _SYMBOLS:
        return _SYMBOLS[name], i
    if name in _FUNCTIONS:
        following = tokens[i][:1] if i < len(tokens) else ""
        return name + (" " if following.isalnum() or following == "\\" else ""), i
    if name in _IGNORED:
        return "", i
    if name in ("frac", "dfrac", "tfrac"):
        over, i = _argument(tokens, i, depth)
        under, i = _argument(tokens, i, depth)
        return _HALVES.get((over, under)) or f"{_grouped(over)}/{_grouped(under)}", i
    if name == "sqrt":
        inside, i = _argument(tokens, i, depth)
        return "√" + _grouped(inside), i
    if name in _TEXT:
        return _argument(tokens, i, depth)
    if name in ("mathbb", "mathcal"):
        letter, i = _argument(tokens, i, depth)
        table = _BLACKBOARD if name == "mathbb" else _CALLIGRAPHIC
        if letter not in table:
            raise _Doubt
        return table[letter], i
    if name in _ACCENTS:
        letter, i = _argument(tokens, i, depth)
        if len(letter) != 1:
            raise _Doubt
        return letter + _ACCENTS[name], i
    if name == "boxed":
        inside, i = _argument(tokens, i, depth)
        return f"[ {inside} ]", i
    raise _Doubt


def _argument(tokens: list[str], i: int, depth: int) -> tuple[str, int]:
    """One braced group, or one character; a bare text token is cut behind its first character."""
    while i < len(tokens) and not tokens[i].strip():
        i += 1
    if i >= len(tokens) or tokens[i] in ("}", "^", "_"):
        raise _Doubt
    if tokens[i][0] in "{\\":
        return _atom(tokens, i, depth + 1)
    text = tokens[i].lstrip()
    if text.startswith("["):  # an optional argument, as of \sqrt[3]
        raise _Doubt
    tokens[i : i + 1] = [text[0], text[1:]] if len(text) > 1 else [text]
    return text[0], i + 1


def _script(tokens: list[str], i: int, depth: int) -> tuple[str, int]:
    mark, (inside, i) = tokens[i], _argument(tokens, i + 1, depth)
    table = _UPPER if mark == "^" else _LOWER
    inside = inside.replace(" ", "").replace("−", "-")
    if inside == "∘" and mark == "^":
        return "°", i
    if inside and all(c in table for c in inside):
        return "".join(table[c] for c in inside), i
    return mark + _grouped(inside), i


def _grouped(text: str) -> str:
    text = text.strip()
    plain = text.replace(".", "").replace("′", "")
    return text if plain.isalnum() or len(text) == 1 or re.fullmatch(r"√?\([^()]*\)", text) else f"({text})"
