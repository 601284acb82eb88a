"""Pictures as half blocks: two pixels a character, on any terminal with colours, without a query to the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from sa_mlops.plots.half_blocks import half_blocks
from tui.plain import clean
from tui.services.sampler import Images

if TYPE_CHECKING:
    from PIL.Image import Image

LEVELS = [round(round(v / 255 * 47) / 47 * 255) for v in range(256)]
"""48 levels a channel: more are not visible and only cost styles."""
MAX_PIXELS = 80_000_000
ACROSS = 10
"""Latents beside each other where one class is shown alone."""
SMALLEST = 6
ENLARGED = 16
"""Images smaller than this many pixels are enlarged."""


def strips_of(picture: Image) -> list[Strip]:
    """A picture pixel by pixel."""
    rgb = picture.convert("RGB").point(LEVELS * 3)
    return [Strip(line, picture.width) for line in half_blocks(rgb)]


def opened(path: Path) -> Image:
    """An image file in RGB, on white where it is transparent.

    Raises
    ------
    OSError, ValueError : if it is no picture, or too large.
    """
    from PIL import Image

    with Image.open(path) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"{picture.width} x {picture.height} pixels are too many to show")
        flat = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat).convert("RGB")


def fitted(picture: Image, width: int, height: int) -> list[Strip]:
    """A picture as large as `width` x `height` cells allow, at most twice its size."""
    from PIL import Image

    scale = min(width / picture.width, 2 * height / picture.height, 2.0)
    size = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
    return strips_of(picture.resize(size, Image.Resampling.BOX))


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of one generator under a title, with a heading a column; those of `forgotten` columns are struck out."""

    title: str
    images: Images
    headings: Sequence[str]
    forgotten: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Layout of samples: pixels a sample, samples beside each other, latents below each other."""

    width: int
    height: int
    columns: int
    rows: int


def arrange(width: int, height: int, panels: int, images: Images) -> Arrangement:
    """The arrangement with the largest samples that shows every panel in `width` x `height` cells.

    Where none does, samples are as small as is legible and the rest is below the edge.
    """
    largest = images.width * max(1, ENLARGED // max(images.width, images.height))
    share = images.height / images.width
    best = (SMALLEST, max(1, min(images.columns, width // (SMALLEST + 1))))
    lines = height // panels - 1
    for bands in range(1, images.columns + 1):
        columns = -(-images.columns // bands)
        room = max(0, (lines - bands) // bands)
        size = int(min(largest, (width + 1) // columns - 1, 2 * room / share)) // 2 * 2
        if size > best[0]:
            best = (size, columns)
    size, columns = best
    tall = max(2, round(size * share / 2) * 2)
    bands = -(-images.columns // columns)
    fit = (lines - bands) // max(1, bands * tall // 2)
    return Arrangement(size, tall, columns, max(1, min(images.rows, fit)))


def draw_samples(panels: Sequence[Samples], width: int, height: int, faint: str = "#808080") -> list[Strip]:
    """Samples of generators below each other at the same latents, classes in columns."""
    from PIL import Image

    if not panels or width < 8 or height < 4:
        return []
    strips = []
    for panel in panels:
        images = panel.images
        plan = arrange(width, height, len(panels), images)
        strips.append(_line(Text(clean(panel.title, width), style="bold")))
        for start in range(0, images.columns, plan.columns):
            shown = range(start, min(start + plan.columns, images.columns))
            strips.append(_headings(panel, shown, plan.width, faint))
            for row in range(plan.rows):
                band = Image.new("RGB", ((plan.width + 1) * len(shown) - 1, plan.height), (24, 24, 24))
                for i, column in enumerate(shown):
                    small = images.picture(row, column).resize(
                        (plan.width, plan.height), Image.Resampling.BOX
                    )
                    band.paste(small, (i * (plan.width + 1), 0))
                strips += strips_of(band)
    return strips


def one_class(panel: Samples) -> Samples:
    """Latents of a single class, some beside each other, with the numbers of the first ones as headings."""
    images = panel.images
    shown = replace(images, rows=images.rows // ACROSS, columns=ACROSS)
    return Samples(panel.title, shown, [f"z{i + 1}" for i in range(ACROSS)])


def _headings(panel: Samples, columns: Sequence[int], size: int, faint: str) -> Strip:
    text = Text()
    for column in columns:
        word = clean(panel.headings[column], size)
        struck = column in panel.forgotten
        if struck and cell_len(word) + 2 <= size:
            word = f"({word})"
        left = (size - cell_len(word)) // 2
        text.append(" " * left)
        text.append(word, style="strike" if struck else faint)
        text.append(" " * (size - cell_len(word) - left + 1))
    return _line(text)


def _line(text: Text) -> Strip:
    from rich.console import Console

    console = Console(width=500, force_terminal=True)
    return Strip([s for s in text.render(console) if s.text != "\n"])


def mosaic(panels: Sequence[Samples]) -> Image:
    """Samples at twice their size: a latent a row, one generator below the other."""
    from PIL import Image

    width = max((p.images.width + 2) * p.images.columns for p in panels)
    canvas = Image.new("RGB", (width, sum((p.images.height + 2) * p.images.rows for p in panels)), "white")
    y = 1
    for images in (panel.images for panel in panels):
        for row in range(images.rows):
            for column in range(images.columns):
                canvas.paste(images.picture(row, column), (column * (images.width + 2) + 1, y))
            y += images.height + 2
    return canvas.resize((canvas.width * 2, canvas.height * 2), Image.Resampling.NEAREST)


class Picture(ScrollView, can_focus=False):
    """Shows strips, or a line of text in their place."""

    DEFAULT_CSS = "Picture { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name for it
        super().__init__(id=id)
        self.strips: list[Strip] = []

    def show(self, strips: list[Strip]) -> None:
        """Show a drawing."""
        self.strips = strips
        self.virtual_size = Size(self.size.width, len(strips))
        self.refresh()

    def say(self, text: Text) -> None:
        """Show a text instead."""
        width = max(10, self.size.width or 60)
        self.show([_line(line) for line in text.wrap(self.app.console, width)])

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        at = y + self.scroll_offset.y
        width = self.size.width
        if at >= len(self.strips):
            return Strip.blank(width, self.rich_style)
        return self.strips[at].adjust_cell_length(width).apply_style(self.rich_style)
