"""The app's own themes: one accent colour, calm surfaces."""

from __future__ import annotations

from textual.color import Color
from textual.theme import Theme


def _lines(colour: str, background: str) -> dict[str, str]:
    """Borders and scrollbars of one colour, with or without the focus."""
    return {
        "border": colour,
        "border-blurred": colour,
        "scrollbar": colour,
        "scrollbar-background": background,
    }


DARK = Theme(
    name="localllm-dark",
    primary="#7aa2c8",
    secondary="#6b7f95",
    accent="#e0a458",
    foreground="#d8dbe0",
    background="#15171b",
    surface="#1a1d22",
    panel="#22262d",
    success="#8fbc8f",
    warning="#d7ba7d",
    error="#e07a7a",
    dark=True,
    variables=_lines("#2c313a", "#15171b"),
)
LIGHT = Theme(
    name="localllm-light",
    primary="#2f5d8a",
    secondary="#6b7f95",
    accent="#a85d00",
    foreground="#23272e",
    background="#fbfaf7",
    surface="#f4f2ed",
    panel="#ebe8e1",
    success="#2e7d32",
    warning="#8a6100",
    error="#b3261e",
    dark=False,
    variables=_lines("#d8d4ca", "#fbfaf7"),
)
CONTRAST = Theme(
    name="localllm-contrast",
    primary="#ffffff",
    secondary="#ffffff",
    accent="#ffd700",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#1c1c1c",
    success="#00ff00",
    warning="#ffd700",
    error="#ff6b6b",
    dark=True,
    text_alpha=1.0,
    variables={"border": "#ffffff", "text-muted": "#d0d0d0"},
)
OWN = (DARK, LIGHT, CONTRAST)


def with_markdown_colours(variables: dict[str, str]) -> dict[str, str]:
    """Theme variables with those that Markdown needs, for any theme."""
    foreground = Color.parse(variables.get("foreground", "#ffffff"))
    background = Color.parse(variables.get("background", "#000000"))
    if foreground.ansi is not None:  # the terminal's own colours: lines are quiet there, too
        muted = "ansi_bright_black"
        variables = {**variables, "border": muted, "border-blurred": muted}
    else:
        muted = background.blend(foreground, 0.58).hex
    return {
        "md-muted": muted,
        "md-block": variables.get("surface", "#1a1d22"),
        "md-code": variables.get("foreground", "#ffffff"),
        "md-code-background": variables.get("panel", "#22262d"),
        "md-faint": variables.get("border", variables.get("panel", "#555555")),
        **variables,
    }
