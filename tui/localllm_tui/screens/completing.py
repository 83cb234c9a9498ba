"""Completion of commands and files above the prompt."""

from __future__ import annotations

from textual import events, on
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from localllm_tui import mentions
from localllm_tui.actions import ACTIONS, BY_SLASH
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.asking import Asking
from localllm_tui.widgets.prompt import Prompt


class Completing(Asking):
    """Offers what may follow while the user types."""

    _offers: tuple[str, ...] = ()
    _offered_for = ""
    """The word that the offers complete: keys may be faster than the list."""

    @property
    def completions(self) -> OptionList:
        """The list above the prompt."""
        return self.query_one("#completions", OptionList)

    @on(Prompt.Completing)
    def complete(self, asked: Prompt.Completing) -> None:
        """Show what may follow."""
        self._offer(asked.prefix)

    def _offer(self, prefix: str) -> None:
        entries = offers(prefix)
        if len(entries) == 1 and entries[0][0] == prefix:
            entries = []
        self._offered_for = prefix
        self._offers = tuple(full for full, _ in entries)
        self.completions.clear_options()
        self.completions.add_options([Option(content) for _, content in entries])
        self._open(bool(entries))
        if entries:
            self.completions.highlighted = 0

    def _open(self, is_open: bool) -> None:
        self.completions.set_class(is_open, "-on")
        self.prompt.completing = is_open

    def on_key(self, event: events.Key) -> None:
        """Arrow keys, Tab, Enter and Esc belong to the list while it is open."""
        if not self.prompt.completing or not self.prompt.has_focus:
            return
        match event.key:
            case "up":
                self.completions.action_cursor_up()
            case "down":
                self.completions.action_cursor_down()
            case "tab" | "enter":
                word = self.prompt.word_before_cursor()
                if word != self._offered_for:
                    self._offer(word)
                if event.key == "enter" and (word[1:] in BY_SLASH or not self._offers):
                    self._open(False)
                    self.run_worker(self.run_action("send"))
                else:
                    self._accept(self.completions.highlighted or 0, run=event.key == "enter")
            case "escape":
                self._open(False)
            case _:
                return
        event.stop()
        event.prevent_default()

    @on(OptionList.OptionSelected, "#completions")
    def clicked(self, event: OptionList.OptionSelected) -> None:
        """A click takes it."""
        event.stop()
        self._accept(event.option_index)
        self.set_focus(self.prompt)

    def _accept(self, index: int, run: bool = False) -> None:
        if not 0 <= index < len(self._offers):
            return
        full = self._offers[index]
        self._open(False)
        if full.startswith("/"):
            action = next(a for a in ACTIONS if f"/{a.slash}" == full)
            self.prompt.complete(full + (" " if action.argument else ""))
            if run and not action.argument:
                self.call_after_refresh(self.run_action, "send")
        else:
            self.prompt.complete(full if full.endswith("/") else full + " ")


def offers(prefix: str) -> list[tuple[str, Content]]:
    """What may complete ``/command`` or ``@file``: (whole word, how it is shown)."""
    if prefix.startswith("/"):
        found = [a for a in ACTIONS if a.slash and a.slash.startswith(prefix[1:].lower())]
        return [
            (
                f"/{a.slash}",
                Content.styled(f"/{a.slash} {a.argument}".ljust(28), "bold") + Content.styled(a.title, MUTED),
            )
            for a in sorted(found, key=lambda a: a.slash)
        ]
    if prefix.startswith("@") and '"' not in prefix:
        shown = [name for name in mentions.names(prefix[1:]) if " " not in name and clean_line(name) == name]
        return [(f"@{name}", Content(f"@{name}")) for name in shown]
    return []
