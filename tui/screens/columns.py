"""The choice of columns of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType

from tui.plain import clean
from tui.screens.keys import bind, named
from tui.screens.modal import Modal
from tui.services import columns
from tui.widgets.rows import RowList


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
            bind("space", "choose", "choose"),
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
        """A line a column, with a mark at the chosen ones."""
        lines: RowList[str] = RowList(str, self.paint, id="columns")
        lines.border_title = "Columns"
        lines.border_subtitle = "space choose   enter accept   r reset   esc close"
        yield lines

    def on_mount(self) -> None:
        """List the columns."""
        self.lines.set_rows(self.known)

    @property
    def lines(self) -> RowList[str]:
        """The list."""
        return self.query_one("#columns", RowList)

    def paint(self, key: str, width: int) -> Text:
        """A column; the heading stands beside a metric that has a short one."""
        short = f"   {columns.WORDS[key]}" if key in columns.WORDS else ""
        return Text(clean(f"{'✓' if key in self.chosen else ' '} {key}{short}", width))

    def action_choose(self) -> None:
        """Choose the column under the cursor, or leave it out."""
        if (key := self.lines.selected) is not None:
            self.chosen ^= {key}
            self.lines.refresh()

    def action_accept(self) -> None:
        """Return the choice."""
        self.dismiss([key for key in self.known if key in self.chosen])

    def action_usual(self) -> None:
        """Return the columns that nobody has changed."""
        self.dismiss(self.usual)
