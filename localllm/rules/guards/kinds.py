"""The guards as kinds of rules. Each help text states what was measured, and on what."""

from __future__ import annotations

from localllm.rules.checks.kinds import CheckKind, Field, Params
from localllm.rules.guards.echo import find_echo, find_word
from localllm.rules.guards.figures import FIGURES
from localllm.rules.guards.hidden import first_hidden, strip_hidden
from localllm.rules.guards.injection import clean, suspicions
from localllm.rules.guards.pii import ENTITIES, Found, find_pii, mask
from localllm.rules.guards.profanity import find_profanity
from localllm.rules.guards.secrets import find_secrets
from localllm.rules.outcome import Context, Finding, failed, not_evaluated, passed

EVERYWHERE = ("input", "retrieval", "output")


def _pii(params: Params, text: str, context: Context) -> Finding:
    return _found(find_pii(text, tuple(params["entities"])), text)


def _found(found: list[Found], text: str) -> Finding:
    if not found:
        return passed(0, "none")
    first = found[0]
    names = ", ".join(sorted({f.entity for f in found}))
    # The value itself is never repeated: verdicts go to logs.
    return failed(f"found {names}", len(found), "none", (first.start, first.end))


def _secrets(params: Params, text: str, context: Context) -> Finding:
    return _found(find_secrets(text), text)


def _profanity(params: Params, text: str, context: Context) -> Finding:
    spans = find_profanity(text, tuple(params["words"] or ()))
    return failed("swear words", len(spans), "none", spans[0]) if spans else passed(0, "none")


def _profanity_fix(params: Params, text: str, context: Context) -> str:
    for start, end in reversed(find_profanity(text, tuple(params["words"] or ()))):
        text = text[: start + 1] + "*" * (end - start - 1) + text[end:]
    return text


def _injection(params: Params, text: str, context: Context) -> Finding:
    found = [s for s in suspicions(text) if s.score >= params["threshold"]]
    if not found:
        return passed(0.0, f"under {params['threshold']}")
    worst = found[0]
    return failed(
        f"looks like an injection: {worst.family}",
        worst.score,
        f"under {params['threshold']}",
        (worst.start, worst.end),
    )


def _hidden(params: Params, text: str, context: Context) -> Finding:
    at = first_hidden(text)
    _, n = strip_hidden(text)
    if n:
        span = (at, at + 1) if at >= 0 else None
        return failed(f"{n} hidden characters", n, "none", span)
    return passed(0, "none")


def _echo(params: Params, text: str, context: Context) -> Finding:
    echo = find_echo(text, context.system, params["words"]) if context.system else None
    if echo is None:
        return passed(None, "no echo")
    return failed(
        f"the answer repeats the system prompt, {echo.form}",
        text[echo.start : echo.end][:60],
        f"under {params['words']} words in a row",
        (echo.start, echo.end),
    )


def _canary(params: Params, text: str, context: Context) -> Finding:
    echo = find_word(text, context.canary) if context.canary else None
    if echo is None:
        return passed(None, "absent")
    return failed(
        f"the canary of the system prompt came out, {echo.form}", context.canary, "absent", (echo.start, echo.end)
    )


def _guard_model(params: Params, text: str, context: Context) -> Finding:
    ask = context.scratch.get("guard")
    if not callable(ask):
        return not_evaluated("no guard model is loaded")
    answer = ask(text, params["policy"])
    if answer.safe is None:
        return not_evaluated(f"the guard model could not be asked: {answer.said[:80]}")
    return (
        passed("safe", "safe")
        if answer.safe
        else failed("the guard model says it breaks the policy", answer.said, "safe", (0, len(text)))
    )


KINDS: tuple[CheckKind, ...] = (
    CheckKind(
        "pii",
        f"Personal data with a structure; names and addresses are out of scope. {FIGURES['pii']}",
        {"entities": Field("strs", list(ENTITIES))},
        _pii,
        fix=lambda p, t, c: mask(t, find_pii(t, tuple(p["entities"]))),
        stages=EVERYWHERE,
        validate=lambda p: "" if set(p["entities"]) <= set(ENTITIES) else f"entities are {', '.join(ENTITIES)}",
    ),
    CheckKind(
        "secrets",
        f"Keys, tokens and passwords. {FIGURES['secrets']}",
        {},
        _secrets,
        fix=lambda p, t, c: mask(t, find_secrets(t)),
        stages=EVERYWHERE,
    ),
    CheckKind(
        "profanity",
        f"English swear words; this finds no hate, insult or threat. {FIGURES['profanity']}",
        {"words": Field("strs")},
        _profanity,
        fix=_profanity_fix,
        stages=EVERYWHERE,
    ),
    CheckKind(
        "prompt_injection",
        f"Wording of direct attacks: override, extraction, jailbreak, template marks. {FIGURES['prompt_injection']}",
        {"threshold": Field("number", 0.9, minimum=0.05)},
        _injection,
        fix=lambda p, t, c: clean(t),
        stages=EVERYWHERE,
    ),
    CheckKind(
        "hidden_unicode",
        f"No control, tag, bidirectional or other invisible characters. {FIGURES['hidden_unicode']}",
        {},
        _hidden,
        fix=lambda p, t, c: strip_hidden(t)[0],
        stages=EVERYWHERE,
    ),
    CheckKind(
        "prompt_echo",
        "The answer does not repeat the system prompt: as it is, in simple codes, or with words changed."
        f" {FIGURES['prompt_echo']}",
        {"words": Field("int", 12, minimum=3)},
        _echo,
    ),
    CheckKind("canary", "The secret word of the system prompt does not come out, nor in simple codes.", {}, _canary),
    CheckKind(
        "guard_model",
        f"A guard model, asked whether the text breaks a policy; not evaluated where none is loaded."
        f" {FIGURES['guard_model']}",
        {"policy": Field("str", "hate, harassment, sexual content, violence, self-harm or instructions for crimes")},
        _guard_model,
        stages=EVERYWHERE,
    ),
)
