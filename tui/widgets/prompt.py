"""The line at the bottom in which words are typed: a filter, a search, a number, a note."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input


class Prompt(Input):
    """Hidden until it is opened; Enter and Escape close it, and the keys go where they went before."""

    DEFAULT_CSS = """
    Prompt { display: none; dock: bottom; margin-bottom: 1; height: 3; }
    Prompt.-open { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,tab", "close", "close", show=False)]

    def __init__(self, placeholder: str = "") -> None:
        super().__init__(id="prompt", placeholder=placeholder)
        self._before: Widget | None = None

    def open(self, text: str = "", placeholder: str = "") -> None:
        """Show the line with a text in it."""
        self._before = self.screen.focused
        self.placeholder = placeholder or self.placeholder
        self.value = text
        self.add_class("-open")
        self.screen.set_focus(self)  # at once: `focus` waits, and keys typed meanwhile would be commands

    def action_close(self) -> None:
        """Hide the line."""
        self.remove_class("-open")
        self.screen.set_focus(self._before)

    def on_blur(self) -> None:
        """Hide it after a click elsewhere, but not while another window is used."""
        self.set_class(not self.app.app_focus, "-open")

    def on_input_submitted(self) -> None:
        """Hide it; the screen reads what was typed."""
        self.action_close()
