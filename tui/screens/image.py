"""One logged picture, as large as the terminal allows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen
from textual.strip import Strip

from tui.plain import clean
from tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from PIL.Image import Image


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
        canvas = Canvas(id="image")
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
            shown: list[Strip] | Text | Image = self.query_one(Canvas).read(self.fetch())
        except Exception as error:  # gone, no picture, store away: one line in its place
            shown = Text(f"cannot be shown: {clean(error)}")
        self.app.call_from_thread(self.query_one(Canvas).show, shown)
