"""Where pictures are shown: as half blocks, or by a protocol of the terminal's if the user asked for one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.strip import Strip
from textual.widget import Widget

from tui.widgets.picture import MAX_PIXELS, Picture, fitted

if TYPE_CHECKING:
    from PIL.Image import Image

    from tui.app import AmnesiaApp

Graphics = Literal["half", "auto", "kitty", "sixel"]
"""Half blocks work everywhere and are the default. The library of the others asks the terminal when it is imported."""


def widget_for(graphics: Graphics) -> type[Widget]:
    """The widget of a protocol. The first call belongs before the application starts: it asks the terminal."""
    from textual_image import widget

    kinds: dict[str, type[Widget]] = {"kitty": widget.TGPImage, "sixel": widget.SixelImage}
    return kinds.get(graphics, widget.Image)


class Canvas(Vertical):
    """Shows a drawing, a picture, or words in their place."""

    DEFAULT_CSS = """
    Canvas { height: 1fr; }
    Canvas > .protocol { display: none; width: auto; height: auto; max-width: 100%; max-height: 100%; }
    Canvas.-protocol > .protocol { display: block; }
    Canvas.-protocol > Picture { display: none; }
    """

    @property
    def graphics(self) -> Graphics:
        """How pictures are shown."""
        return cast("AmnesiaApp", self.app).graphics

    def compose(self) -> ComposeResult:
        """Half blocks, and the protocol's widget if there is one."""
        yield Picture()
        if self.graphics != "half":
            yield widget_for(self.graphics)(classes="protocol")

    def show(self, shown: list[Strip] | Text | Image) -> None:
        """Show it."""
        picture = self.query_one(Picture)
        self.set_class(not isinstance(shown, list | Text), "-protocol")
        if isinstance(shown, list):
            picture.show(shown)
        elif isinstance(shown, Text):
            picture.say(shown)
        else:
            self.query_one(".protocol").image = shown  # type: ignore[attr-defined]  # of textual-image's widgets

    def read(self, path: Path) -> list[Strip] | Image:
        """An image file, ready to be shown. Blocks.

        Raises
        ------
        OSError, ValueError : if it is no picture, or far too large a one.
        """
        if self.graphics == "half":
            return fitted(path, max(1, self.size.width), max(1, self.size.height))
        from PIL import Image

        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.width} x {picture.height} pixels are too many to show")
            return picture.convert("RGB")
