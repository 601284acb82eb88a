"""Sample grids over training steps as an animated GIF."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from sa_mlops.plots.grids import GAP, PIXEL, mosaic
from sa_mlops.plots.style import LIGHT, Floats, Theme


def animated_grid(
    frames: Sequence[Floats],
    captions: Sequence[str],
    *,
    forgotten: Collection[int] = (),
    milliseconds: int = 120,
    hold: int = 1500,
    scale: int = 2,
    theme: Theme = LIGHT,
) -> bytes:
    """GIF that repeats for ever, in 256 greys; equal arguments give equal bytes.

    Parameters
    ----------
    frames : grids (rows, columns, 28, 28) in [0, 1], all of one shape; column c shows class c.
    captions : text above each frame: step, loss.
    forgotten : columns whose heading is struck out.
    milliseconds, hold : how long a frame and the last frame stay.
    scale : screen pixels per image pixel.

    Raises
    ------
    ValueError : without frames, or if frames and captions differ in number.
    """
    if not frames or len(frames) != len(captions):
        raise ValueError(f"{len(frames)} frames and {len(captions)} captions")
    pictures = [_picture(f, c, forgotten, scale, theme) for f, c in zip(frames, captions, strict=True)]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, format="GIF", save_all=True, append_images=pictures[1:], loop=0, optimize=False,
        duration=[milliseconds] * (len(pictures) - 1) + [hold],
    )  # fmt: skip
    return buffer.getvalue()


def _picture(grid: Floats, caption: str, forgotten: Collection[int], scale: int, theme: Theme) -> Image.Image:
    paper, ink = (ImageColor.getcolor(colour, "L") for colour in (theme.paper, theme.ink))
    margin, size = 4 * scale, 7 * scale
    head = 2 * (size + margin)
    tiles = np.kron(mosaic(grid), np.ones((scale, scale), dtype=np.float32))
    pixels = np.where(np.isnan(tiles), paper, np.round(255 * np.clip(tiles, 0, 1)))
    picture = Image.new("L", (tiles.shape[1] + 2 * margin, tiles.shape[0] + head + margin), paper)
    picture.paste(Image.fromarray(pixels.astype(np.uint8)), (margin, head))
    pen = ImageDraw.Draw(picture)
    # Matplotlib brings this font along, so that letters are the same on every machine.
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)
    pen.text((margin, margin), caption, fill=ink, font=font, anchor="lt")
    for column in range(grid.shape[1]):
        x = margin + scale * (column * (PIXEL + GAP) + PIXEL / 2)
        y = head - margin / 2 - size / 2
        pen.text((x, y), str(column), fill=ink, font=font, anchor="mm")
        if column in forgotten:
            pen.line([(x - size / 2, y), (x + size / 2, y)], fill=ink, width=scale)
    return picture
