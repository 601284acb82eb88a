"""Pictures in a terminal: two pixels a character, the upper in the foreground and the lower in the background."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style

if TYPE_CHECKING:
    from PIL.Image import Image

UPPER_HALF = "\N{UPPER HALF BLOCK}"


@lru_cache(maxsize=8192)
def _style(top: bytes, bottom: bytes) -> Style:
    return Style(color=f"#{top.hex()}", bgcolor=f"#{bottom.hex()}")


def half_blocks(picture: Image) -> list[list[Segment]]:
    """Lines of a picture, two rows of pixels a line; a last odd row has black below it."""
    width, height = picture.size
    data = picture.convert("RGB").tobytes()
    rows = [data[3 * width * y : 3 * width * (y + 1)] for y in range(height)]
    if height % 2:
        rows.append(bytes(3 * width))
    lines = []
    for top, bottom in zip(rows[::2], rows[1::2], strict=True):
        segments: list[Segment] = []
        count, style = 0, None
        for x in range(0, 3 * width, 3):
            now = _style(top[x : x + 3], bottom[x : x + 3])
            if now is not style and count:
                segments.append(Segment(UPPER_HALF * count, style))
                count = 0
            count, style = count + 1, now
        segments.append(Segment(UPPER_HALF * count, style))
        lines.append(segments)
    return lines
