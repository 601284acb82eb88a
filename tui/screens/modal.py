"""Base class of the screens over a main screen."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual.binding import BindingType
from textual.screen import ModalScreen

from tui.screens.keys import hidden, named

R = TypeVar("R")


class Modal(ModalScreen[R]):
    """A screen over another, with help of its own."""

    HELP_TEXT: ClassVar[str] = ""
    """Text above the list of keys in the help."""

    BINDINGS: ClassVar[list[BindingType]] = named("app", [hidden("question_mark,f1", "help", "help")])

    def action_help(self) -> None:
        """Show the purpose of the screen and its keys."""
        from tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self))
