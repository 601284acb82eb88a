"""A logged picture, as large as the terminal allows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from tui.plain import clean
from tui.services.workspace import Graphics
from tui.widgets.canvas import Canvas, Shown


class ImageScreen(ModalScreen[None]):
    """Shows a picture until Escape; it is fetched in a worker thread.

    Parameters
    ----------
    fetch : returns its file; blocks.
    """

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,enter", "dismiss(None)", "Close")]

    def __init__(self, title: str, fetch: Callable[[], Path], graphics: Graphics) -> None:
        super().__init__()
        self.heading = title
        self.fetch = fetch
        self.graphics = graphics

    def compose(self) -> ComposeResult:
        """The picture."""
        canvas = Canvas(self.graphics, id="image")
        canvas.border_title = Text(clean(self.heading, 120))
        canvas.border_subtitle = "esc closes"
        yield canvas

    def on_resize(self, _event: events.Resize) -> None:
        """Draw it for the new size."""
        self.call_after_refresh(self.draw)

    @work(thread=True, exclusive=True)
    def draw(self) -> None:
        """Read and scale it."""
        try:
            shown: Shown = self.query_one(Canvas).read(self.fetch())
        except Exception as error:  # lost, no picture, no store: one line in its place
            shown = Text(f"cannot be shown: {clean(error)}")
        self.call_later(self.query_one(Canvas).show, shown)
