"""A list of any length, of which only the visible lines are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rich.segment import Segment
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

R = TypeVar("R")


class RowList(ScrollView, Generic[R], can_focus=True):
    """Rows of any kind under a cursor.

    Parameters
    ----------
    key : names a row over time, so that the cursor stays on it when the rows change.
    paint : a row as text for a width in cells.
    header : line above the rows for a width; None for none.
    """

    DEFAULT_CSS = """
    RowList { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    RowList > .row-list--cursor { background: $surface-lighten-1; color: $foreground; }
    RowList:focus > .row-list--cursor { background: $surface-lighten-2; color: $foreground; text-style: bold; }
    RowList > .row-list--header { color: $foreground 75%; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"row-list--cursor", "row-list--header"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step(-1)", "Up", show=False),
        Binding("down,j", "step(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "edge(-1)", "First", show=False),
        Binding("end", "edge(1)", "Last", show=False),
        Binding("enter", "choose", "Open", show=False),
    ]

    @dataclass
    class Moved(Message):
        """The cursor is on another row, or the row under it has changed."""

        sender: RowList[Any]
        key: str | None

    @dataclass
    class Chosen(Message):
        """Enter or a second click on a row."""

        sender: RowList[Any]
        key: str

    def __init__(
        self,
        key: Callable[[R], str],
        paint: Callable[[R, int], Text],
        *,
        header: Callable[[int], Text] | None = None,
        id: str | None = None,  # noqa: A002  # Textual's own name for it
    ) -> None:
        super().__init__(id=id)
        self.key_of = key
        self.paint = paint
        self.header = header
        self.rows: Sequence[R] = ()
        self.cursor = 0
        self.hint = ""
        """A line in the place of the rows where there are none."""

    @property
    def top(self) -> int:
        """Lines above the rows."""
        return 0 if self.header is None else 1

    @property
    def selected(self) -> R | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    @property
    def selected_key(self) -> str | None:
        """Its key."""
        row = self.selected
        return None if row is None else self.key_of(row)

    def set_rows(self, rows: Sequence[R], select: str | None = None) -> None:
        """Show other rows; the cursor stays on its row, or goes to the one named, or stays where it was."""
        wanted = select or self.selected_key
        before = self.selected
        self.rows = rows
        found = next((i for i, row in enumerate(rows) if self.key_of(row) == wanted), None)
        self.cursor = max(0, min(self.cursor if found is None else found, len(rows) - 1))
        self._resize()
        self.refresh()
        if self.selected != before:
            self._moved()

    def go_to(self, key: str) -> bool:
        """Put the cursor on a row; whether there is one of that name."""
        found = next((i for i, row in enumerate(self.rows) if self.key_of(row) == key), None)
        if found is not None:
            self._move(found)
        return found is not None

    def _resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.rows) + self.top)
        self.call_after_refresh(self._show_cursor)

    def on_resize(self, _event: events.Resize) -> None:
        """Keep the cursor in sight."""
        self._resize()

    def _show_cursor(self) -> None:
        line = Region(0, self.cursor + (self.top if self.cursor else 0), 1, 1 + self.top)
        self.scroll_to_region(line, animate=False, force=True)

    def _move(self, to: int) -> None:
        to = max(0, min(to, len(self.rows) - 1))
        if to == self.cursor or not self.rows:
            return
        self.cursor = to
        self._show_cursor()
        self.refresh()
        self._moved()

    def _moved(self) -> None:
        self.post_message(self.Moved(self, self.selected_key))

    def action_step(self, by: int) -> None:
        """Move the cursor."""
        self._move(self.cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by a screen."""
        self._move(self.cursor + by * max(1, self.size.height - 1 - self.top))

    def action_edge(self, end: int) -> None:
        """Move the cursor to the first or last row."""
        self._move(0 if end < 0 else len(self.rows) - 1)

    def action_choose(self) -> None:
        """Open the row under the cursor."""
        if self.selected_key is not None:
            self.post_message(self.Chosen(self, self.selected_key))

    def on_click(self, event: events.Click) -> None:
        """Move the cursor there; a second click opens."""
        at = event.get_content_offset(self)
        if at is None:
            return
        row = at.y + self.scroll_offset.y - self.top
        if at.y >= self.top and 0 <= row < len(self.rows):
            again = row == self.cursor
            self._move(row)
            if again and event.chain == 2:
                self.action_choose()

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width = self.scrollable_content_region.width
        base = self.rich_style
        if y < self.top:
            assert self.header is not None
            style = base + self.get_component_rich_style("row-list--header", partial=True)
            return self._strip(self.header(width), width).apply_style(style)
        row = y + self.scroll_offset.y - self.top
        if not self.rows and row == 0:
            return self._strip(Text(self.hint, "dim"), self.size.width).apply_style(base)
        if not 0 <= row < len(self.rows):
            return Strip.blank(self.size.width, base)
        strip = self._strip(self.paint(self.rows[row], width), width)
        if row == self.cursor:
            base = base + self.get_component_rich_style("row-list--cursor", partial=True)
        return strip.apply_style(base)

    def _strip(self, text: Text, width: int) -> Strip:
        segments = [s for s in text.render(self.app.console) if s.text != "\n"]
        return Strip([Segment(s.text, s.style) for s in segments]).adjust_cell_length(width)
