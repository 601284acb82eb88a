"""Logged pictures, one at a time, as large as the terminal allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType

from tui.plain import clean
from tui.screens.keys import bind, hidden, named
from tui.screens.modal import Modal
from tui.services.store import picture_name
from tui.services.workspace import Graphics
from tui.widgets.canvas import Canvas, Shown


class ImageScreen(Modal[None]):
    """Shows one of some pictures until Escape; each is fetched in a worker thread.

    Parameters
    ----------
    paths : of the pictures.
    at : index of the first one shown.
    fetch : returns a picture's file; blocks.
    """

    HELP_TEXT = "The pictures of a run, in the order of its list; samples are in the order of their steps."
    BINDINGS: ClassVar[list[BindingType]] = named(
        "image",
        [
            bind("escape,q,enter", "dismiss(None)", "close"),
            bind("right,down,space,n", "turn(1)", "next"),
            bind("left,up,p", "turn(-1)", "previous"),
            hidden("home", "turn(-1000)", "first"),
            hidden("end", "turn(1000)", "last"),
        ],
    )

    def __init__(
        self, paths: Sequence[str], at: int, fetch: Callable[[str], Path], graphics: Graphics
    ) -> None:
        super().__init__()
        self.paths = paths
        self.at = at
        self.fetch = fetch
        self.graphics = graphics

    def compose(self) -> ComposeResult:
        """The picture."""
        canvas = Canvas(self.graphics, id="image")
        several = "← → previous, next   " * (len(self.paths) > 1)
        canvas.border_subtitle = f"{several}esc close   ? help"
        yield canvas

    def on_resize(self, _event: events.Resize) -> None:
        """Draw it for the new size."""
        self.call_after_refresh(self.show)

    def action_turn(self, by: int) -> None:
        """Another picture."""
        self.at = max(0, min(len(self.paths) - 1, self.at + by))
        self.show()

    def show(self) -> None:
        """Name the picture, and draw it."""
        path = self.paths[self.at]
        title = f"{clean(picture_name(path), 100)}   {self.at + 1} of {len(self.paths)}"
        self.query_one(Canvas).border_title = Text(title)
        self.draw(path)

    @work(thread=True, exclusive=True)
    def draw(self, path: str) -> None:
        """Read and scale a picture."""
        try:
            shown: Shown = self.query_one(Canvas).read(self.fetch(path))
        except Exception as error:  # lost, no picture, no store: one line in its place
            shown = Text(f"cannot be shown: {clean(error)}")
        self.call_later(self._drawn, path, shown)

    def _drawn(self, path: str, shown: Shown) -> None:
        if path == self.paths[self.at]:
            self.query_one(Canvas).show(shown)
