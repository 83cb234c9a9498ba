"""Actions of the rules of answers: gauges, verdict, repair, audit trail."""

from __future__ import annotations

import datetime

from textual.content import Content

from localllm.errors import LocalLLMError
from localllm.events import RuleState, Verdict
from localllm.history import ChatOptions, StoredMessage
from localllm.rules.gauges import LiveGauges
from localllm.rules.trail import AuditRecord, read_trail
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.preset_actions import PresetActions
from localllm_tui.turn import Turn
from localllm_tui.widgets.gauges import Gauges


class RuleActions(PresetActions):
    """What becomes of the rules."""

    _gauged: Turn | None = None
    _gauges: LiveGauges | None = None

    # ---- while an answer is written ---------------------------------------------------------------------------------

    def show_gauges(self, turn: Turn | None) -> None:
        """The gauges of the answer that is written on the screen; None hides them."""
        line = self.query_one(Gauges)
        if turn is None:
            self._gauged = None
            line.hide()
            return
        if turn is not self._gauged:
            self._gauged, self._gauges = turn, self._open_gauges()
        if self._gauges is not None:
            line.show(self._gauges.read(turn.text), self._gauges.later)

    def _open_gauges(self) -> LiveGauges | None:
        from localllm.assistant import chat_settings
        from localllm.rules.rulebook import find_ruleset
        from localllm.rules.ruleset import read_ruleset

        chat = self.conversation.chat
        try:
            name = chat_settings(self.settings, chat.options if chat is not None else ChatOptions()).rules
            rules = read_ruleset(find_ruleset(name, self.paths.rules)).of_stage("output") if name else ()
        except LocalLLMError:  # the answer itself says what is wrong
            return None
        return LiveGauges(rules) if rules else None

    # ---- behind an answer -------------------------------------------------------------------------------------------

    def action_verdict(self, message_id: int = 0) -> None:
        """What became of each rule of an answer."""
        from localllm_tui.screens.rules import VerdictScreen

        message = self.conversation.history.message(message_id) if message_id else self._answer_here()
        if message is None or message.verdict is None:
            self.say("No rules were checked for this answer.")
            return
        trail = trail_text(read_trail(self.paths.logs, message.content))
        screen = VerdictScreen(message.verdict, message.content, can_repair=self.turn is None, trail=trail)
        self.app.push_screen(screen, lambda result: self.repair(message) if result == "repair" else None)

    def action_repair(self) -> None:
        """Answer again, and tell the model which rules the answer in focus broke."""
        message = self._answer_here()
        if message is None or message.verdict is None:
            self.say("No rules were checked for this answer.")
        elif not broken(message.verdict):
            self.say("Every rule is kept.")
        else:
            self.repair(message)

    def repair(self, message: StoredMessage) -> None:
        """A new answer beside this one, asked for with the faults."""
        assert message.verdict is not None
        faults = feedback_on(message.verdict)
        if self._free():
            self._begin(lambda: self.conversation.repair(message.id, faults, self.notify_turn))


def broken(verdict: Verdict) -> bool:
    """Whether there is something to repair; a warning is, too."""
    return any(r.verdict in (RuleState.FAIL, RuleState.WARN, RuleState.TRUNCATED) for r in verdict.rules)


def feedback_on(verdict: Verdict, most: int = 600) -> str:
    """What the model is told of its faults: each rule with what was measured; never the answer itself."""
    faults = []
    for rule in verdict.rules:
        if rule.verdict in (RuleState.FAIL, RuleState.WARN, RuleState.TRUNCATED):
            wanted = f" (wanted: {rule.required})" if rule.required is not None else ""
            faults.append(f"{rule.id}: {rule.reason or 'not followed'}{wanted}.")
    text = "Your last answer broke rules. " + " ".join(faults)
    return f"{text[:most].rstrip()} Answer again and follow every rule."


def trail_text(trail: tuple[AuditRecord, ...]) -> Content:
    """The attempts of one answer, for reading; empty where the log holds none."""
    lines: list[Content] = []
    for record in trail:
        at = datetime.datetime.fromisoformat(record.time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        word, style = ("✓ kept", "$success") if record.passed else ("✗ broken", "$error")
        head = Content.styled(f"Attempt {record.attempt}  ", "bold") + Content.styled(word, style)
        lines += [
            *([Content("")] if lines else []),
            head,
            Content.styled(f"  {at}  {clean_line(record.model)}", MUTED),
            Content.styled(
                f"  rules {clean_line(record.ruleset)} {clean_line(record.version)} ({record.ruleset_sha256[:12]}),"
                f" text {record.chars:,} characters ({record.text_sha256[:12]})",
                MUTED,
            ),
            *[Content(f"  {verdict.replace('_', ' '):<15} {clean_line(rule)}") for rule, verdict in record.rules],
        ]
    return Content("\n").join(lines)
