"""An answer as it comes, for readers of lines: whole words, each once, with nothing drawn or overwritten."""

from __future__ import annotations

import sys

from localllm.cli.reply import CONTROL, remarks
from localllm.cli.session import Session
from localllm.counted import counted
from localllm.events import Event, Finished, FinishReason, Loading, Prefilling, Repairing, Retrieved, Token, Violation

LONGEST_WAIT = 40
"""Characters after which a text without spaces is written all the same."""
HINTS = {
    FinishReason.CANCELLED: "Stopped; the text is kept. /continue goes on, /regenerate answers again.",
    FinishReason.LENGTH: "The answer was cut off by its length. /continue goes on.",
    FinishReason.REFUSED: "Not answered.",
}


class PlainReply:
    """Follows one turn.

    Args:
        session: Whether remarks are wanted.
        prefix: The answer that is continued; it was said before.
    """

    def __init__(self, session: Session, prefix: str = "") -> None:
        self.session = session
        self.said = prefix
        """The answer as far as it was written."""
        self._waiting = ""
        self._loading = self._open = self._begun = False

    def follow(self, event: Event) -> None:
        """One more event."""
        if isinstance(event, Loading):
            if not self._loading:
                self._loading = True
                self._remark(f"Loading {event.model}.")
        elif isinstance(event, Prefilling):
            if event.done == 0 and event.total > 2048:
                self._remark(f"Reading {event.total:,} tokens.")
        elif isinstance(event, Retrieved):
            self._remark(f"{counted(len(event.passages), 'passage')} found in your documents.")
        elif isinstance(event, Token):
            self._take(event.text)
        elif isinstance(event, Violation):
            self._remark(f"Rule {event.rule.id}: {event.rule.reason or event.rule.verdict.value}")
        elif isinstance(event, Repairing):
            self._again(f"Rule {event.rule_id} is broken, attempt {event.attempt + 1}. The answer from its start:")
            self._take(event.kept)
        elif isinstance(event, Finished):
            self._finish(event)

    def end_line(self) -> None:
        """Whatever comes next begins on a line of its own."""
        self._flush()
        if self._open:
            self._write("\n")

    def _take(self, text: str) -> None:
        """Keep back the word that is still growing: a screen reader would read it in pieces."""
        self._waiting += text
        cut = max(self._waiting.rfind(" "), self._waiting.rfind("\n")) + 1
        if cut == 0 and len(self._waiting) > LONGEST_WAIT:
            cut = len(self._waiting)
        self._answer(self._waiting[:cut])
        self._waiting = self._waiting[cut:]

    def _flush(self) -> None:
        self._answer(self._waiting)
        self._waiting = ""

    def _answer(self, text: str) -> None:
        if text:
            if not self._begun:
                self._begun = True
                self._write("Answer: ")
            self.said += text
            self._write(text)

    def _again(self, why: str) -> None:
        self.end_line()
        self._remark(why)
        self.said, self._waiting, self._begun = "", "", False

    def _finish(self, finished: Finished) -> None:
        if finished.text.startswith(self.said + self._waiting):
            self._waiting = finished.text[len(self.said) :]
        else:
            self._again("The answer after checks:")
            self._waiting = finished.text
        if finished.reason is FinishReason.CANCELLED and not self._open:
            self._write("\n")  # the terminal has written ^C at the beginning of a line
        self.end_line()
        for line in remarks(finished):
            self._remark(line[:1].upper() + line[1:])
        if hint := HINTS.get(finished.reason):
            self._remark(hint)

    def _remark(self, text: str) -> None:
        if self._open:
            self._write("\n")
        if not self.session.quiet:
            self._write(text + "\n")

    def _write(self, text: str) -> None:
        text = text.translate(CONTROL)
        sys.stdout.write(text)
        sys.stdout.flush()
        if text:
            self._open = not text.endswith("\n")
