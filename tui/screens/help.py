"""The help: purpose and keys of the screen it was asked from first, the keys of every screen after them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.text import Text
from textual.binding import ActiveBinding
from textual.screen import ModalScreen, Screen

from tui.screens.text import TextScreen

EVERYWHERE = (
    ("1 2 3", "Registry, Runs, Tuning"),
    ("^p", "command palette: every command and every version by name"),
    ("r", "read the whole store again"),
    ("e", "the full text of the last error"),
    ("d", "open the built-in demo store"),
    ("^q, q", "quit; runs and the queue continue"),
)
"""Keys of the three main screens; those over them have none of these."""


class HelpScreen(TextScreen):
    """Help of a screen.

    Parameters
    ----------
    screen : the screen the help was asked from; its class has the text `HELP_TEXT`.
    """

    def __init__(self, screen: Screen[Any]) -> None:
        name = type(screen).__name__.removesuffix("Screen")
        text = Text()
        if purpose := getattr(screen, "HELP_TEXT", ""):
            text.append(" ".join(purpose.split()) + "\n\n")
        text.append(f"Keys of {name}\n", style="bold")
        own = [b for b in screen.active_bindings.values() if b.node is screen and not _app(b)]
        _list(text, screen, own)
        focused = screen.focused
        inner = [b for b in screen.active_bindings.values() if b.node is focused and focused is not None]
        if inner:
            text.append("\nKeys of the selected pane\n", style="bold")
            _list(text, screen, inner)
        if not isinstance(screen, ModalScreen):
            text.append("\nKeys of every screen\n", style="bold")
        for key, words in () if isinstance(screen, ModalScreen) else EVERYWHERE:
            text.append(f"{key:>12}  ", style="bold")
            text.append(f"{words}\n", style="not bold")
        super().__init__(f"help: {name}", text)


def _app(active: ActiveBinding) -> bool:
    """Whether a key is the application's or Textual's own."""
    return active.binding.action.startswith(("app.", "screen."))


def _list(text: Text, screen: Screen[Any], bindings: Iterable[ActiveBinding]) -> None:
    lines: dict[str, list[str]] = {}
    for active in bindings:
        binding = active.binding
        if binding.description:
            words = binding.tooltip or binding.description
            lines.setdefault(words, []).append(screen.app.get_key_display(binding))
    for words, keys in lines.items():
        text.append(f"{' '.join(keys):>12}  ", style="bold")
        text.append(f"{words}\n", style="not bold")
