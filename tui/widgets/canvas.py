"""A place for pictures: half blocks, or a graphics protocol of the terminal on request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.strip import Strip
from textual.widget import Widget

from tui.services.workspace import Graphics
from tui.widgets.picture import Picture, fitted, opened

if TYPE_CHECKING:
    from PIL.Image import Image

Shown: TypeAlias = "list[Strip] | Text | Image"
"""A drawing in half blocks, words, or a picture for a graphics protocol."""


def widget_for(graphics: Graphics) -> type[Widget]:
    """The widget of a protocol. Call it first before the application starts: it queries the terminal."""
    from textual_image import widget

    kinds: dict[str, type[Widget]] = {"kitty": widget.TGPImage, "sixel": widget.SixelImage}
    return kinds.get(graphics, widget.Image)


class Canvas(Vertical):
    """Shows a drawing, a picture or a text."""

    DEFAULT_CSS = """
    Canvas { height: 1fr; }
    Canvas > .protocol { display: none; width: auto; height: auto; max-width: 100%; max-height: 100%; }
    Canvas.-protocol > .protocol { display: block; }
    Canvas.-protocol > Picture { display: none; }
    """

    def __init__(self, graphics: Graphics, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name for it
        super().__init__(id=id)
        self.graphics = graphics

    def compose(self) -> ComposeResult:
        """Half blocks, and the protocol's widget if there is one."""
        yield Picture()
        if self.graphics != "half":
            yield widget_for(self.graphics)(classes="protocol")

    def show(self, shown: Shown) -> None:
        """Show it."""
        picture = self.query_one(Picture)
        self.set_class(not isinstance(shown, list | Text), "-protocol")
        if isinstance(shown, list):
            picture.show(shown)
        elif isinstance(shown, Text):
            picture.say(shown)
        else:
            self.query_one(".protocol").image = shown  # type: ignore[attr-defined]  # of textual-image's widgets

    def read(self, path: Path) -> Shown:
        """An image file, ready to be shown. Blocks.

        Raises
        ------
        OSError, ValueError : if it is no picture, or too large.
        """
        picture = opened(path)
        if self.graphics != "half":
            return picture
        return fitted(picture, max(1, self.size.width), max(1, self.size.height))
