"""One logged picture, as large as the terminal allows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen
from textual.strip import Strip

from tui.plain import clean
from tui.widgets.picture import Picture, fitted


class ImageScreen(ModalScreen[None]):
    """Shows a picture until Escape; it is fetched in a worker thread.

    Parameters
    ----------
    title : what it is called.
    fetch : gives its file; blocks.
    """

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,enter", "dismiss(None)", "Close")]

    def __init__(self, title: str, fetch: Callable[[], Path]) -> None:
        super().__init__()
        self.heading = title
        self.fetch = fetch

    def compose(self) -> ComposeResult:
        """The picture."""
        picture = Picture(id="image")
        picture.border_title = Text(clean(self.heading, 120))
        picture.border_subtitle = "esc closes"
        yield picture

    def on_resize(self, _event: events.Resize) -> None:
        """Draw it for the new size."""
        picture = self.query_one(Picture)
        self.draw(max(1, picture.size.width or self.size.width - 4), max(1, self.size.height - 4))

    @work(thread=True, exclusive=True)
    def draw(self, width: int, height: int) -> None:
        """Read and scale it."""
        try:
            shown: list[Strip] | Text = fitted(self.fetch(), width, height)
        except Exception as error:  # gone, no picture, store away: one line in its place
            shown = Text(f"cannot be shown: {clean(error)}")
        self.app.call_from_thread(self._drawn, shown)

    def _drawn(self, shown: list[Strip] | Text) -> None:
        picture = self.query_one(Picture)
        if isinstance(shown, Text):
            picture.say(shown)
        else:
            picture.show(shown)
