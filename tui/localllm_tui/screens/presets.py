"""Presets: model, system prompt, sampling, rules and documents under one name; applied, kept and deleted here."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localllm.errors import LocalLLMError
from localllm.presets import Preset, delete_preset, list_presets, preset_names, save_preset
from localllm.settings import Paths
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.hint_row import HintRow
from localllm_tui.screens.pick import Pick
from localllm_tui.screens.text_dialog import TextDialog

Make = Callable[[str], Preset]
"""What the present chat uses, as a preset of this name; raises `ValueError` for a name that can't be one."""


class PresetsScreen(ModalScreen[Preset | None]):
    """Lists the presets; the result is the one to apply, or None when the chat stays as it is.

    Args:
        paths: Where presets are kept.
        make: Makes a preset of the present chat.
        current: Name of the preset that the chat was given; empty for none.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q", "leave", "Leave"),
        ("s", "save", "Save this chat"),
        ("d,delete", "delete", "Delete"),
    ]
    CSS = """
    PresetsScreen .dialog { height: 85%; width: 90%; max-width: 90; }
    PresetsScreen #presets { height: 1fr; max-height: 100%; }
    PresetsScreen #presets-note { height: auto; max-height: 4; color: $text-muted; margin: 1 0 0 0; }
    """

    def __init__(self, paths: Paths, make: Make, current: str = "") -> None:
        super().__init__()
        self._paths, self._make, self._current = paths, make, current
        self._presets: dict[str, Preset] = {}

    def compose(self) -> ComposeResult:
        """Title, list, note, keys."""
        with Vertical(classes="dialog"):
            yield Static("Presets", classes="dialog-title", markup=False)
            yield OptionList(id="presets", compact=True, markup=False)
            yield Static("", id="presets-note", markup=False)
            yield HintRow(
                [
                    ("Enter", "use in this chat", ""),
                    ("s", "save this chat as a preset", "save"),
                    ("d", "delete", "delete"),
                    ("Esc", "close", "leave"),
                ]
            )

    def on_mount(self) -> None:
        """Start at the one in use."""
        self._fill(self._current)
        self.query_one(OptionList).focus()

    def _fill(self, marked: str = "") -> None:
        presets, errors = list_presets(self._paths)
        self._presets = {preset.name: preset for preset in presets}
        listing = self.query_one(OptionList)
        listing.clear_options()
        listing.add_options([Option(self._line(preset), id=f"p-{preset.name}") for preset in presets])
        listing.add_options(
            [Option(Content.styled(f"  {clean_line(str(e))}", "$warning"), disabled=True) for e in errors]
        )
        names = list(self._presets)
        listing.highlighted = names.index(marked) if marked in names else (0 if names else None)
        where = f"They are TOML files in {self._paths.presets}."
        self._say(where if names or errors else f"There are none yet: s saves what this chat uses. {where}")

    def _line(self, preset: Preset) -> Content:
        mark = Content.styled("● " if preset.name == self._current else "  ", "$accent")
        head = mark + Content.styled(clean_line(preset.name), "bold")
        if preset.description:
            head += Content.styled(f"  {clean_line(preset.description)}", MUTED)
        return head + Content.styled(f"\n    {clean_line(preset.summary) or 'changes nothing'}", MUTED)

    def _say(self, text: str) -> None:
        self.query_one("#presets-note", Static).update(clean_line(text))

    @property
    def _here(self) -> Preset | None:
        names, at = list(self._presets), self.query_one(OptionList).highlighted
        return self._presets[names[at]] if at is not None and at < len(names) else None

    @on(OptionList.OptionSelected, "#presets")
    def _chosen(self) -> None:
        if self.is_current and self._here is not None:
            self.dismiss(self._here)

    # ---- keeping ----------------------------------------------------------------------------------------------------

    def action_save(self) -> None:
        """Ask for a name and keep what the chat uses."""
        self.app.push_screen(TextDialog("Name of the preset", self._current), self._named)

    def _named(self, name: str | None) -> None:
        name = (name or "").strip()
        if not name:
            return
        try:
            preset = self._make(name)
        except (LocalLLMError, ValueError) as error:
            self._say(f"Not saved: {error}.".replace("..", "."))
            return
        if name in preset_names(self._paths):
            choices = [Content("Keep the old one"), Content("Write over it")]
            self.app.push_screen(
                Pick(f"There is a preset {clean_line(name)} already", choices),
                lambda n: self._save(preset) if n == 1 else None,
            )
        else:
            self._save(preset)

    def _save(self, preset: Preset) -> None:
        try:
            path = save_preset(preset, self._paths)
        except (LocalLLMError, ValueError) as error:
            self._say(str(error))
            return
        self._fill(preset.name)
        self._say(f"Saved to {path}.")

    # ---- deleting ---------------------------------------------------------------------------------------------------

    def action_delete(self) -> None:
        """Ask, and delete the preset that is marked."""
        preset = self._here
        if preset is not None:
            choices = [Content("Keep it"), Content("Delete it for good")]
            self.app.push_screen(
                Pick(f"Delete the preset {clean_line(preset.name)}?", choices),
                lambda n: self._delete(preset.name) if n == 1 else None,
            )

    def _delete(self, name: str) -> None:
        try:
            delete_preset(name, self._paths)
        except LocalLLMError as error:
            self._fill()
            self._say(str(error))
            return
        self._fill()
        self._say(f"Deleted: {name}.")

    def action_leave(self) -> None:
        """The chat stays as it is."""
        if self.is_current:
            self.dismiss(None)
