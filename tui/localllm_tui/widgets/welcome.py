"""What an empty chat shows: what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from localllm_tui.markdown.blocks import MUTED
from localllm_tui.markdown.clean import clean_line
from localllm_tui.widgets.message_head import link


class Welcome(Static):
    """Empty states say what to do next."""

    auto_links = False

    def __init__(self) -> None:
        super().__init__(id="welcome", markup=False)

        self._model = ""
        self._others: tuple[str, ...] = ()

    def ready(self, model: str) -> None:
        """A model is there, or, without a name, on its way."""
        self._model = model
        self._show()

    def found(self, models: Sequence[str]) -> None:
        """What else is on this computer to chat with."""
        self._others = tuple(models)
        if self._is_ready:
            self._show()

    _is_ready = False

    def _show(self) -> None:
        self._is_ready = True
        name = clean_line(self._model)
        first = f"{name} is ready." if name else "The model is being loaded; you can write already."
        self.update(
            Content("localllm\n").stylize("bold $accent")
            + Content.styled("A private assistant. Nothing leaves this computer.\n\n", MUTED)
            + Content(first + "\n")
            + Content.styled(also(self._model, self._others), MUTED)
            + Content("\n")
            + _row("Enter", "send the prompt", "screen.send")
            + _row("F4", "ask your own documents", "screen.documents")
            + _row("Ctrl+K", "find any action, chat or model", "screen.palette")
            + _row("Ctrl+F", "search all chats", "screen.search_chats")
            + _row("F1", "help", "screen.help")
        )

    def no_model(self, reason: str, offline: bool) -> None:
        """Offer the starter."""
        self._is_ready = False
        text = (
            Content("localllm\n").stylize("bold $accent")
            + Content.styled(clean_line(reason) + "\n\n", "")
            + Content("Press Enter to get the starter model: SmolLM2-135M, 98 MB, Apache-2.0.\n\n")
            + link("[ Get the starter ]", "screen.get_starter", "bold $accent")
            + Content.styled("\n\nOr copy a .gguf file into the models folder, and choose it with F3.", MUTED)
        )
        if offline:
            text += Content.styled("\nThe network is switched off by your settings (offline = true).", "$warning")
        self.update(text)

    def progress(self, text: str) -> None:
        """Something is being fetched."""
        self.update(Content("localllm\n").stylize("bold $accent") + Content(clean_line(text)))


def also(model: str, others: Sequence[str], most: int = 3) -> str:
    """Which other models could be used, the first few by name."""
    names = [clean_line(name) for name in others if name != model]
    if not names:
        return ""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"Also on this computer: {', '.join(names[:most])}{rest}. F3 switches.\n"


def _row(key: str, text: str, action: str) -> Content:
    return link(f"{key:<8}", action, "bold") + link(text + "\n", action)
