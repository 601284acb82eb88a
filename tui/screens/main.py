"""Base class of the three main screens."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import BindingType
from textual.screen import Screen
from textual.widgets import Input

from tui.plain import clean
from tui.screens.keys import bind, named
from tui.services.filters import UNMATCHED, Filter
from tui.services.records import Snapshot
from tui.services.workspace import Workspace
from tui.widgets.ink import Ink
from tui.widgets.prompt import Prompt
from tui.widgets.status import StatusBar
from tui.widgets.toast import say


class MainScreen(Screen[None]):
    """A screen that follows the store.

    It has a `StatusBar`, a `Prompt` in which its filter is typed, and shows every new reading with `show`.
    """

    HELP_TEXT: ClassVar[str] = ""
    """Text above the list of keys in the help."""

    # First in the footer: a narrow one cuts off its end.
    BINDINGS: ClassVar[list[BindingType]] = named(
        "app",
        [
            bind("question_mark", "app.help", "help"),
            bind("q", "app.quit", "quit"),
        ],
    )

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.filter = Filter()

    @property
    def snapshot(self) -> Snapshot:
        """The last reading of the store."""
        return self.workspace.snapshot

    @property
    def ink(self) -> Ink:
        """Colours of the theme."""
        return Ink.of(self.app)

    @property
    def narrow(self) -> bool:
        """Whether one pane at a time is shown."""
        return self.has_class("-narrow")

    def on_mount(self) -> None:
        """Show the last reading."""
        self.prepare()
        self.show()
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self.show())

    def on_store_read(self) -> None:
        """Show a new reading."""
        self.show()

    def on_status_changed(self) -> None:
        """Draw the status line again; show why nothing could be read."""
        self.query_one(StatusBar).refresh()
        if self.workspace.stale and not self.snapshot.complete:
            self.show()

    def say(self, text: str, bad: bool = False) -> None:
        """Show a toast."""
        say(self, text, bad)

    def explained(self, empty: str) -> Text:
        """The text of a screen without content: why the store cannot be read, or `empty`."""
        stale = self.workspace.stale
        if stale and not self.snapshot.complete:
            return Text(f"{clean(stale, 500)}\n\nr   read it again\ne   the full error")
        return Text(empty)

    def prepare(self) -> None:
        """Set up widgets before the first reading is shown."""

    def show(self) -> None:
        """Show the last reading."""
        raise NotImplementedError

    def fill(self) -> None:
        """Show what the filter keeps."""
        raise NotImplementedError

    def action_ask(self) -> None:
        """Open the line of the filter."""
        self.query_one(Prompt).open(self.filter.text)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Read what is typed."""
        self.typed(event.value)

    def typed(self, words: str) -> None:
        """Filter while typing."""
        self.filter = Filter(words[:500])
        self.fill()

    @property
    def hint(self) -> str:
        """A line in the place of a list's rows where there are none."""
        return UNMATCHED if self.filter else ""

    def drop_filter(self) -> bool:
        """Show everything again; whether anything was left out."""
        filtered = bool(self.filter)
        if filtered:
            self.filter = Filter()
            self.fill()
        return filtered
