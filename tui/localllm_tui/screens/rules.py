"""Rule sets to choose from, and the verdict on an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localllm.counted import counted
from localllm.errors import LocalLLMError
from localllm.events import RuleState, RuleVerdict, Verdict
from localllm.settings import Paths
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.hint_row import HintRow
from localllm_tui.screens.show_text import ShowText


@dataclass(frozen=True, slots=True)
class Entry:
    """A rule set that can be chosen."""

    name: str
    """What a chat names it by."""
    title: str
    facts: str
    problem: str = ""
    """Why it can't be used."""


def rule_sets(paths: Paths) -> list[Entry]:
    """The user's own rule sets, then those that come with localllm; a broken file is listed with what is wrong."""
    from localllm.rules.rulebook import ready_sets
    from localllm.rules.ruleset import read_ruleset

    own = {path.stem: path for path in sorted(paths.rules.glob("*.toml"))} if paths.rules.is_dir() else {}
    entries = []
    for name, path in [*own.items(), *((n, p) for n, p in ready_sets().items() if n not in own)]:
        try:
            rules = read_ruleset(path)
        except LocalLLMError as error:
            entries.append(Entry(name, name, "", error.message))
            continue
        count = counted(len(rules.rules), "rule")
        facts = f"{count}, your own" if name in own else count
        entries.append(Entry(name, rules.description or rules.name, facts))
    return entries


class RulesScreen(ModalScreen[str | None]):
    """Chooses the rule set of a chat; the result is its name, empty for none, or None when nothing changes.

    Args:
        paths: Where the user's own rule sets are.
        current: Name of the rule set in use; empty for none.
    """

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "leave", "Leave")]
    CSS = """
    RulesScreen .dialog { height: 85%; }
    RulesScreen .dialog OptionList { height: 1fr; max-height: 100%; }
    RulesScreen #rules-note { height: auto; color: $text-muted; margin: 1 0 0 0; }
    """

    def __init__(self, paths: Paths, current: str = "") -> None:
        super().__init__()
        self._paths, self._current = paths, current

    def compose(self) -> ComposeResult:
        """Title, list, note, keys."""
        with Vertical(classes="dialog"):
            yield Static("What answers in this chat must look like", classes="dialog-title", markup=False)
            options = [Option(self._line("", "No rules", ""), id="none")]
            for entry in rule_sets(self._paths):
                if entry.problem:
                    text = Content.styled(f"  {clean_line(entry.name)}", "bold") + Content.styled(
                        f"\n    {clean_line(entry.problem)}", "$warning"
                    )
                    options.append(Option(text, disabled=True))
                else:
                    options.append(Option(self._line(entry.name, entry.title, entry.facts), id=f"set-{entry.name}"))
            yield OptionList(*options, id="rule-sets", compact=True, markup=False)
            yield Static(f"Your own TOML files belong into {self._paths.rules}.", id="rules-note", markup=False)
            yield HintRow([("Enter", "choose", ""), ("Esc", "close", "leave")])

    def _line(self, name: str, title: str, facts: str) -> Content:
        mark = Content.styled("● " if name == self._current else "  ", "$accent")
        head = mark + Content.styled(clean_line(name or title), "bold")
        return head + Content.styled(f"\n    {clean_line(title).rstrip('.')} ({facts})", MUTED) if name else head

    def on_mount(self) -> None:
        """Start at the one in use."""
        listing = self.query_one(OptionList)
        ids = [option.id for option in listing.options]
        wanted = f"set-{self._current}" if self._current else "none"
        listing.highlighted = ids.index(wanted) if wanted in ids else 0
        listing.focus()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss((event.option.id or "").removeprefix("set-") if event.option.id != "none" else "")

    def action_leave(self) -> None:
        """Nothing changes."""
        self.dismiss(None)


NO_TRAIL = Content("")


