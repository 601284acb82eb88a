"""Short messages over the screen."""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.widget import Widget

from tui.plain import clean


def say(node: App[Any] | Widget, text: str, bad: bool = False) -> None:
    """Show a text, as a warning if it is bad; from any thread."""
    node.notify(clean(text, 300), severity="warning" if bad else "information", markup=False)


def copy(node: Widget, text: str) -> None:
    """Copy a text, and show it for terminals without a clipboard."""
    try:
        node.app.copy_to_clipboard(text)
    except Exception as error:  # a terminal driver raises anything: no reason to crash
        say(node, f"no clipboard: {error}", bad=True)
    say(node, f"copied: {text}")
