"""What stands over a message, and the row of what can be done with it."""

from __future__ import annotations

from textual.content import Content
from textual.style import Style

from localllm.events import Role, RuleState
from localllm.history import MessageState, StoredMessage
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line
from localllm_tui.markdown.layout import Row


def short_model(name: str) -> str:
    """``SmolLM2-135M-Instruct.Q4_1`` is called ``SmolLM2-135M-Instruct``."""
    stem, dot, quantization = name.rpartition(".")
    return stem if dot and quantization[:1].upper() in "QFBI" and len(quantization) < 10 else name


def link(text: str, action: str, style: str = MUTED) -> Content:
    """Text that runs an action of the screen when clicked."""
    return Content.styled(text, style).stylize(Style.from_meta({"@click": action}))


def name_of(message: StoredMessage, speaker: str = "") -> str:
    """Who speaks: ``You``, the model, or else the `speaker` where no model is known."""
    if message.role is Role.ASSISTANT:
        return clean_line(short_model(message.model or speaker)) or "Assistant"
    return "You" if message.role is Role.USER else "System"


def head_row(message: StoredMessage, place: tuple[int, int], width: int, speaker: str = "") -> Row:
    """Who speaks; at the right what rules say, and which alternative this is."""
    accent = " $accent" if message.role is Role.ASSISTANT else ""
    name = Content.styled(name_of(message, speaker), f"bold{accent}")
    right: list[Content] = []
    if message.verdict is not None and message.verdict.rules:
        good = sum(r.verdict in (RuleState.PASS, RuleState.FIXED, RuleState.REPAIRED) for r in message.verdict.rules)
        n_rules = len(message.verdict.rules)
        passed = ("✓", "$success") if good == n_rules else ("!", "$warning")
        mark, style = passed if message.verdict.passed else ("✗", "$error")
        right.append(link(f"rules {good}/{n_rules} {mark}", f"screen.verdict({message.id})", style))
    n, total = place
    if total > 1:
        right.append(
            link("‹ ", f"screen.branch({message.id}, -1)", "bold" if n > 1 else MUTED)
            + Content.styled(f"{n}/{total}", "")
            + link(" ›", f"screen.branch({message.id}, 1)", "bold" if n < total else MUTED)
        )
    end = Content("  ").join(right)
    space = width - name.cell_length - end.cell_length
    if space < 1 or not end:
        return Row(name, len(name))
    return Row(name + Content(" " * space) + end, len(name) + space + len(end))


def thought_for(seconds: float) -> str:
    """``Thought for 12 s``; without the time where it is not known or too short to tell."""
    whole = round(seconds)
    if not whole:
        return "Thought"
    return f"Thought for {whole // 60} min {whole % 60} s" if whole >= 60 else f"Thought for {whole} s"


def actions_row(message: StoredMessage, width: int) -> Content | None:
    """What can be done with the message in focus, each with its key; clicking does it."""
    entries = [("copy", "y"), ("edit", "e")]
    if message.role is Role.ASSISTANT and message.state is not MessageState.STREAMING:
        entries += [("regenerate", "r"), ("continue", "c")]
    entries += [("fork", "f")]
    row = Content("")
    for name, key in entries:
        piece = link(key, f"screen.{name}_message", "bold $accent") + link(f" {name}", f"screen.{name}_message")
        joined = row + Content("   ") + piece if row else piece
        if joined.cell_length > width:
            break
        row = joined
    return row if row else None
