"""IFEval ``combination:``. Two answers, and the request repeated before the answer."""

from __future__ import annotations

from localllm.rules.checks.ifeval.kind import TEXT, instruction
from localllm.rules.checks.ifeval.stars import NO_STARS
from localllm.rules.checks.kinds import CheckKind, Fragment, Params
from localllm.rules.checks.words import ANY, rust_literal


def _two(p: Params, text: str) -> tuple[bool, int]:
    parts = text.split("******")
    blank = [i for i, part in enumerate(parts) if not part.strip()]
    valid = [part.strip() for part in parts if part.strip()]
    good = not any(0 < i < len(parts) - 1 for i in blank)
    return good and len(valid) == 2 and valid[0] != valid[1], len(valid)


def _repeat(p: Params, text: str) -> bool:
    return text.strip().lower().startswith(p["prompt_to_repeat"].strip().lower())


def _two_grammar(p: Params) -> list[Fragment]:
    part = rf"[^*\s]{NO_STARS}*[^*\s]"
    return [Fragment(rf"{part}\n\*{{6}}\n{part}")]


KINDS: tuple[CheckKind, ...] = (
    instruction(
        "combination:two_responses",
        _two,
        {},
        lambda p: "Give two different answers, separated by ******.",
        _two_grammar,
    ),
    instruction(
        "combination:repeat_prompt",
        _repeat,
        {"prompt_to_repeat": TEXT},
        lambda p: "First repeat the request word for word, then answer it.",
        lambda p: [Fragment(rust_literal(p["prompt_to_repeat"].strip()) + rf"\n\n\S{ANY}")],
        lambda p, t: f"{p['prompt_to_repeat'].strip()}\n\n{t.lstrip()}",
    ),
)
