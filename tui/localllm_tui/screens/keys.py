"""Keys: every action of the registry with its keys; another key is given by pressing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localllm_tui.actions import ACTIONS, BY_ID, GROUPS, PLACES, Action, Keys, key_name, key_names
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.own_keys import complaint_about
from localllm_tui.screens.hint_row import HintRow

Keep = Callable[[dict[str, str]], str]
"""Uses and stores the user's own keys; returns what went wrong, or nothing."""


class KeysScreen(ModalScreen[None]):
    """Gives actions other keys; a change holds at once.

    Args:
        keys: Those that hold now.
        keep: Called with every change.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q", "leave", "Leave"),
        ("a", "add", "A further key"),
        ("r", "reset", "As in the key set"),
    ]
    CSS = """
    KeysScreen .dialog { height: 85%; width: 95%; max-width: 100; }
    KeysScreen #actions { height: 1fr; max-height: 100%; text-wrap: nowrap; text-overflow: ellipsis; }
    KeysScreen #keys-note { height: auto; color: $text-muted; margin: 1 0 0 0; }
    """

    def __init__(self, keys: Keys, keep: Keep) -> None:
        super().__init__()
        self._keys, self._keep = keys, keep

    def compose(self) -> ComposeResult:
        """Title, list, note, keys."""
        with Vertical(classes="dialog"):
            yield Static(f"Keys ({self._keys.name})", classes="dialog-title", markup=False)
            yield OptionList(id="actions", compact=True, markup=False)
            yield Static("", id="keys-note", markup=False)
            yield HintRow(
                [
                    ("Enter", "another key", ""),
                    ("a", "a further key", "add"),
                    ("r", "as in the key set", "reset"),
                    ("Esc", "close", "leave"),
                ]
            )

    def on_mount(self) -> None:
        """All actions, by group."""
        listing = self.query_one(OptionList)
        for group in GROUPS:
            listing.add_option(Option(Content.styled(group, "bold $accent"), disabled=True))
            listing.add_options([Option(self._line(a), id=f"k-{a.id}") for a in ACTIONS if a.group == group])
        listing.highlighted = 1
        listing.focus()

    def _line(self, action: Action) -> Content:
        names = key_names(action, self._keys, most=2) or "no key"
        if len(action.key_list(self._keys)) > 2:
            names += " …"
        mark = "●" if action.id in self._keys.own else " "
        place = f"  {PLACES[action.where]}" if action.where != "anywhere" else ""
        return (
            Content.styled(f"{mark} ", "$accent")
            + Content.styled(f"{names:<22} ", "bold" if action.keys_in(self._keys) else MUTED)
            + Content(action.title)
            + Content.styled(place, MUTED)
        )

    def _say(self, text: str) -> None:
        self.query_one("#keys-note", Static).update(text)

    @property
    def _here(self) -> Action | None:
        listing = self.query_one(OptionList)
        option = listing.highlighted_option
        return BY_ID[option.id.removeprefix("k-")] if option is not None and option.id else None

    @on(OptionList.OptionSelected)
    def _chosen(self) -> None:
        self._ask(further=False)

    def action_add(self) -> None:
        """A further key for the action that is marked."""
        self._ask(further=True)

    def _ask(self, *, further: bool) -> None:
        if (action := self._here) is not None:
            self.app.push_screen(PressKey(action.title), lambda key: self._pressed(action, key, further))

    def _pressed(self, action: Action, key: str | None, further: bool) -> None:
        if key is None:
            return
        if complaint := complaint_about(action, key, self._keys):
            self._say(f"{key_name(key)} was not taken: {complaint}.")
            return
        before = action.key_list(self._keys) if further else []
        self._change(action, {**self._keys.own, action.id: ",".join(dict.fromkeys([*before, key]))})

    def action_reset(self) -> None:
        """The keys of the key set again, where nothing else has them by now."""
        action = self._here
        if action is None or action.id not in self._keys.own:
            return
        own = {name: keys for name, keys in self._keys.own.items() if name != action.id}
        without = Keys(self._keys.name, own)
        for key in action.key_list(without):
            complaint = complaint_about(action, key, without)
            if complaint.startswith("it means already"):
                self._say(f"{key_name(key)} can't be given back: {complaint}.")
                return
        self._change(action, own)

    def _change(self, action: Action, own: dict[str, str]) -> None:
        if problem := self._keep(own):
            self._say(problem)
            return
        self._keys = Keys(self._keys.name, own)
        self.query_one(OptionList).replace_option_prompt(f"k-{action.id}", self._line(action))
        self._say(f"{action.title}: {key_names(action, self._keys) or 'no key'}.")

    def action_leave(self) -> None:
        """Done."""
        if self.is_current:
            self.dismiss(None)


class PressKey(ModalScreen[str | None]):
    """Takes the next key; the result is its name, None for Esc.

    Args:
        title: What the key is for.
    """

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def compose(self) -> ComposeResult:
        """What to do."""
        with Vertical(classes="dialog"):
            yield Static(self._title, classes="title", markup=False)
            yield Static("Press the key for it. Esc leaves it as it is.", classes="hint", markup=False)

    def on_key(self, event: events.Key) -> None:
        """This one."""
        event.stop()
        event.prevent_default()
        if self.is_current:
            self.dismiss(None if event.key == "escape" else event.key)
