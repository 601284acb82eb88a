"""The choice of columns of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import SelectionList
from textual.widgets.selection_list import Selection

from tui.plain import clean
from tui.screens.keys import bind, named
from tui.screens.modal import Modal


class ColumnsScreen(Modal[list[str] | None]):
    """Returns the keys of the chosen columns, in their order; None if nothing changes.

    Parameters
    ----------
    known : keys of all columns.
    chosen : keys of the shown ones.
    usual : keys of the columns of a list that nobody has changed.
    """

    HELP_TEXT = (
        "Columns that have no room are left out whole, the least important first. The choice is remembered."
    )
    BINDINGS: ClassVar[list[BindingType]] = named(
        "columns",
        [
            bind("enter", "accept", "accept", priority=True),
            bind("escape,q", "dismiss(None)", "close"),
            bind("r", "usual", "reset"),
        ],
    )

    def __init__(self, known: Sequence[str], chosen: Sequence[str], usual: Sequence[str]) -> None:
        super().__init__()
        self.known = list(dict.fromkeys([*chosen, *known]))
        self.chosen = set(chosen)
        self.usual = list(usual)

    def compose(self) -> ComposeResult:
        """A line a column with its mark."""
        lines = [Selection(clean(key, 60), key, key in self.chosen) for key in self.known]
        shown: SelectionList[str] = SelectionList(*lines, id="columns")
        shown.border_title = "Columns"
        shown.border_subtitle = "space choose   enter accept   r reset   esc close"
        yield shown

    def action_accept(self) -> None:
        """Return the choice."""
        chosen = set(self.query_one(SelectionList).selected)
        self.dismiss([key for key in self.known if key in chosen])

    def action_usual(self) -> None:
        """Return the columns that nobody has changed."""
        self.dismiss(self.usual)
