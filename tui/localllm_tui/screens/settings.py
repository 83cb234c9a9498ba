"""The settings, made from their declarations: searchable, checked, written to the file at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from localllm.errors import LocalLLMError
from localllm.settings import Paths, Settings, rule_of, save_setting
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.hint_row import HintRow
from localllm_tui.screens.model_news import LOADS
from localllm_tui.screens.pick import Pick
from localllm_tui.screens.text_dialog import TextDialog


class SettingsScreen(ModalScreen[Settings]):
    """Lists every setting; the result is all of them as they stand in the end.

    Args:
        settings: As they stand.
        paths: Where the file is.
        on_change: Called with the name and the new settings after each change that was written.
        choices: Names to choose from for settings whose declaration can't know them, such as themes.
        names: The settings to list; None means all.
        base: What is called a change, and what a reset goes back to; None means the defaults.
        save: Keeps a value; None writes it to the file.
        title: Over the list.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "leave", "Close"),
        ("slash", "search", "Search"),
        ("d", "reset", "Default"),
    ]
    CSS = """
    SettingsScreen .dialog { height: 85%; width: 80%; max-width: 100; }
    SettingsScreen .dialog OptionList { height: 1fr; max-height: 100%; }
    SettingsScreen Input { margin: 0 0 1 0; }
    """

    def __init__(
        self,
        settings: Settings,
        paths: Paths,
        on_change: Callable[[str, Settings], None] | None = None,
        choices: Mapping[str, list[str]] | None = None,
        *,
        names: Collection[str] | None = None,
        base: Settings | None = None,
        save: Callable[[str, object], None] | None = None,
        title: str = "Settings",
    ) -> None:
        super().__init__()
        self.settings = settings
        self._paths = paths
        self._on_change = on_change
        self._choices = dict(choices or {})
        self._fields = [f for f in fields(Settings) if names is None or f.name in names]
        self._base = base or Settings()
        self._save = save or partial(save_setting, paths)
        self._title = title

    def compose(self) -> ComposeResult:
        """Title, search, list, keys."""
        with Vertical(classes="dialog"):
            yield Static(self._title, classes="dialog-title", markup=False)
            yield Input(placeholder="Search", compact=True, id="settings-search")
            yield OptionList(id="settings", compact=True, markup=False)
            yield HintRow(
                [
                    ("Enter", "change", ""),
                    ("/", "search", "search"),
                    ("d", "back to the default", "reset"),
                    ("Esc", "close", "leave"),
                ]
            )

    def on_mount(self) -> None:
        """List them all."""
        self.fill()
        self.query_one(OptionList).focus()

    def fill(self, highlighted: str = "") -> None:
        """List the settings in whose name, group or help every word of the search occurs."""
        listing = self.query_one(OptionList)
        words = self.query_one(Input).value.lower().split()
        listing.clear_options()
        group = ""
        for field in self._fields:
            rule = rule_of(field.name)
            if not all(word in f"{field.name} {rule.group} {rule.help}".lower() for word in words):
                continue
            if rule.group != group:
                group = rule.group
                listing.add_option(Option(Content.styled(group.capitalize(), f"bold {MUTED}"), disabled=True))
            value = getattr(self.settings, field.name)
            listing.add_option(
                Option(line_of(field.name, value, value != getattr(self._base, field.name), rule.help), id=field.name)
            )
        ids = [option.id for option in listing.options]
        if not ids:
            listing.add_option(Option(Content.styled("No setting has these words.", MUTED), disabled=True))
        at = ids.index(highlighted) if highlighted in ids else next((n for n, id in enumerate(ids) if id), None)
        listing.highlighted = at

    @on(Input.Changed, "#settings-search")
    def _searched(self) -> None:
        self.fill()

    @on(Input.Submitted, "#settings-search")
    def _to_list(self) -> None:
        self.query_one(OptionList).focus()

    @on(OptionList.OptionSelected, "#settings")
    def _selected(self, event: OptionList.OptionSelected) -> None:
        if event.option.id:
            self.ask(event.option.id)

    @work
    async def ask(self, name: str) -> None:
        """Ask for a new value; true and false change places at once."""
        rule, value = rule_of(name), getattr(self.settings, name)
        title = f"{name}: {rule.help}"
        choices = list(rule.choices) or self._choices.get(name, [])
        if isinstance(value, bool):
            self.change(name, not value)
        elif choices:
            entries = [Content(clean_line(choice) or "(empty)") for choice in choices]
            picked = await self.app.push_screen_wait(
                Pick(title, entries, choices.index(value) if value in choices else 0)
            )
            if picked is not None:
                self.change(name, choices[picked])
        else:
            text = await self.app.push_screen_wait(TextDialog(title, str(value)))
            if text is not None:
                self.change(name, typed(text, type(value)))

    def change(self, name: str, value: object) -> bool:
        """Check a value, write it to the file and take it; False, and said, when it can't be."""
        if value == getattr(self.settings, name):
            return True
        try:
            changed = replace(self.settings, **{name: value})  # type: ignore[arg-type]
            self._save(name, value)
        except (ValueError, LocalLLMError) as error:
            self.notify(str(error), severity="error", markup=False)
            return False
        self.settings = changed
        if self._on_change is not None:
            self._on_change(name, changed)
        if name in LOADS:
            self.notify(f"{name} counts from the next load of a model.", markup=False)
        self.fill(name)
        return True

    def action_search(self) -> None:
        """Go to the search."""
        self.query_one(Input).focus()

    def action_reset(self) -> None:
        """The highlighted setting gets its default."""
        listing = self.query_one(OptionList)
        if listing.highlighted is not None and (name := listing.get_option_at_index(listing.highlighted).id):
            self.change(name, getattr(self._base, name))

    def action_leave(self) -> None:
        """Close; everything was written already."""
        self.dismiss(self.settings)


def line_of(name: str, value: object, changed: bool, help: str) -> Content:
    """One setting: name, value (marked when it is not the default), and what it means."""
    shown = "(empty)" if value == "" else {True: "yes", False: "no"}.get(value, clean_line(str(value))) \
        if isinstance(value, bool) else clean_line(str(value)) or "(empty)"  # fmt: skip
    mark = "• " if changed else "  "
    style = "bold $accent" if changed else "bold"
    head = Content.styled(mark, "$accent") + Content(f"{name:<16}") + Content.styled(shown, style)
    return head + Content.styled(f"\n    {help}", MUTED)


def typed(text: str, kind: type) -> object:
    """The text as the setting's type; what can't be one stays text, and is refused with a reason."""
    text = text.strip()
    try:
        return kind(text)
    except ValueError:
        return text
