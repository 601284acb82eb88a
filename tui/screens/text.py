"""A page of text over the screen: help, a full error, the output of a command."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from tui.screens.modal import Modal


class TextScreen(Modal[None]):
    """Shows text until Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,enter,question_mark", "dismiss(None)", "Close")]

    def __init__(self, title: str, text: Text) -> None:
        super().__init__()
        self.heading = title
        self.text = text

    def compose(self) -> ComposeResult:
        """The text, scrolled."""
        with VerticalScroll(id="page") as page:
            page.border_title = Text(self.heading)
            page.border_subtitle = "esc closes"
            yield Static(self.text)