class VerdictScreen(ModalScreen[str | None]):
    """What became of each rule; the result is ``repair`` when the answer is to be made again, else None.

    Args:
        verdict: Of one answer.
        text: The answer it speaks of.
        can_repair: Offer to answer again.
        trail: Every attempt as the audit log holds it; empty where it holds none.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q", "leave", "Close"),
        ("r", "repair", "Answer again"),
        ("a", "audit", "Audit trail"),
    ]
    CSS = """
    VerdictScreen .dialog { max-height: 85%; width: 80%; max-width: 100; }
    VerdictScreen VerticalScroll { height: auto; max-height: 45vh; scrollbar-size-vertical: 1; }
    VerdictScreen #verdict-text { height: auto; }
    VerdictScreen HintRow { height: auto; margin: 1 0 0 0; }
    """

    def __init__(self, verdict: Verdict, text: str, *, can_repair: bool = False, trail: Content = NO_TRAIL) -> None:
        super().__init__()
        self._trail = trail
        self._verdict, self._text, self._can_repair = verdict, text, can_repair

    def compose(self) -> ComposeResult:
        """Title, rules, keys."""
        with Vertical(classes="dialog"):
            yield Static(headline(self._verdict), classes="dialog-title", markup=False)
            with VerticalScroll():
                yield Static(verdict_text(self._verdict, self._text), id="verdict-text")
            keys = [("r", "answer again", "repair")] if self._can_repair and not self._verdict.passed else []
            keys += [("a", "audit trail", "audit")] if self._trail else []
            yield HintRow([*keys, ("Esc", "close", "leave")])

    def on_mount(self) -> None:
        """Scrolled with the arrow keys."""
        self.query_one(VerticalScroll).focus()

    def action_repair(self) -> None:
        """Make the answer again, where that was offered."""
        if self._can_repair and not self._verdict.passed:
            self.dismiss("repair")

    def action_audit(self) -> None:
        """Every attempt, as the log holds it."""
        if self._trail:
            self.app.push_screen(ShowText("Audit trail of this answer", self._trail))

    def action_leave(self) -> None:
        """Close."""
        self.dismiss(None)


KEPT = (RuleState.PASS, RuleState.FIXED, RuleState.REPAIRED)


def headline(verdict: Verdict) -> str:
    """The verdict in a few words; rules that only warn don't fail an answer, and are not kept either."""
    if not verdict.passed:
        return "Not every rule is kept"
    warned = sum(rule.verdict not in KEPT for rule in verdict.rules)
    if not warned:
        return "Every rule is kept"
    return "One rule is not kept: it only warns" if warned == 1 else f"{warned} rules are not kept: they only warn"


MARKS = {
    RuleState.PASS: ("✓ pass", "$success"),
    RuleState.FIXED: ("✓ fixed", "$success"),
    RuleState.REPAIRED: ("✓ repaired", "$success"),
    RuleState.WARN: ("! warn", "$warning"),
    RuleState.FAIL: ("✗ fail", "$error"),
    RuleState.TRUNCATED: ("… truncated", "$warning"),
    RuleState.NOT_EVALUATED: ("- not evaluated", MUTED),
}


def verdict_text(verdict: Verdict, text: str) -> Content:
    """One paragraph per rule, failures first."""
    order = [RuleState.FAIL, RuleState.TRUNCATED, RuleState.WARN, RuleState.NOT_EVALUATED]
    rules = sorted(verdict.rules, key=lambda r: order.index(r.verdict) if r.verdict in order else len(order))
    return Content("\n").join([line for rule in rules for line in _rule_lines(rule, text)])


def _rule_lines(rule: RuleVerdict, text: str) -> list[Content]:
    word, style = MARKS[rule.verdict]
    lines = [Content.styled(f"{word:<16}", style) + Content.styled(clean_line(rule.id), "bold")]
    facts = [
        f"{name} {clean_line(str(value))}"
        for name, value in (("measured", rule.measured), ("required", rule.required))
        if value is not None
    ]
    if facts:
        lines.append(Content.styled(" " * 16 + ", ".join(facts), MUTED))
    if rule.reason:
        lines.append(Content.styled(" " * 16 + clean_line(rule.reason), MUTED))
    if rule.span is not None and rule.verdict in (RuleState.FAIL, RuleState.WARN):
        piece = clean_line(text[rule.span.start : rule.span.end])
        if piece:
            lines.append(
                Content(" " * 16) + Content.styled(piece[:300] + ("…" if len(piece) > 300 else ""), "underline")
            )
    return lines
