"""A question with two answers."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from tui.screens.modal import Modal


class ConfirmScreen(Modal[bool]):
    """Asks before an action that cannot be undone. "No" has the focus.

    Parameters
    ----------
    detail : consequences of "Yes".
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,n", "dismiss(False)", "No"),
        ("y", "dismiss(True)", "Yes"),
    ]
    AUTO_FOCUS = "#no"

    def __init__(self, question: str, detail: str = "") -> None:
        super().__init__()
        self.question = question
        self.detail = detail

    def compose(self) -> ComposeResult:
        """The question and two buttons."""
        text = Text(self.question, style="bold")
        if self.detail:
            text.append("\n" + self.detail, style="not bold")
        with Vertical(id="confirm"):
            yield Static(text)
            with Horizontal():
                yield Button("Yes  y", variant="warning", id="yes")
                yield Button("No  n", id="no")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Return the answer."""
        self.dismiss(event.button.id == "yes")
