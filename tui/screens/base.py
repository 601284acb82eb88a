"""What the three main screens share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.screen import Screen

from tui.messages import Update
from tui.widgets.ink import Ink
from tui.widgets.status import StatusBar

if TYPE_CHECKING:
    from tui.app import AmnesiaApp


class MainScreen(Screen[None]):
    """A screen that follows the store. It has a `StatusBar` and shows every `Update` with `show`."""

    HELP_TEXT: ClassVar[str] = ""
    """What `?` says above the list of keys."""

    @property
    def sa(self) -> AmnesiaApp:
        """The application."""
        return cast("AmnesiaApp", self.app)

    @property
    def ink(self) -> Ink:
        """Colours of the theme."""
        return Ink.of(self.sa)

    @property
    def narrow(self) -> bool:
        """Whether one pane at a time is shown."""
        return self.has_class("-narrow")

    def on_mount(self) -> None:
        """Show what is known, then everything that is new."""
        self.query_one(StatusBar).state = self.sa.state
        self.sa.changed.subscribe(self, self.show)
        self.sa.told.subscribe(self, self._told)
        self.prepare()
        self.show(self.sa.update)

    def _told(self, _nothing: None) -> None:
        self.query_one(StatusBar).state = self.sa.state

    def prepare(self) -> None:
        """Set up widgets before the first update."""

    def show(self, update: Update) -> None:
        """Show an update."""
        raise NotImplementedError
