"""Pictures as half blocks: two pixels a character, on any terminal with colours, without asking the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.plain import clean
from tui.services.sampler import CLASSES, SIDE, Images

if TYPE_CHECKING:
    from PIL.Image import Image

UPPER_HALF = "\N{UPPER HALF BLOCK}"
LEVELS = 48
"""Grey levels that are told apart; more only cost styles."""
MAX_PIXELS = 80_000_000


@lru_cache(maxsize=8192)
def _style(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Style:
    return Style(color=f"#{bytes(top).hex()}", bgcolor=f"#{bytes(bottom).hex()}")


def half_blocks(picture: Image) -> list[Strip]:
    """A picture pixel by pixel, two rows a line."""
    step = 255 / (LEVELS - 1)
    levels = [round(round(v / step) * step) for v in range(256)] * 3
    width, height = picture.size
    data = picture.convert("RGB").point(levels).tobytes()
    rows = [data[3 * width * y : 3 * width * (y + 1)] for y in range(height)]
    if height % 2:
        rows.append(bytes(3 * width))
    strips = []
    for top, bottom in zip(rows[::2], rows[1::2], strict=True):
        segments: list[Segment] = []
        run, style = 0, None
        for x in range(0, 3 * width, 3):
            now = _style((top[x], top[x + 1], top[x + 2]), (bottom[x], bottom[x + 1], bottom[x + 2]))
            if now is not style and run:
                segments.append(Segment(UPPER_HALF * run, style))
                run = 0
            run, style = run + 1, now
        segments.append(Segment(UPPER_HALF * run, style))
        strips.append(Strip(segments, width))
    return strips


def fitted(path: Path, width: int, height: int) -> list[Strip]:
    """An image file, as large as `width` x `height` cells allow.

    Raises
    ------
    OSError, ValueError : if it is no picture, or far too large a one.
    """
    from PIL import Image

    with Image.open(path) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"{picture.width} x {picture.height} pixels are too many to show")
        scale = min(width / picture.width, 2 * height / picture.height, 2.0)
        size = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
        flat = picture.convert("RGBA")
        ground = Image.new("RGBA", flat.size, "white")
        small = Image.alpha_composite(ground, flat).convert("RGB").resize(size, Image.Resampling.BOX)
    return half_blocks(small)


@dataclass(frozen=True, slots=True)
class Panel:
    """Samples of one generator under a title; headings of `forgotten` columns are struck out."""

    title: str
    images: Images
    forgotten: Sequence[int] = ()
    headings: Sequence[str] = tuple(map(str, range(CLASSES)))


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How samples fill a space: pixels a digit, digits beside each other, latents below each other."""

    size: int
    columns: int
    rows: int


def arrange(width: int, height: int, panels: int, digits: int, rows: int) -> Arrangement:
    """The arrangement with the largest digits that still shows every panel; small digits if nothing else fits."""
    best = Arrangement(6, min(digits, max(1, width // 7)), 1)
    for columns in sorted({digits, (digits + 1) // 2, 1}):
        bands = -(-digits // columns)
        size = min(SIDE, (width + 1) // columns - 1)
        room = height // panels - 1 - bands
        size = min(size, 2 * max(0, room // bands)) // 2 * 2
        if size > best.size:
            best = Arrangement(size, columns, 1)
    bands = -(-digits // best.columns)
    fit = (height // panels - 1 - bands) // max(1, bands * best.size // 2)
    return Arrangement(best.size, best.columns, max(1, min(rows, fit)))


def draw_samples(
    panels: Sequence[Panel], width: int, height: int, digits: Sequence[int], faint: str = "#808080"
) -> list[Strip]:
    """Samples of generators below each other at the same latents, digits in columns."""
    from PIL import Image

    if not panels or width < 8 or height < 4 or not digits:
        return []
    rows = min(p.images.rows for p in panels)
    plan = arrange(width, height, len(panels), len(digits), rows)
    strips = []
    for panel in panels:
        strips.append(_line(Text(clean(panel.title, width), style="bold")))
        for start in range(0, len(digits), plan.columns):
            shown = digits[start : start + plan.columns]
            strips.append(_headings(panel, shown, plan.size, faint))
            for row in range(plan.rows):
                across = (plan.size + 1) * len(shown) - 1
                band = Image.new("L", (across, plan.size), 24)
                for i, digit in enumerate(shown):
                    one = Image.frombytes("L", (SIDE, SIDE), panel.images.image(row, digit))
                    small = one.resize((plan.size, plan.size), Image.Resampling.BOX)
                    band.paste(small, (i * (plan.size + 1), 0))
                strips += half_blocks(band)
    return strips


def one_digit(panel: Panel, digit: int) -> Panel:
    """Every latent of one digit, ten beside each other, instead of every digit."""
    images = panel.images
    rows = images.rows // CLASSES
    pixels = b"".join(images.image(row, digit) for row in range(rows * CLASSES))
    headings = [f"z{i + 1}" for i in range(CLASSES)]
    title = f"{panel.title}  digit {digit}" + (" (forgotten)" if digit in panel.forgotten else "")
    return Panel(title, Images(rows, images.z_dim, pixels), (), headings)


def _headings(panel: Panel, columns: Sequence[int], size: int, faint: str) -> Strip:
    text = Text()
    for column in columns:
        gone = column in panel.forgotten
        word = f"({panel.headings[column]})" if gone and size >= 3 else panel.headings[column]
        left = (size - len(word)) // 2
        text.append(" " * left)
        text.append(word, style="strike" if gone else faint)
        text.append(" " * (size - len(word) - left + 1))
    return _line(text)


def _line(text: Text) -> Strip:
    from rich.console import Console

    console = Console(width=500, force_terminal=True)
    return Strip([s for s in text.render(console) if s.text != "\n"])


def mosaic(panels: Sequence[Panel], digits: Sequence[int]) -> Image:
    """Samples at twice their size: a latent a row, one generator below the other."""
    from PIL import Image

    cell = SIDE + 2
    count = sum(p.images.rows for p in panels)
    canvas = Image.new("L", (cell * len(digits), cell * count), 255)
    y = 0
    for panel in panels:
        for row in range(panel.images.rows):
            for i, digit in enumerate(digits):
                canvas.paste(
                    Image.frombytes("L", (SIDE, SIDE), panel.images.image(row, digit)), (i * cell + 1, y + 1)
                )
            y += cell
    return canvas.resize((canvas.width * 2, canvas.height * 2), Image.Resampling.NEAREST)


ALL_DIGITS = tuple(range(CLASSES))


class Picture(ScrollView, can_focus=False):
    """Shows strips that were drawn elsewhere, or a line of text in their place."""

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
        """Show words instead."""
        width = max(10, self.size.width or 60)
        self.show([_line(line) for line in text.wrap(self.app.console, width)])

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        at = y + self.scroll_offset.y
        width = self.size.width
        if at >= len(self.strips):
            return Strip.blank(width, self.rich_style)
        return self.strips[at].adjust_cell_length(width).apply_style(self.rich_style)
